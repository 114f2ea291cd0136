//! ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022). Pictures `[batch, 3, height, width]` in,
//! class scores `[batch, classes]` out.

use candle_core::{Module, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Linear, VarBuilder, conv2d, layer_norm, linear};

/// Normalization of the channels of pictures.
struct ChannelNorm(LayerNorm);

#[accelerant::trace]
impl Module for ChannelNorm {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        xs.permute((0, 2, 3, 1))?.apply(&self.0)?.permute((0, 3, 1, 2))
    }
}

struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    gamma: Tensor,
}

impl Block {
    fn new(width: usize, vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { groups: width, padding: 3, ..Default::default() };
        let mlp = vb.pp("mlp");
        Ok(Self {
            depthwise: conv2d(width, width, 7, config, vb.pp("conv_dw"))?,
            norm: layer_norm(width, 1e-6, vb.pp("norm"))?,
            fc1: linear(width, 4 * width, mlp.pp("fc1"))?,
            fc2: linear(4 * width, width, mlp.pp("fc2"))?,
            gamma: vb.get(width, "gamma")?,
        })
    }
}

#[accelerant::trace]
impl Module for Block {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let ys = xs.apply(&self.depthwise)?.permute((0, 2, 3, 1))?.apply(&self.norm)?;
        let ys = ys.apply(&self.fc1)?.gelu_erf()?.apply(&self.fc2)?;
        ys.broadcast_mul(&self.gamma)?.permute((0, 3, 1, 2))? + xs
    }
}

struct Stage {
    downsample: Option<(ChannelNorm, Conv2d)>,
    blocks: Vec<Block>,
}

#[accelerant::trace]
impl Module for Stage {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = xs.clone();
        if let Some((norm, conv)) = &self.downsample {
            xs = xs.apply(norm)?.apply(conv)?;
        }
        for block in &self.blocks {
            xs = block.forward(&xs)?;
        }
        Ok(xs)
    }
}

/// A ConvNeXt.
pub struct ConvNext {
    stem: Conv2d,
    stem_norm: ChannelNorm,
    stages: Vec<Stage>,
    norm: LayerNorm,
    fc: Linear,
}

impl ConvNext {
    /// A network with `blocks` and `channels` in its four stages; tiny is `[3, 3, 9, 3]` and
    /// `[96, 192, 384, 768]`.
    pub fn new(
        blocks: [usize; 4],
        channels: [usize; 4],
        classes: usize,
        vb: VarBuilder,
    ) -> Result<Self> {
        let patches = |size| Conv2dConfig { stride: size, ..Default::default() };
        let mut stages = Vec::new();
        for stage in 0..4 {
            let (vb, width) = (vb.pp("stages").pp(stage), channels[stage]);
            let downsample = match stage {
                0 => None,
                _ => {
                    let (before, vb) = (channels[stage - 1], vb.pp("downsample"));
                    let norm = ChannelNorm(layer_norm(before, 1e-6, vb.pp(0))?);
                    Some((norm, conv2d(before, width, 2, patches(2), vb.pp(1))?))
                }
            };
            let block = |i| Block::new(width, vb.pp("blocks").pp(i));
            let blocks = (0..blocks[stage]).map(block).collect::<Result<_>>()?;
            stages.push(Stage { downsample, blocks });
        }
        let (stem, head) = (vb.pp("stem"), vb.pp("head"));
        Ok(Self {
            stem: conv2d(3, channels[0], 4, patches(4), stem.pp(0))?,
            stem_norm: ChannelNorm(layer_norm(channels[0], 1e-6, stem.pp(1))?),
            stages,
            norm: layer_norm(channels[3], 1e-6, head.pp("norm"))?,
            fc: linear(channels[3], classes, head.pp("fc"))?,
        })
    }
}

#[accelerant::trace]
impl Module for ConvNext {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = xs.apply(&self.stem)?.apply(&self.stem_norm)?;
        for stage in &self.stages {
            xs = stage.forward(&xs)?;
        }
        xs.mean((2, 3))?.apply(&self.norm)?.apply(&self.fc)
    }
}
