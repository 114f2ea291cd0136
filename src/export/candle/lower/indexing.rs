//! Selecting and writing by index, from the steps of a trace to ONNX.

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::export::candle::sizes::constant;
use crate::export::candle::trace::Step;
use crate::spec::{DType, Dim};
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

    /// Where no reductions are taken, a sum over all sources of what goes to each place.
    pub(super) fn scatter(
        &self,
        step: &Step,
        [x, indexes, source]: [&Value; 3],
        dim: usize,
        add: bool,
    ) -> Result<Value> {
        let indexes = indices(indexes)?;
        if add && !self.graph.target().has_scatter_reduction() {
            let axis = dim as i64 + 1;
            let places = self.counted(step.inputs[0], dim)?;
            let behind: Vec<i64> = (1..(x.rank() - dim) as i64).collect();
            let places = places.unsqueeze(&behind)?.cast(indexes.dtype())?;
            let here = indexes.unsqueeze(&[axis])?.equal(&places)?;
            // Chosen, not multiplied: nothing of an infinite source goes to other places.
            let parts = here.select(&source.unsqueeze(&[axis])?, &source.scalar_like(0.0)?)?;
            return x.add(&parts.reduce("ReduceSum", &[dim as i64], false)?);
        }
        let node = self.graph.node("ScatterElements").input(x).input(&indexes);
        let node = node.input(source).attr("axis", dim as i64);
        let node = if add { node.attr("reduction", "add") } else { node };
        node.outputs([(x.dtype(), x.shape().clone())]).build()
    }

    /// Backwards along an axis, by indices.
    pub(super) fn flip(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        if let Some(size) = constant(&step.dims[dim]) {
            let backwards: Vec<i64> = (0..size as i64).rev().collect();
            let backwards = HostTensor::from_vec([size], backwards)?;
            return x.gather(&self.graph.constant("backwards", backwards), dim as i64);
        }
        let from = step.inputs[0];
        let last = self.read(from, dim)?.affine(1.0, -1.0)?;
        let backwards = last.sub(&self.counted(from, dim)?)?;
        let output = (x.dtype(), x.shape().clone());
        let node = self.graph.node("Gather").input(x).input(&backwards);
        node.attr("axis", dim as i64).outputs([output]).build()
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
        let windows = match constant(&step.dims[dim]) {
            Some(count) => {
                let places = (0..count).flat_map(|i| (0..size).map(move |k| (i * by + k) as i64));
                let places = HostTensor::from_vec([count, size], places.collect())?;
                x.gather(&self.graph.constant("windows", places), dim as i64)?
            }
            None => {
                let within = HostTensor::from_vec([size], (0..size as i64).collect())?;
                let within = self.graph.constant("window", within);
                let starts = self.counting(step, dim, "unfold")?.affine(by as f64, 0.0)?;
                let mut dims = self.shape(step, x.name())?.dims().to_vec();
                let last = dims.pop().unwrap_or(Dim::Fixed(size));
                dims.insert(dim + 1, last);
                let places = starts.unsqueeze(&[1])?.add(&within)?;
                let node = self.graph.node("Gather").input(x).input(&places);
                node.attr("axis", dim as i64).outputs([(x.dtype(), dims.into())]).build()?
            }
        };
        // The elements of a window from behind its axis to the end.
        let mut order: Vec<usize> = (0..windows.rank()).collect();
        order.remove(dim + 1);
        order.push(dim + 1);
        windows.transpose(&order)
    }
}
