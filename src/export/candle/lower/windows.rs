//! Convolution, pooling and up-sampling, from the steps of a trace to ONNX.

use super::Lowering;
use crate::error::Result;
use crate::export::candle::sizes::{constant, factor};
use crate::export::candle::trace::Step;
use crate::export::{Conv, Pool, Value};
use crate::tensor::HostTensor;

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

pub(super) fn pool(x: &Value, max: bool, kernel: [usize; 2], stride: [usize; 2]) -> Result<Value> {
    let options = Pool {
        kernel: kernel.to_vec(),
        strides: stride.to_vec(),
        padding: vec![(0, 0); 2],
        dilations: vec![1; 2],
        ceil_mode: false,
    };
    if max { x.max_pool(&options) } else { x.average_pool(&options, false) }
}

/// The smallest scale, close to `to / from`, with which a Resize gives this size: it rounds down.
fn scale(from: usize, to: usize) -> f64 {
    let mut scale = to as f32 / from as f32;
    while ((from as f32 * scale).floor() as usize) < to {
        scale = scale.next_up();
    }
    f64::from(scale)
}

impl Lowering<'_> {
    /// The whole numbers by which the spatial axes grow, if they are.
    fn factors(&self, step: &Step) -> Option<Vec<usize>> {
        let from = self.dims_of(step.inputs[0]);
        from.iter().zip(&step.dims).skip(2).map(|(from, to)| factor(to, from)).collect()
    }

    fn scales(&self, scales: &[f64]) -> Result<Value> {
        let all: Vec<f32> =
            [1.0, 1.0].into_iter().chain(scales.iter().map(|&s| s as f32)).collect();
        Ok(self.graph.constant("scales", HostTensor::from_vec([all.len()], all)?))
    }

    /// Whole multiples are a Resize; other sizes take candle's own indices, because the two round
    /// differently.
    pub(super) fn upsample_nearest(&self, step: &Step, x: &Value) -> Result<Value> {
        if let Some(factors) = self.factors(step) {
            let scales: Vec<f64> = factors.into_iter().map(|factor| factor as f64).collect();
            let node = self.graph.node("Resize").input(x).input_opt(None);
            let node = node.input(&self.scales(&scales)?);
            let node = node.attr("mode", "nearest").attr("nearest_mode", "floor");
            let node = node.attr("coordinate_transformation_mode", "asymmetric");
            return node.outputs([(x.dtype(), self.shape(step, x.name())?)]).build();
        }
        let from = self.dims_of(step.inputs[0]);
        let mut value = x.clone();
        for (axis, (source, target)) in from.iter().zip(&step.dims).enumerate().skip(2) {
            let (Some(source), Some(target)) = (constant(source), constant(target)) else {
                return Err(self.unresolved(step, "the target").in_operation("Resize"));
            };
            let scale = source as f64 / target as f64;
            let indices = (0..target).map(|i| ((i as f64 * scale) as usize).min(source - 1) as i64);
            let indices = HostTensor::from_vec([target], indices.collect())?;
            value = value.gather(&self.graph.constant("indices", indices), axis as i64)?;
        }
        Ok(value)
    }

    /// By the scale where one is given or the axes grow by whole numbers, else to the size.
    pub(super) fn upsample_bilinear(
        &self,
        step: &Step,
        x: &Value,
        align_corners: bool,
        scales: Option<[f64; 2]>,
    ) -> Result<Value> {
        let from = self.dims_of(step.inputs[0]);
        // Sizes as scales, which leave batch and channels alone.
        let growth = |axis: usize| match (constant(&from[axis]), constant(&step.dims[axis])) {
            (Some(from), Some(to)) => Some(scale(from, to)),
            _ => factor(&step.dims[axis], &from[axis]).map(|factor| factor as f64),
        };
        let growth = || Some([growth(2)?, growth(3)?]);
        let node = self.graph.node("Resize").input(x).input_opt(None);
        // With aligned corners candle goes by the sizes alone.
        let scales = scales.filter(|_| !align_corners).or_else(growth);
        let node = match scales {
            Some(scales) => node.input(&self.scales(&scales)?),
            None => node.input_opt(None).input(&self.sizes(step, "Resize")?),
        };
        let corners = if align_corners { "align_corners" } else { "half_pixel" };
        let node = node.attr("mode", "linear").attr("coordinate_transformation_mode", corners);
        node.outputs([(x.dtype(), self.shape(step, x.name())?)]).build()
    }
}
