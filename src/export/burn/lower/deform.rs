//! Deformable convolution, from samples of the picture and a product with the weights.
//!
//! ONNX has `DeformConv` from operator set 19, which neither TensorRT nor tract reads.
//! Source: Zhu et al., "Deformable ConvNets v2", 2018, equation 1.

use ::burn::backend::ir::DeformConv2dOpIr;

use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// Sizes of a deformable convolution, all known.
struct Sizes {
    picture: [usize; 2],
    kernel: [usize; 2],
    out: [usize; 2],
    channels: usize,
}

impl Sizes {
    /// Samples for each place of the result.
    fn samples(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    fn places(&self) -> usize {
        self.out[0] * self.out[1]
    }
}

impl Lowering<'_> {
    pub(super) fn deform_conv(&mut self, op: &DeformConv2dOpIr) -> Result<Value> {
        let (x, offset) = (self.value(&op.x)?, self.value(&op.offset)?);
        let weight = self.value(&op.weight)?;
        let mask = op.mask.as_ref().map(|mask| self.value(mask)).transpose()?;
        let fixed = |value: &Value, axis: usize| {
            let text =
                || unsupported("deformable convolution of a dynamic size has no ONNX form yet");
            value.dims()[axis].fixed().ok_or_else(|| text().at_axis(axis))
        };
        let sizes = Sizes {
            picture: [fixed(&x, 2)?, fixed(&x, 3)?],
            kernel: [fixed(&weight, 2)?, fixed(&weight, 3)?],
            out: [fixed(&offset, 2)?, fixed(&offset, 3)?],
            channels: fixed(&x, 1)?,
        };
        let (groups, samples) = (op.options.offset_groups, sizes.samples());
        let mut parts = Vec::with_capacity(groups);
        for group in 0..groups {
            let width = sizes.channels / groups;
            let mut cut = |value: &Value, width: usize| match groups {
                1 => Ok(value.clone()),
                _ => self.part(value, 1, group * width, ((group + 1) * width) as i64, 1),
            };
            let (x, offset) = (cut(&x, width)?, cut(&offset, 2 * samples)?);
            let mask = mask.as_ref().map(|mask| cut(mask, samples)).transpose()?;
            parts.push(self.samples(op, &sizes, (&x, &offset, mask.as_ref()))?);
        }
        let columns = self.graph.concat(&parts.iter().collect::<Vec<_>>(), 1)?;

        // One product for each group of weights: channels and samples in the order of the weight.
        let (batch, fixed) = (x.dims()[0].clone(), |size: usize| Some(Dim::Fixed(size)));
        let groups = op.options.weight_groups;
        let (inputs, outputs) = (sizes.channels / groups * samples, fixed_channels(&weight)?);
        let columns = columns.reshape(&[
            Some(batch.clone()),
            fixed(groups),
            fixed(inputs),
            fixed(sizes.places()),
        ])?;
        let weight = weight.reshape(&[fixed(groups), fixed(outputs / groups), fixed(inputs)])?;
        let [height, width] = sizes.out.map(fixed);
        let out =
            weight.matmul(&columns)?.reshape(&[Some(batch), fixed(outputs), height, width])?;
        match &op.bias {
            Some(bias) => out.add(&self.value(bias)?.reshape(&[None, fixed(1), fixed(1)])?),
            None => Ok(out),
        }
    }

    /// What the kernel meets of the channels of one group of offsets, each sample with its share:
    /// `[batch, channels, samples * height, width]`.
    fn samples(
        &mut self,
        op: &DeformConv2dOpIr,
        sizes: &Sizes,
        (x, offset, mask): (&Value, &Value, Option<&Value>),
    ) -> Result<Value> {
        let (batch, fixed) = (x.dims()[0].clone(), |size: usize| Some(Dim::Fixed(size)));
        let (samples, [height, width]) = (sizes.samples(), sizes.out);
        let rows = samples * height;
        // Offsets come as rows and columns, grids as columns and rows from -1 to 1, where the centers of
        // the cells lie at (2 i + 1) / size - 1.
        let offset = offset.reshape(&[
            Some(batch.clone()),
            fixed(samples),
            fixed(2),
            fixed(height),
            fixed(width),
        ])?;
        let order = HostTensor::from_vec([2], vec![1i64, 0])?;
        let offset = offset.gather(&self.graph.constant("order", order), 2)?;
        let offset = offset.transpose(&[0, 1, 3, 4, 2])?;
        let offset = offset.reshape(&[Some(batch.clone()), fixed(rows), fixed(width), fixed(2)])?;
        let scale = [1, 0].map(|axis| 2.0 / sizes.picture[axis] as f32);
        let mut shift = Vec::with_capacity(rows * width * 2);
        for sample in 0..samples {
            let at = [sample / sizes.kernel[1], sample % sizes.kernel[1]];
            for place in 0..height * width {
                let place = [place / width, place % width];
                shift.extend([1, 0].map(|axis| {
                    let o = &op.options;
                    let cell = place[axis] * o.stride[axis] + at[axis] * o.dilation[axis];
                    let cell = cell as f32 - o.padding[axis] as f32;
                    (2.0 * cell + 1.0) / sizes.picture[axis] as f32 - 1.0
                }));
            }
        }
        let shift = HostTensor::from_vec([1, rows, width, 2], shift)?;
        let shift = self.graph.constant("places", shift).cast(x.dtype())?;
        let scale = self.graph.constant("scale", HostTensor::from_vec([2], scale.to_vec())?);
        let grid = offset.mul(&scale.cast(x.dtype())?)?.add(&shift)?;

        let mode = self.graph.target().linear_sampling();
        let mut dims = x.dims()[..2].to_vec();
        dims.extend([rows, width].map(Dim::Fixed));
        let node = self.graph.node("GridSample").input(x).input(&grid).attr("mode", mode);
        let node = node.attr("padding_mode", "zeros").attr("align_corners", 0);
        let sampled = node.outputs([(x.dtype(), dims.into())]).build()?;
        match mask {
            Some(mask) => {
                sampled.mul(&mask.reshape(&[Some(batch), fixed(1), fixed(rows), fixed(width)])?)
            }
            None => Ok(sampled),
        }
    }
}

fn fixed_channels(weight: &Value) -> Result<usize> {
    weight.dims()[0].fixed().ok_or_else(|| unsupported("a weight of dynamic size"))
}
