//! Reductions, sorting and normalization, from the steps of a trace to ONNX.

use super::Lowering;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;
use crate::export::candle::sizes::constant;
use crate::export::candle::tape::Reduce;
use crate::export::candle::trace::Step;
use crate::spec::DType;
use crate::tensor::HostTensor;

pub(super) fn reduce(op: Reduce, x: &Value, dims: &[usize], keepdim: bool) -> Result<Value> {
    // No axes mean all of them to ONNX.
    if dims.is_empty() {
        return Ok(x.clone());
    }
    let axes: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
    let op_type = match op {
        Reduce::Max => "ReduceMax",
        Reduce::Mean => "ReduceMean",
        Reduce::Min => "ReduceMin",
        Reduce::Sum => "ReduceSum",
    };
    x.reduce(op_type, &axes, keepdim)
}

/// Zhang and Sennrich (2019), in 32 bits for narrower types, as candle has it.
pub(super) fn rms_norm(x: &Value, weight: &Value, eps: f64) -> Result<Value> {
    let narrow = matches!(x.dtype(), DType::F16 | DType::BF16);
    let wide = if narrow { x.cast(DType::F32)? } else { x.clone() };
    let mean = wide.mul(&wide)?.reduce("ReduceMean", &[-1], true)?;
    let normed = wide.div(&mean.affine(1.0, eps)?.sqrt()?)?;
    normed.cast(x.dtype())?.mul(weight)
}

/// The sums of all up to each along axis `dim`.
pub(super) fn cumsum(x: &Value, dim: usize) -> Result<Value> {
    let axis = x.graph().constant("axis", HostTensor::scalar(dim as i64));
    x.graph().node("CumSum").input(x).input(&axis).build()
}

impl Lowering<'_> {
    /// Sum of squares around the mean, over the count less one.
    pub(super) fn variance(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        let axes = [dim as i64];
        let centered = x.sub(&x.reduce("ReduceMean", &axes, true)?)?;
        let sum = centered.mul(&centered)?.reduce("ReduceSum", &axes, true)?;
        let size = &self.dims_of(step.inputs[0])[dim];
        match constant(size) {
            Some(size) => sum.affine(1.0 / (size as f64 - 1.0), 0.0),
            None => {
                let count = self.read(step.inputs[0], dim)?.affine(1.0, -1.0)?;
                sum.div(&count.cast(x.dtype())?)
            }
        }
    }

    /// The last axis in order, and where each value was. Candle leaves the order of equal values open;
    /// so does TopK.
    pub(super) fn sort(&self, step: &Step, x: &Value, ascending: bool) -> Result<Vec<Value>> {
        let axis = step.dims.len() - 1;
        let count = match constant(&step.dims[axis]) {
            Some(0) => {
                let text = "there is nothing to sort along the last axis";
                let error = Error::new(ErrorKind::UnsupportedOperation, text);
                return Err(error.in_operation("TopK").at_axis(axis));
            }
            Some(size) => {
                let size = HostTensor::from_vec([1], vec![size as i64])?;
                self.graph.constant("count", size)
            }
            None => self.read(step.inputs[0], axis)?,
        };
        let node = self.graph.node("TopK").input(x).input(&count).attr("axis", -1);
        let node = node.attr("largest", i64::from(!ascending)).attr("sorted", 1);
        let shape = x.shape().clone();
        let outputs = [(x.dtype(), shape.clone()), (DType::I64, shape)];
        node.outputs(outputs).build_all()
    }
}
