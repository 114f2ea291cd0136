//! Selecting and writing by index, from the steps of a trace to ONNX.

use candle_core::DType as CandleType;

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::export::candle::tape::Op;
use crate::export::candle::trace::Step;
use crate::export::graph::Around;
use crate::export::lower::{
    Combined, as_indices, combine, flip, gather_elements, scatter_elements, windows,
};

/// Places along an axis, and where candle has none.
pub(super) struct IndexPlaces {
    /// As i32 or i64; a place of the axis also where there is none, unless an index is known to be one.
    places: Value,
    /// Where there is none, if that may be.
    none: Option<Value>,
}

impl IndexPlaces {
    /// What was taken from the places, with zeros where there is none. The axes of the places are the first of
    /// those from `axis` on.
    fn cleared(&self, taken: Value, axis: usize) -> Result<Value> {
        let Some(none) = &self.none else { return Ok(taken) };
        let behind = taken.rank() - axis - none.rank();
        let axes: Vec<i64> = (0..behind).map(|i| (none.rank() + i) as i64).collect();
        let none = if axes.is_empty() { none.clone() } else { none.unsqueeze(&axes)? };
        none.select(&taken.scalar_like(0.0)?, &taken)
    }
}

/// The number that candle takes for no index: the largest of the type.
fn no_index(dtype: CandleType) -> f64 {
    match dtype {
        CandleType::U8 => f64::from(u8::MAX),
        CandleType::U32 => f64::from(u32::MAX),
        _ => i64::MAX as f64,
    }
}

impl Lowering<'_> {
    /// The indices that a step holds, as `value`; where there are none, `instead`.
    fn places(&self, step: usize, value: &Value, instead: f64) -> Result<IndexPlaces> {
        let places = as_indices(value)?;
        if !self.may_have_none(step) {
            return Ok(IndexPlaces { places, none: None });
        }
        let number = no_index(self.trace.steps[step].dtype);
        let none = places.equal(&places.scalar_like(number)?)?;
        let places = none.select(&places.scalar_like(instead)?, &places)?;
        Ok(IndexPlaces { places, none: Some(none) })
    }

    /// Whether one of the indices that a step holds may be none.
    fn may_have_none(&self, i: usize) -> bool {
        let step = &self.trace.steps[i];
        match &step.op {
            Op::ArgReduce { .. } | Op::Compare(_) | Op::Sort { positions: true, .. } => false,
            Op::Constant(constant) => {
                let weight = &self.trace.weights[&constant.tensor.id()];
                match step.dtype {
                    CandleType::U8 => weight.to_vec::<u8>().is_ok_and(|w| w.contains(&u8::MAX)),
                    CandleType::U32 => {
                        let none = i64::from(u32::MAX);
                        weight.to_vec::<i64>().is_ok_and(|w| w.contains(&none))
                    }
                    _ => weight.to_vec::<i64>().is_ok_and(|w| w.contains(&i64::MAX)),
                }
            }
            Op::Range { .. } => step.dtype == CandleType::U8,
            Op::Triangle(_) => false,
            Op::Broadcast
            | Op::Cat { .. }
            | Op::Flip { .. }
            | Op::Narrow { .. }
            | Op::Permute { .. }
            | Op::Repeat
            | Op::Reshape
            | Op::Squeeze { .. }
            | Op::Unfold { .. }
            | Op::Unsqueeze { .. } => step.inputs.iter().any(|&input| self.may_have_none(input)),
            _ => true,
        }
    }

    /// Slices of `x` along an axis.
    pub(super) fn index_select(
        &self,
        x: &Value,
        step: usize,
        indexes: &Value,
        dim: usize,
    ) -> Result<Value> {
        let places = self.places(step, indexes, 0.0)?;
        places.cleared(x.gather(&places.places, dim as i64)?, dim)
    }

    pub(super) fn gather_elements(
        &self,
        step: &Step,
        x: &Value,
        indexes: &Value,
        dim: usize,
    ) -> Result<Value> {
        let places = self.places(step.inputs[1], indexes, 0.0)?;
        let taken = gather_elements(x, dim, &places.places)?;
        places.cleared(taken.with_shape(self.shape(step, x.name())?), 0)
    }

    /// Where no reductions are taken, a sum over all sources of what goes to each place.
    pub(super) fn scatter(
        &self,
        step: &Step,
        [x, indexes, source]: [&Value; 3],
        dim: usize,
        add: bool,
    ) -> Result<Value> {
        let IndexPlaces { places, none } = self.places(step.inputs[1], indexes, -1.0)?;
        if add && !self.graph.target().has_scatter_reduction() {
            let cells = self.counted(step.inputs[0], dim)?.cast(places.dtype())?;
            return combine(x, dim, [&places, source, &cells], Combined::Sum);
        }
        let scattered = |x: &Value, places: &Value| scatter_elements(x, dim, [places, source], add);
        let Some(none) = none else { return scattered(x, &places) };
        // What has no place goes to one behind the last, which is cut off.
        let behind = self.read(step.inputs[0], dim)?.cast(places.dtype())?;
        let longer = x.pad_axis(dim, (0, 1), Around::Zeros)?;
        let all = scattered(&longer, &none.select(&behind, &places)?)?;
        Ok(all.slice(dim as i64, 0, Some(-1))?.with_shape(x.shape().clone()))
    }

    pub(super) fn flip(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        Ok(flip(x, &[dim])?.with_shape(self.shape(step, x.name())?))
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
        let shape = self.shape(step, x.name())?;
        let counted = || self.counting(step, dim, "unfold");
        Ok(windows(x, dim, (size, by), &shape.dims()[dim], counted)?.with_shape(shape))
    }
}
