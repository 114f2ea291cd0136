//! Selecting and writing by index, from the steps of a trace to ONNX.

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::export::candle::sizes::constant;
use crate::export::candle::trace::Step;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Indices as ONNX takes them.
pub(super) fn indices(value: &Value) -> Result<Value> {
    match value.dtype() {
        DType::I32 | DType::I64 => Ok(value.clone()),
        _ => value.cast(DType::I64),
    }
}

impl Lowering<'_> {
    pub(super) fn gather_elements(
        &self,
        step: &Step,
        x: &Value,
        indexes: &Value,
        dim: usize,
    ) -> Result<Value> {
        let node = self.graph.node("GatherElements").input(x).input(&indices(indexes)?);
        let output = (x.dtype(), self.shape(step, x.name())?);
        node.attr("axis", dim as i64).outputs([output]).build()
    }

    pub(super) fn scatter(
        &self,
        x: &Value,
        indexes: &Value,
        source: &Value,
        dim: usize,
        add: bool,
    ) -> Result<Value> {
        let node = self.graph.node("ScatterElements").input(x).input(&indices(indexes)?);
        let node = node.input(source).attr("axis", dim as i64);
        let node = if add { node.attr("reduction", "add") } else { node };
        node.outputs([(x.dtype(), x.shape().clone())]).build()
    }

    /// Backwards along an axis: by indices where the size is known, which all consumers are best
    /// at.
    pub(super) fn flip(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        if let Some(size) = constant(&step.dims[dim]) {
            let backwards: Vec<i64> = (0..size as i64).rev().collect();
            let backwards = HostTensor::from_vec([size], backwards)?;
            return x.gather(&self.graph.constant("backwards", backwards), dim as i64);
        }
        let one = |value: i64| {
            Ok::<_, crate::Error>(
                self.graph.constant("slice", HostTensor::from_vec([1], vec![value])?),
            )
        };
        let node = self.graph.node("Slice").input(x).input(&one(-1)?).input(&one(i64::MIN)?);
        let node = node.input(&one(dim as i64)?).input(&one(-1)?);
        node.outputs([(x.dtype(), x.shape().clone())]).build()
    }

    /// Windows of an axis as a last axis.
    pub(super) fn unfold(
        &self,
        step: &Step,
        x: &Value,
        dim: usize,
        size: usize,
        by: usize,
    ) -> Result<Value> {
        let Some(count) = constant(&step.dims[dim]) else {
            return Err(self.unresolved(step, "the number of windows").in_operation("unfold"));
        };
        let places = (0..count).flat_map(|i| (0..size).map(move |k| (i * by + k) as i64));
        let places = HostTensor::from_vec([count, size], places.collect())?;
        let windows = x.gather(&self.graph.constant("windows", places), dim as i64)?;
        // The elements of a window from behind its axis to the end.
        let mut order: Vec<usize> = (0..windows.rank()).collect();
        order.remove(dim + 1);
        order.push(dim + 1);
        windows.transpose(&order)
    }
}
