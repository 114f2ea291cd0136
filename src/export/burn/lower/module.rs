//! Layers that Burn keeps whole: linear, convolution, pooling, normalization.

use ::burn::backend::ir::ModuleOperationIr as Op;
use ::burn::backend::ir::{InterpolateModeIr, InterpolateOpIr, TensorIr};

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::{Conv, Pool, Value};
use crate::spec::Dim;

fn both(padding: &[usize]) -> Vec<(usize, usize)> {
    padding.iter().map(|&padding| (padding, padding)).collect()
}

impl Lowering<'_> {
    pub(super) fn module(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Linear(op) => {
                let bias = self.optional(op.bias.as_ref())?;
                (
                    &op.out,
                    self.value(&op.x)?.linear(&self.value(&op.weight)?, bias.as_ref(), false)?,
                )
            }
            Op::Conv1d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, o.padding.to_vec(), &o.dilation, o.groups);
                (&op.out, self.conv(&op.x, &op.weight, op.bias.as_ref(), &conv)?)
            }
            Op::Conv2d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, o.padding.to_vec(), &o.dilation, o.groups);
                (&op.out, self.conv(&op.x, &op.weight, op.bias.as_ref(), &conv)?)
            }
            Op::Conv3d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, both(&o.padding), &o.dilation, o.groups);
                (&op.out, self.conv(&op.x, &op.weight, op.bias.as_ref(), &conv)?)
            }
            Op::MaxPool1d(op) => {
                let pool = pool(
                    &[op.kernel_size],
                    &[op.stride],
                    &[op.padding],
                    &[op.dilation],
                    op.ceil_mode,
                );
                (&op.out, self.value(&op.x)?.max_pool(&pool)?)
            }
            Op::MaxPool2d(op) => {
                let pool =
                    pool(&op.kernel_size, &op.stride, &op.padding, &op.dilation, op.ceil_mode);
                (&op.out, self.value(&op.x)?.max_pool(&pool)?)
            }
            Op::AvgPool1d(op) => {
                let pool = pool(&[op.kernel_size], &[op.stride], &[op.padding], &[1], op.ceil_mode);
                (&op.out, self.value(&op.x)?.average_pool(&pool, op.count_include_pad)?)
            }
            Op::AvgPool2d(op) => {
                let pool = pool(&op.kernel_size, &op.stride, &op.padding, &[1, 1], op.ceil_mode);
                (&op.out, self.value(&op.x)?.average_pool(&pool, op.count_include_pad)?)
            }
            Op::AdaptiveAvgPool1d(op) => (&op.out, self.adaptive(&op.x, &[op.output_size])?),
            Op::AdaptiveAvgPool2d(op) => (&op.out, self.adaptive(&op.x, &op.output_size)?),
            Op::AdaptiveAvgPool3d(op) => (&op.out, self.adaptive(&op.x, &op.output_size)?),
            Op::BatchNorm(op) => {
                let parameters = [&op.gamma, &op.beta, &op.mean, &op.variance];
                let [scale, bias, mean, variance] = parameters.map(|tensor| self.value(tensor));
                let x = self.value(&op.x)?;
                (&op.out, x.batch_norm(&scale?, &bias?, &mean?, &variance?, number(&op.epsilon)?)?)
            }
            Op::LayerNorm(op) => {
                let beta = self.optional(op.beta.as_ref())?;
                let (x, gamma) = (self.value(&op.input)?, self.value(&op.gamma)?);
                (&op.out, x.layer_norm(&gamma, beta.as_ref(), -1, number(&op.epsilon)?)?)
            }
            Op::Embedding(op) => {
                let indices = self.indices(&op.indices)?;
                (&op.out, self.value(&op.weights)?.gather(&indices, 0)?)
            }
            Op::Attention(op) => (&op.out, self.attention(op)?),
            Op::Interpolate(op) => (&op.out, self.interpolate(op)?),
            Op::ConvTranspose1d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, both(&o.padding), &o.dilation, o.groups);
                let bias = self.optional(op.bias.as_ref())?;
                let (x, weight) = (self.value(&op.x)?, self.value(&op.weight)?);
                (&op.out, x.conv_transpose(&weight, bias.as_ref(), &conv, &o.padding_out)?)
            }
            Op::ConvTranspose2d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, both(&o.padding), &o.dilation, o.groups);
                let bias = self.optional(op.bias.as_ref())?;
                let (x, weight) = (self.value(&op.x)?, self.value(&op.weight)?);
                (&op.out, x.conv_transpose(&weight, bias.as_ref(), &conv, &o.padding_out)?)
            }
            _ => return Err(unsupported("this layer has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    fn optional(&mut self, tensor: Option<&TensorIr>) -> Result<Option<Value>> {
        tensor.map(|tensor| self.value(tensor)).transpose()
    }

    /// ONNX Resize with Burn's coordinates; the target size is fixed.
    fn interpolate(&mut self, op: &InterpolateOpIr) -> Result<Value> {
        let x = self.value(&op.x)?;
        let corners = if op.options.align_corners { "align_corners" } else { "half_pixel" };
        let (mode, coordinates) = match op.options.mode {
            InterpolateModeIr::Nearest => ("nearest", "asymmetric"),
            InterpolateModeIr::NearestExact => {
                // Burn's CPU backend has no result to compare an export with.
                return Err(unsupported("nearest-exact interpolation has no tested ONNX form yet"));
            }
            InterpolateModeIr::Bilinear => ("linear", corners),
            InterpolateModeIr::Bicubic => ("cubic", corners),
            InterpolateModeIr::Lanczos3 => {
                return Err(unsupported("Lanczos interpolation has no ONNX form"));
            }
        };
        let [height, width] = op.output_size;
        let mut dims = x.dims()[..2].to_vec();
        dims.extend([height, width].map(Dim::Fixed));
        let sizes = self.graph.shape_tensor(&dims, &[&x])?;
        let node =
            self.graph.node("Resize").input(&x).input_opt(None).input_opt(None).input(&sizes);
        node.attr("mode", mode)
            .attr("coordinate_transformation_mode", coordinates)
            .attr("nearest_mode", "floor")
            .attr("cubic_coeff_a", -0.75f32)
            .outputs([(x.dtype(), dims.into())])
            .build()
    }

    fn conv(
        &mut self,
        x: &TensorIr,
        weight: &TensorIr,
        bias: Option<&TensorIr>,
        conv: &Conv,
    ) -> Result<Value> {
        let bias = self.optional(bias)?;
        self.value(x)?.conv(&self.value(weight)?, bias.as_ref(), conv)
    }

    /// Windows that divide the input evenly are an ordinary average pool; one window is global.
    fn adaptive(&mut self, x: &TensorIr, output: &[usize]) -> Result<Value> {
        let value = self.value(x)?;
        if output.iter().all(|&size| size == 1) {
            return value.global_average_pool();
        }
        let mut kernel = Vec::with_capacity(output.len());
        for (i, (&size, dim)) in output.iter().zip(&value.dims()[2..]).enumerate() {
            match dim.fixed() {
                Some(input) if size > 0 && input % size == 0 => kernel.push(input / size),
                _ => {
                    let text =
                        format!("adaptive pooling of size {dim} to {size} has no ONNX form yet");
                    return Err(unsupported(text).at_axis(i + 2));
                }
            }
        }
        let zeros = vec![0; kernel.len()];
        let ones = vec![1; kernel.len()];
        value.average_pool(&pool(&kernel, &kernel, &zeros, &ones, false), true)
    }
}

fn conv(
    strides: &[usize],
    padding: Vec<(usize, usize)>,
    dilations: &[usize],
    groups: usize,
) -> Conv {
    Conv { strides: strides.to_vec(), padding, dilations: dilations.to_vec(), groups }
}

fn pool(
    kernel: &[usize],
    strides: &[usize],
    padding: &[usize],
    dilations: &[usize],
    ceil_mode: bool,
) -> Pool {
    Pool {
        kernel: kernel.to_vec(),
        strides: strides.to_vec(),
        padding: both(padding),
        dilations: dilations.to_vec(),
        ceil_mode,
    }
}
