//! Axes from their end to their start.

use crate::error::Result;
use crate::export::Value;
use crate::tensor::HostTensor;

/// `x` backwards along some axes: in steps of -1 where the target takes them, else by indices.
pub(in crate::export) fn flip(x: &Value, axes: &[usize]) -> Result<Value> {
    if !x.graph().target().has_slices_in_steps() {
        return axes.iter().try_fold(x.clone(), |x, &axis| x.backwards(axis));
    }
    let list = |values: Vec<i64>| -> Result<Value> {
        Ok(x.graph().constant("flip", HostTensor::from_vec([axes.len()], values)?))
    };
    let all = |value: i64| list(vec![value; axes.len()]);
    let (start, end, steps) = (all(-1)?, all(i64::MIN)?, all(-1)?);
    let axes = list(axes.iter().map(|&axis| axis as i64).collect())?;
    let node = x.graph().node("Slice").input(x).input(&start).input(&end).input(&axes);
    node.input(&steps).outputs([(x.dtype(), x.shape().clone())]).build()
}
