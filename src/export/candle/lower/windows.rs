//! Convolution, pooling and up-sampling, from the steps of a trace to ONNX.

use candle_core::DType as CandleType;

use super::Lowering;
use crate::error::{Error, ErrorKind, Result};
use crate::export::candle::trace::Step;
use crate::export::graph::{Resized, factor};
use crate::export::{Conv, Pool, Value};
use crate::spec::{DType, Dim};

/// Padding, stride, dilation and groups, the same along all spatial axes.
pub(super) fn conv(x: &Value, numbers: [usize; 4]) -> Conv {
    let axes = x.rank() - 2;
    let [padding, stride, dilation, groups] = numbers;
    Conv {
        strides: vec![stride; axes],
        padding: vec![(padding, padding); axes],
        dilations: vec![dilation; axes],
        groups,
    }
}

pub(super) fn pool(
    x: &Value,
    dtype: CandleType,
    max: bool,
    kernel: [usize; 2],
    stride: [usize; 2],
) -> Result<Value> {
    if dtype.is_int() {
        // 32-bit floats hold them; ONNX pools nothing else.
        let narrow = matches!(dtype, CandleType::U8 | CandleType::I16);
        if !max || !narrow {
            let text = format!("windows of {}", dtype.as_str());
            let operator = if max { "MaxPool" } else { "AveragePool" };
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            return Err(error.in_operation(operator).on_tensor(x.name()));
        }
        let floats = x.cast(DType::F32)?;
        return pool(&floats, CandleType::F32, max, kernel, stride)?.cast(x.dtype());
    }
    let options = Pool {
        kernel: kernel.to_vec(),
        strides: stride.to_vec(),
        padding: vec![(0, 0); 2],
        dilations: vec![1; 2],
        ceil_mode: false,
    };
    if max { x.max_pool(&options) } else { x.average_pool(&options) }
}

impl Lowering<'_> {
    fn resized(&self, step: &Step, x: &Value) -> Result<Vec<Resized>> {
        let from = self.dims_of(step.inputs[0]);
        let shape = self.shape(step, x.name())?;
        let axis = |i: usize| Resized {
            to: shape.dims()[i].clone(),
            factor: factor(&from[i], &step.dims[i]),
        };
        Ok((2..x.rank()).map(axis).collect())
    }

    /// The size of an axis of a step or of its input, by its dimension, as a 1-D i64 tensor.
    fn size(&self, step: &Step, x: &Value, axes: &[Resized], dim: &Dim) -> Result<Value> {
        if let Some(axis) = x.dims().iter().position(|known| known == dim) {
            return self.read(step.inputs[0], axis);
        }
        let axis = axes.iter().position(|axis| axis.to == *dim).map_or(0, |i| i + 2);
        self.operand(vec![self.part(step, axis, &step.dims[axis], "the target", "Resize")?])
    }

    pub(super) fn upsample_nearest(&self, step: &Step, x: &Value) -> Result<Value> {
        let axes = self.resized(step, x)?;
        x.resize_nearest(&axes, |dim| self.size(step, x, &axes, dim))
    }

    pub(super) fn upsample_bilinear(
        &self,
        step: &Step,
        x: &Value,
        align_corners: bool,
        scales: Option<[f64; 2]>,
    ) -> Result<Value> {
        // With aligned corners candle goes by the sizes alone.
        let scales = scales.filter(|_| !align_corners);
        let scales = scales.map(|scales| scales.iter().map(|&scale| scale as f32).collect());
        let corners = if align_corners { "align_corners" } else { "half_pixel" };
        let attributes = [("mode", "linear"), ("coordinate_transformation_mode", corners)];
        let axes = self.resized(step, x)?;
        x.resize(&axes, scales, &attributes, || self.sizes(step, "Resize"))
    }
}
