//! Values under other sizes, some of which may be dynamic.

use crate::error::Result;
use crate::export::graph::Value;
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// The same values under these dimensions. The caller knows that there are as many, also where some are dynamic.
pub(super) fn shaped(x: &Value, dims: Vec<Dim>) -> Result<Value> {
    if x.dims() == dims {
        return Ok(x.clone());
    }
    if !x.shape().is_dynamic() {
        return x.reshape(&dims.into_iter().map(Some).collect::<Vec<_>>());
    }
    let graph = x.graph();
    let sizes = match constant(x, &dims) {
        Some(sizes) => graph.constant("shape", HostTensor::from_vec([sizes.len()], sizes)?),
        None => graph.shape_tensor(&dims, &[])?,
    };
    let output = (x.dtype(), Shape::from(dims));
    graph.node("Reshape").input(x).input(&sizes).outputs([output]).build()
}

/// The sizes as a Reshape takes them: -1 for one that follows from the others, 0 for those that stay in their place. None
/// where two follow.
fn constant(x: &Value, dims: &[Dim]) -> Option<Vec<i64>> {
    let is_alone = dims.iter().filter(|dim| dim.fixed().is_none()).count() == 1;
    let stays = |at: usize| !is_alone && x.dims().get(at) == dims.get(at);
    let size = |(at, dim): (usize, &Dim)| match dim.fixed() {
        Some(size) => size as i64,
        None if stays(at) => 0,
        None => -1,
    };
    let sizes: Vec<i64> = dims.iter().enumerate().map(size).collect();
    (sizes.iter().filter(|size| **size == -1).count() <= 1).then_some(sizes)
}
