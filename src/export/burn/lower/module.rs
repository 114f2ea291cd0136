//! Layers that Burn keeps whole. Pooling is in `pool`, resizing in `resize`.

use ::burn::backend::ir::ModuleOperationIr as Op;
use ::burn::backend::ir::TensorIr;

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::{Conv, Value};

pub(super) fn both(padding: &[usize]) -> Vec<(usize, usize)> {
    padding.iter().map(|&padding| (padding, padding)).collect()
}

impl Lowering<'_> {
    pub(super) fn module(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Linear(op) => {
                let bias = op.bias.as_ref().map(|bias| self.value(bias)).transpose()?;
                let weight = self.value(&op.weight)?;
                (&op.out, self.value(&op.x)?.linear(&weight, bias.as_ref())?)
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
            Op::AvgPool1d(_)
            | Op::AvgPool2d(_)
            | Op::AdaptiveAvgPool1d(_)
            | Op::AdaptiveAvgPool2d(_)
            | Op::AdaptiveAvgPool3d(_)
            | Op::MaxPool1d(_)
            | Op::MaxPool2d(_)
            | Op::MaxPool1dWithIndices(_)
            | Op::MaxPool2dWithIndices(_) => return self.pooling(operation),
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
                let parameters = (&op.weight, op.bias.as_ref());
                (&op.out, self.conv_transpose(&op.x, parameters, &conv, &o.padding_out)?)
            }
            Op::ConvTranspose2d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, both(&o.padding), &o.dilation, o.groups);
                let parameters = (&op.weight, op.bias.as_ref());
                (&op.out, self.conv_transpose(&op.x, parameters, &conv, &o.padding_out)?)
            }
            Op::ConvTranspose3d(op) => {
                let o = &op.options;
                let conv = conv(&o.stride, both(&o.padding), &o.dilation, o.groups);
                let parameters = (&op.weight, op.bias.as_ref());
                (&op.out, self.conv_transpose(&op.x, parameters, &conv, &o.padding_out)?)
            }
            Op::Unfold4d(op) => (&op.out, self.unfold4d(op)?),
            Op::DeformableConv2d(op) => (&op.out, self.deform_conv(op)?),
            Op::CtcLoss(_) => return Err(unsupported("a loss is not part of inference")),
            Op::EmbeddingBackward(_)
            | Op::LinearXBackward(_)
            | Op::LinearWeightBackward(_)
            | Op::LinearBiasBackward(_)
            | Op::Conv1dXBackward(_)
            | Op::Conv1dWeightBackward(_)
            | Op::Conv1dBiasBackward(_)
            | Op::Conv2dXBackward(_)
            | Op::Conv2dWeightBackward(_)
            | Op::Conv2dBiasBackward(_)
            | Op::Conv3dXBackward(_)
            | Op::Conv3dWeightBackward(_)
            | Op::Conv3dBiasBackward(_)
            | Op::DeformableConv2dBackward(_)
            | Op::AvgPool1dBackward(_)
            | Op::AvgPool2dBackward(_)
            | Op::AdaptiveAvgPool1dBackward(_)
            | Op::AdaptiveAvgPool2dBackward(_)
            | Op::AdaptiveAvgPool3dBackward(_)
            | Op::MaxPool1dWithIndicesBackward(_)
            | Op::MaxPool2dWithIndicesBackward(_)
            | Op::InterpolateBackward(_)
            | Op::CtcLossBackward(_)
            | Op::ConvTranspose1dWeightBackward(_)
            | Op::ConvTranspose1dBiasBackward(_)
            | Op::ConvTranspose2dWeightBackward(_)
            | Op::ConvTranspose2dBiasBackward(_)
            | Op::ConvTranspose3dWeightBackward(_)
            | Op::ConvTranspose3dBiasBackward(_) => return Err(super::gradient()),
        };
        self.bind(out, value)
    }

    fn optional(&mut self, tensor: Option<&TensorIr>) -> Result<Option<Value>> {
        tensor.map(|tensor| self.value(tensor)).transpose()
    }

    fn conv_transpose(
        &mut self,
        x: &TensorIr,
        (weight, bias): (&TensorIr, Option<&TensorIr>),
        conv: &Conv,
        padding_out: &[usize],
    ) -> Result<Value> {
        let bias = self.optional(bias)?;
        self.value(x)?.conv_transpose(&self.value(weight)?, bias.as_ref(), conv, padding_out)
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
}

fn conv(
    strides: &[usize],
    padding: Vec<(usize, usize)>,
    dilations: &[usize],
    groups: usize,
) -> Conv {
    Conv { strides: strides.to_vec(), padding, dilations: dilations.to_vec(), groups }
}
