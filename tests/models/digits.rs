//! The network of `examples/digits`.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation::relu};

/// Two convolutions and two layers, without a normalization: digits `[batch, 1, 8, 8]` to scores `[batch, 10]`.
#[derive(Module, Debug)]
pub struct Digits {
    convs: [Conv2d; 2],
    pool: MaxPool2d,
    layers: [Linear; 2],
}

impl Digits {
    pub fn new(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            convs: [conv([1, 16]), conv([16, 32])],
            pool: MaxPool2dConfig::new([2, 2]).init(),
            layers: [
                LinearConfig::new(128, 64).init(device),
                LinearConfig::new(64, 10).init(device),
            ],
        }
    }

    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.convs[0].forward(images)));
        let x = self.pool.forward(relu(self.convs[1].forward(x)));
        self.layers[1].forward(relu(self.layers[0].forward(x.flatten(1, 3))))
    }
}
