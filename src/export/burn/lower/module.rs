//! Layers that Burn keeps whole: linear, convolution, pooling, normalization.

use ::burn::backend::ir::ModuleOperationIr as Op;
use ::burn::backend::ir::TensorIr;

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::{Conv, Pool, Value};

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
                (&op.out, x.batch_norm(&scale?, &bias?, &mean?, &variance?, number(&op.epsilon))?)
            }
            _ => return Err(unsupported("this layer has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    fn optional(&mut self, tensor: Option<&TensorIr>) -> Result<Option<Value>> {
        tensor.map(|tensor| self.value(tensor)).transpose()
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
