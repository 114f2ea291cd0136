//! U-Net (Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation",
//! 2015), with padded convolutions, so that the skips need no cropping.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
pub struct UNet {
    down: Vec<DoubleConv>,
    pool: MaxPool2d,
    bottom: DoubleConv,
    up: Vec<Up>,
    head: Conv2d,
}

#[derive(Module, Debug)]
struct DoubleConv {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
}

#[derive(Module, Debug)]
struct Up {
    grow: ConvTranspose2d,
    convs: DoubleConv,
}

impl UNet {
    /// `width` channels at the top, twice as many at each of the `depth` steps down. The original
    /// has 64 and 4.
    pub fn new(width: usize, depth: usize, classes: usize, device: &Device) -> Self {
        let channels = |level: usize| width << level;
        let from = |level: usize| if level == 0 { 3 } else { channels(level - 1) };
        let down = (0..depth).map(|level| DoubleConv::new(from(level), channels(level), device));
        let up = (0..depth).rev().map(|level| Up::new(channels(level), device));
        Self {
            down: down.collect(),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            bottom: DoubleConv::new(channels(depth - 1), channels(depth), device),
            up: up.collect(),
            head: Conv2dConfig::new([width, classes], [1, 1]).init(device),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, classes, height, width]`; the sizes are multiples of
    /// 2 to the depth.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut skips = Vec::new();
        let mut x = images;
        for convs in &self.down {
            x = convs.forward(x);
            skips.push(x.clone());
            x = self.pool.forward(x);
        }
        x = self.bottom.forward(x);
        for up in &self.up {
            let skip = skips.pop().expect("as many steps up as down");
            x = up.convs.forward(Tensor::cat(vec![skip, up.grow.forward(x)], 1));
        }
        self.head.forward(x)
    }
}

impl DoubleConv {
    fn new(from: usize, to: usize, device: &Device) -> Self {
        let conv = |from| {
            Conv2dConfig::new([from, to], [3, 3])
                .with_padding(PaddingConfig2d::Same)
                .with_bias(false)
                .init(device)
        };
        let norm = || BatchNormConfig::new(to).init(device);
        Self { conv1: conv(from), norm1: norm(), conv2: conv(to), norm2: norm() }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.norm1.forward(self.conv1.forward(x)));
        relu(self.norm2.forward(self.conv2.forward(x)))
    }
}

impl Up {
    fn new(to: usize, device: &Device) -> Self {
        let grow = ConvTranspose2dConfig::new([2 * to, to], [2, 2]).with_stride([2, 2]);
        Self { grow: grow.init(device), convs: DoubleConv::new(2 * to, to, device) }
    }
}
