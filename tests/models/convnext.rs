//! A stage of ConvNeXt (Liu et al., "A ConvNet for the 2020s", 2022): downsampling and blocks.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Gelu, LayerNorm, LayerNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
pub struct ConvNextStage {
    norm: LayerNorm,
    downsample: Conv2d,
    blocks: Vec<ConvNextBlock>,
}

#[derive(Module, Debug)]
pub struct ConvNextBlock {
    depthwise: Conv2d,
    norm: LayerNorm,
    widen: Linear,
    narrow: Linear,
    /// Weight of the branch, one a channel.
    layer_scale: Param<Tensor<1>>,
}

impl ConvNextStage {
    pub fn new(from: usize, width: usize, depth: usize, device: &Device) -> Self {
        Self {
            norm: LayerNormConfig::new(from).with_epsilon(1e-6).init(device),
            downsample: Conv2dConfig::new([from, width], [2, 2]).with_stride([2, 2]).init(device),
            blocks: (0..depth).map(|_| ConvNextBlock::new(width, device)).collect(),
        }
    }

    /// `[batch, from, height, width]` to half the height and width.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = channels_last(x);
        let x = self.downsample.forward(channels_first(self.norm.forward(x)));
        self.blocks.iter().fold(x, |x, block| block.forward(x))
    }
}

impl ConvNextBlock {
    fn new(width: usize, device: &Device) -> Self {
        let depthwise = Conv2dConfig::new([width, width], [7, 7])
            .with_padding(PaddingConfig2d::Explicit(3, 3, 3, 3))
            .with_groups(width);
        Self {
            depthwise: depthwise.init(device),
            norm: LayerNormConfig::new(width).with_epsilon(1e-6).init(device),
            widen: LinearConfig::new(width, 4 * width).init(device),
            narrow: LinearConfig::new(4 * width, width).init(device),
            layer_scale: Param::from_tensor(Tensor::ones([width], device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm.forward(channels_last(self.depthwise.forward(x.clone())));
        let y = self.narrow.forward(Gelu::new().forward(self.widen.forward(y)));
        x + channels_first(y * self.layer_scale.val().unsqueeze())
    }
}

fn channels_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

fn channels_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}
