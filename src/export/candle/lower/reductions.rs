//! Reductions, sorting and normalization, from the steps of a trace to ONNX.

use super::{Lowering, types};
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;
use crate::export::candle::tape::Reduce;
use crate::export::candle::trace::Step;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Zhang and Sennrich (2019), in 32 bits for narrower types, as candle has it.
pub(super) fn rms_norm(x: &Value, weight: &Value, eps: f64) -> Result<Value> {
    let narrow = matches!(x.dtype(), DType::F16 | DType::BF16);
    let wide = if narrow { x.cast(DType::F32)? } else { x.clone() };
    let mean = wide.mul(&wide)?.reduced("ReduceMean", &[-1], true)?;
    let normed = wide.div(&mean.affine(1.0, eps)?.sqrt()?)?;
    normed.cast(x.dtype())?.mul(weight)
}

/// The sums of all up to each along axis `dim`.
pub(super) fn cumsum(x: &Value, dim: usize) -> Result<Value> {
    let axis = x.graph().constant("axis", HostTensor::scalar(dim as i64));
    x.graph().node("CumSum").input(x).input(&axis).build()
}

impl Lowering<'_> {
    pub(super) fn reduce(
        &self,
        step: &Step,
        op: Reduce,
        x: &Value,
        dims: &[usize],
        keepdim: bool,
    ) -> Result<Value> {
        let axes: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        let op_type = match op {
            Reduce::Max => "ReduceMax",
            Reduce::Mean if step.dtype.is_int() => {
                return self.mean_of_integers(step, x, dims, &axes, keepdim);
            }
            Reduce::Mean => return x.mean(&axes, keepdim),
            Reduce::Min => "ReduceMin",
            Reduce::Sum => return x.sum(&axes, keepdim),
        };
        x.reduced(op_type, &axes, keepdim)
    }

    /// The sum times one over the count, which is a whole number in candle: 0 for more than one.
    fn mean_of_integers(
        &self,
        step: &Step,
        x: &Value,
        dims: &[usize],
        axes: &[i64],
        keepdim: bool,
    ) -> Result<Value> {
        let sizes = dims.iter().map(|&dim| self.dims_of(step.inputs[0])[dim].fixed());
        let Some(count) = sizes.product::<Option<usize>>() else {
            let text = "the mean of integers along a dynamic axis";
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            return Err(error.in_operation("ReduceMean"));
        };
        let factor = types::number(step.dtype, 1.0 / count as f64);
        x.sum(axes, keepdim)?.affine(factor, 0.0)
    }

    /// Sum of squares around the mean, over the count less one.
    pub(super) fn variance(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        let axes = [dim as i64];
        let centered = x.sub(&x.reduced("ReduceMean", &axes, true)?)?;
        let sum = centered.mul(&centered)?.reduced("ReduceSum", &axes, true)?;
        let size = &self.dims_of(step.inputs[0])[dim];
        match size.fixed() {
            Some(size) => sum.affine(1.0 / (size as f64 - 1.0), 0.0),
            None => {
                let count = self.read(step.inputs[0], dim)?.affine(1.0, -1.0)?;
                sum.div(&count.cast(x.dtype())?)
            }
        }
    }

    /// The first values of the last axis in order, as many as the step has, and where each was. Candle leaves the
    /// order of equal values open; so does TopK.
    pub(super) fn sort(&self, step: &Step, x: &Value, ascending: bool) -> Result<Vec<Value>> {
        let axis = step.dims.len() - 1;
        let count = self.shape(step, x.name())?.dims()[axis].clone();
        let ordered = x.ordered(axis, &count, !ascending, || {
            let size = &step.dims[axis];
            let whole = *size == self.dims_of(step.inputs[0])[axis];
            match size.fixed() {
                None if whole => self.read(step.inputs[0], axis),
                _ => self.operand(vec![self.part(step, axis, size, "the count", "TopK")?]),
            }
        });
        ordered.map(Vec::from)
    }
}
