//! ResNet-18, -34, -50, -101 and -152 (He et al., "Deep Residual Learning for Image Recognition",
//! 2015). Pictures `[batch, 3, height, width]` in, class scores `[batch, classes]` out.

use candle_core::{D, Module, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, VarBuilder, batch_norm, linear};

/// A convolution without bias, and its normalization.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    fn new(
        [inputs, outputs, kernel, stride]: [usize; 4],
        conv: VarBuilder,
        norm: VarBuilder,
    ) -> Result<Self> {
        let config = Conv2dConfig { padding: kernel / 2, stride, ..Default::default() };
        let conv = candle_nn::conv2d_no_bias(inputs, outputs, kernel, config, conv)?;
        Ok(Self { conv, norm: batch_norm(outputs, 1e-5, norm)? })
    }
}

#[accelerant::trace]
impl Module for ConvNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        xs.apply(&self.conv)?.apply_t(&self.norm, false)
    }
}

/// Convolutions with a way around them: two, or three with the first and last 1 wide.
struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(inputs: usize, width: usize, stride: usize, deep: bool, vb: VarBuilder) -> Result<Self> {
        let outputs = if deep { 4 * width } else { width };
        let sizes: &[[usize; 4]] = &match deep {
            true => vec![[inputs, width, 1, 1], [width, width, 3, stride], [width, outputs, 1, 1]],
            false => vec![[inputs, width, 3, stride], [width, width, 3, 1]],
        };
        let conv = |(i, &sizes): (usize, &[usize; 4])| {
            let i = i + 1;
            ConvNorm::new(sizes, vb.pp(format!("conv{i}")), vb.pp(format!("bn{i}")))
        };
        let convs = sizes.iter().enumerate().map(conv).collect::<Result<_>>()?;
        let vb = vb.pp("downsample");
        let downsample = (stride != 1 || inputs != outputs)
            .then(|| ConvNorm::new([inputs, outputs, 1, stride], vb.pp(0), vb.pp(1)))
            .transpose()?;
        Ok(Self { convs, downsample })
    }
}

#[accelerant::trace]
impl Module for Block {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut ys = xs.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            ys = if i == 0 { conv.forward(&ys)? } else { conv.forward(&ys.relu()?)? };
        }
        let around = match &self.downsample {
            Some(downsample) => downsample.forward(xs)?,
            None => xs.clone(),
        };
        (around + ys)?.relu()
    }
}

/// A residual network.
pub struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    fc: Linear,
}

impl ResNet {
    /// The network with 18, 34, 50, 101 or 152 layers.
    pub fn new(layers: usize, classes: usize, vb: VarBuilder) -> Result<Self> {
        let (deep, counts) = match layers {
            18 => (false, [2, 2, 2, 2]),
            34 => (false, [3, 4, 6, 3]),
            50 => (true, [3, 4, 6, 3]),
            101 => (true, [3, 4, 23, 3]),
            152 => (true, [3, 8, 36, 3]),
            _ => candle_core::bail!("there is no ResNet-{layers}"),
        };
        let mut blocks = Vec::new();
        let mut inputs = 64;
        for (stage, count) in counts.into_iter().enumerate() {
            let vb = vb.pp(format!("layer{}", stage + 1));
            let width = 64 << stage;
            for i in 0..count {
                let stride = if i == 0 && stage > 0 { 2 } else { 1 };
                blocks.push(Block::new(inputs, width, stride, deep, vb.pp(i))?);
                inputs = if deep { 4 * width } else { width };
            }
        }
        let stem = ConvNorm::new([3, 64, 7, 2], vb.pp("conv1"), vb.pp("bn1"))?;
        Ok(Self { stem, blocks, fc: linear(inputs, classes, vb.pp("fc"))? })
    }
}

#[accelerant::trace]
impl Module for ResNet {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = self.stem.forward(xs)?.relu()?;
        // Nothing is below zero here, so the border may be zero as well.
        let xs = xs.pad_with_zeros(D::Minus1, 1, 1)?.pad_with_zeros(D::Minus2, 1, 1)?;
        let mut xs = xs.max_pool2d_with_stride(3, 2)?;
        for block in &self.blocks {
            xs = block.forward(&xs)?;
        }
        xs.mean((2, 3))?.apply(&self.fc)
    }
}
