//! Tensors made in a forward, from the steps of a trace to ONNX: constants where their sizes are
//! known, else computed when the model runs.

use super::{Lowering, types};
use crate::error::Result;
use crate::export::Value;
use crate::export::candle::tape::Triangle;
use crate::export::candle::trace::Step;
use crate::export::graph::scalar;
use crate::spec::DType;

impl Lowering<'_> {
    fn number(&self, dtype: DType, value: f64) -> Result<Value> {
        Ok(self.graph.constant("number", scalar(dtype, value)?))
    }

    pub(super) fn full(&self, step: &Step, value: f64) -> Result<Value> {
        let dtype = types::computed(step.dtype)?;
        let number = self.number(dtype, types::number(step.dtype, value))?;
        let output = (dtype, self.shape(step, "full")?);
        let sizes = self.sizes(step, "Expand")?;
        self.graph.node("Expand").input(&number).input(&sizes).outputs([output]).build()
    }

    /// `start + i * by`, as many as the step has.
    pub(super) fn range(&self, step: &Step, start: f64, by: f64) -> Result<Value> {
        let dtype = types::computed(step.dtype)?;
        let counted = self.counting(step, 0, "arange")?;
        if dtype == DType::I64 {
            return counted.affine(by, start);
        }
        // Counted in whole numbers, so that a narrow type does not stop the count.
        counted.cast(dtype)?.affine(by, start)
    }

    /// 0, 1, 2, … as i64, as many as an axis of an earlier step has.
    pub(super) fn counted(&self, step: usize, axis: usize) -> Result<Value> {
        let dim = &self.value(step).dims()[axis];
        self.graph.range(dim, || self.read(step, axis))
    }

    /// 0, 1, 2, … as i64, as many as a step that is being made has along an axis.
    pub(super) fn counting(&self, step: &Step, axis: usize, name: &str) -> Result<Value> {
        let dim = self.shape(step, name)?.dims()[axis].clone();
        self.graph.range(&dim, || {
            let part = self.part(step, axis, &step.dims[axis], "the size", name)?;
            self.operand(vec![part])
        })
    }

    /// One where the column is not behind the row, not before it, or the same.
    pub(super) fn triangle(&self, step: &Step, triangle: Triangle) -> Result<Value> {
        let counted = self.counting(step, 0, "triangle")?;
        let (columns, rows) = (counted.unsqueeze(&[0])?, counted.unsqueeze(&[1])?);
        let ones = match triangle {
            Triangle::Lower => columns.less_equal(&rows)?,
            Triangle::Upper => columns.greater_equal(&rows)?,
            Triangle::Diagonal => columns.equal(&rows)?,
        };
        ones.cast(types::computed(step.dtype)?)
    }
}
