//! Sums and the like along axes, and the place of the largest.

use super::{Shapes, one, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    let operator = call.node.op_type();
    match operator {
        "ArgMax" | "ArgMin" => {
            let axis = call.axis_of("axis", 0, 0)?;
            if let (Some(axis), Some(shape)) = (axis, call.shape(0))
                && shape[axis] == Size::Known(0)
                && shape.iter().filter(|size| **size == Size::Known(0)).count() == 1
            {
                return call.wrong(0, format!("a place among no elements of axis {axis}"));
            }
            one(axis.and_then(|axis| reduced(call, &[axis])))
        }
        _ if operator.starts_with("Reduce") => {
            let from_input = match operator {
                "ReduceSum" => call.opset >= 13,
                _ => call.opset >= 18,
            };
            let axes = if from_input { call.ints(1) } else { call.list("axes") };
            let Some(shape) = call.shape(0) else { return one(None) };
            if from_input && call.has(1) && axes.is_none() {
                let keeps = call.int("keepdims").unwrap_or(1) != 0;
                return one(keeps.then(|| unknown(shape.len())));
            }
            let axes = match axes.unwrap_or_default() {
                [] if call.int("noop_with_empty_axes").unwrap_or(0) != 0 && from_input => {
                    Vec::new()
                }
                [] => (0..shape.len()).collect(),
                axes => call.axes(axes, shape.len())?,
            };
            one(reduced(call, &axes))
        }
        _ => Ok(None),
    }
}

fn reduced(call: &Call<'_>, axes: &[usize]) -> Option<Dims> {
    let shape = call.shape(0)?;
    let keeps = call.int("keepdims").unwrap_or(1) != 0;
    let sizes = shape.iter().enumerate().filter_map(|(axis, size)| match axes.contains(&axis) {
        true => keeps.then_some(Size::Known(1)),
        false => Some(size.clone()),
    });
    Some(sizes.collect())
}
