//! ResNet (He et al., "Deep Residual Learning for Image Recognition", 2015), with the stride of a
//! bottleneck in its 3x3 convolution, as torchvision has it.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    pool: MaxPool2d,
    layers: Vec<Vec<Block>>,
    average: AdaptiveAvgPool2d,
    fc: Linear,
}

#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

/// Convolutions with a rectifier between any two, and a way around them.
#[derive(Module, Debug)]
struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl ResNet {
    /// 11.7 million parameters.
    pub fn new_18(classes: usize, device: &Device) -> Self {
        let block = |from, width, stride, device: &Device| {
            let convs = vec![
                ConvNorm::new(from, width, 3, stride, device),
                ConvNorm::new(width, width, 3, 1, device),
            ];
            Block::new(convs, from, width, stride, device)
        };
        Self::new([2, 2, 2, 2], 1, block, classes, device)
    }

    /// 25.6 million parameters.
    pub fn new_50(classes: usize, device: &Device) -> Self {
        let block = |from, width, stride, device: &Device| {
            let convs = vec![
                ConvNorm::new(from, width, 1, 1, device),
                ConvNorm::new(width, width, 3, stride, device),
                ConvNorm::new(width, 4 * width, 1, 1, device),
            ];
            Block::new(convs, from, 4 * width, stride, device)
        };
        Self::new([3, 4, 6, 3], 4, block, classes, device)
    }

    fn new(
        depths: [usize; 4],
        expansion: usize,
        block: impl Fn(usize, usize, usize, &Device) -> Block,
        classes: usize,
        device: &Device,
    ) -> Self {
        let mut from = 64;
        let mut layers = Vec::new();
        for (i, depth) in depths.into_iter().enumerate() {
            let width = 64 << i;
            let mut layer = Vec::new();
            for j in 0..depth {
                let stride = if i > 0 && j == 0 { 2 } else { 1 };
                layer.push(block(from, width, stride, device));
                from = width * expansion;
            }
            layers.push(layer);
        }
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        Self {
            stem: ConvNorm::new(3, 64, 7, 2, device),
            pool: pool.init(),
            layers,
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            fc: LinearConfig::new(from, classes).init(device),
        }
    }

    /// `[batch, 3, height, width]` to `[batch, classes]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.stem.forward(images)));
        let x = self.layers.iter().flatten().fold(x, |x, block| block.forward(x));
        self.fc.forward(self.average.forward(x).flatten(1, 3))
    }
}

impl ConvNorm {
    fn new(from: usize, to: usize, kernel: usize, stride: usize, device: &Device) -> Self {
        let half = kernel / 2;
        let conv = Conv2dConfig::new([from, to], [kernel, kernel])
            .with_stride([stride, stride])
            .with_padding(PaddingConfig2d::Explicit(half, half, half, half))
            .with_bias(false);
        Self { conv: conv.init(device), norm: BatchNormConfig::new(to).init(device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

impl Block {
    fn new(convs: Vec<ConvNorm>, from: usize, to: usize, stride: usize, device: &Device) -> Self {
        let downsample =
            (stride > 1 || from != to).then(|| ConvNorm::new(from, to, 1, stride, device));
        Self { convs, downsample }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = x.clone();
        for (i, conv) in self.convs.iter().enumerate() {
            y = conv.forward(if i > 0 { relu(y) } else { y });
        }
        // After the others, as torchvision has it: TensorRT-RTX 1.6 adds faster in this one.
        let around = match &self.downsample {
            Some(downsample) => downsample.forward(x),
            None => x,
        };
        relu(y + around)
    }
}
