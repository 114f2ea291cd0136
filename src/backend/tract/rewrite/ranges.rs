//! Ranges between constants, which tract counts in whole steps of integers, and mistakes those with a step below 0.

use super::Made;
use crate::backend::tract::gaps::view::View;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// Longer ranges are no constants.
const LONGEST: f64 = (1 << 20) as f64;

impl Made {
    /// A range between constants as a constant.
    pub(super) fn range(&mut self, node: &NodeProto, view: &View<'_>) -> Option<()> {
        if node.op_type() != "Range" {
            return None;
        }
        let ends = [0, 1, 2].map(|input| view.constant(node, input));
        let [Some(start), Some(limit), Some(step)] = ends else { return None };
        let ends = [&start, &limit, &step];
        let values = match start.dtype() {
            DType::F32 => values(ends, f64::from, |a: f32, b| a + b)?,
            DType::F64 => values(ends, |value| value, |a: f64, b| a + b)?,
            DType::I16 => values(ends, f64::from, i16::wrapping_add)?,
            DType::I32 => values(ends, f64::from, i32::wrapping_add)?,
            DType::I64 => values(ends, |value| value as f64, i64::wrapping_add)?,
            _ => return None,
        };
        self.op("Constant", &[], &[("value", values.into())]);
        let last = self.nodes.last_mut()?;
        last.output.clone_from(&node.output);
        last.name.clone_from(&node.name);
        Some(())
    }
}

fn values<T: Element + Copy>(
    ends: [&HostTensor; 3],
    wide: fn(T) -> f64,
    add: fn(T, T) -> T,
) -> Option<HostTensor> {
    let [start, limit, step] = ends.map(|end| end.to_vec::<T>().ok()?.first().copied());
    let (start, step) = (start?, step?);
    let count = ((wide(limit?) - wide(start)) / wide(step)).ceil();
    if count.is_nan() || count > LONGEST {
        return None;
    }
    let places = std::iter::successors(Some(start), |&last| Some(add(last, step)));
    let all: Vec<T> = places.take(count.max(0.0) as usize).collect();
    HostTensor::from_vec([all.len()], all).ok()
}
