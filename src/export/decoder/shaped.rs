//! Values under other sizes, one of which may be dynamic.

use crate::error::Result;
use crate::export::graph::Value;
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// The same values under these dimensions. The caller knows that there are as many, also where one is dynamic.
pub(super) fn shaped(x: &Value, dims: Vec<Dim>) -> Result<Value> {
    if x.dims() == dims {
        return Ok(x.clone());
    }
    if !x.shape().is_dynamic() {
        return x.reshape(&dims.into_iter().map(Some).collect::<Vec<_>>());
    }
    let sizes: Vec<i64> =
        dims.iter().map(|dim| dim.fixed().map_or(-1, |size| size as i64)).collect();
    let graph = x.graph();
    let sizes = graph.constant("shape", HostTensor::from_vec([sizes.len()], sizes)?);
    let output = (x.dtype(), Shape::from(dims));
    graph.node("Reshape").input(x).input(&sizes).outputs([output]).build()
}
