//! A small convolutional network in Burn, and its training.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
use ndarray::Array4;

use crate::data::Digits;

#[derive(Module, Debug)]
pub struct Net {
    conv1: Conv2d,
    norm1: BatchNorm,
    conv2: Conv2d,
    norm2: BatchNorm,
    pool: MaxPool2d,
    fc1: Linear,
    fc2: Linear,
}

impl Net {
    pub fn new(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            conv1: conv([1, 16]),
            norm1: BatchNormConfig::new(16).init(device),
            conv2: conv([16, 32]),
            norm2: BatchNormConfig::new(32).init(device),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc1: LinearConfig::new(32 * 2 * 2, 64).init(device),
            fc2: LinearConfig::new(64, 10).init(device),
        }
    }

    /// Scores `[batch, 10]` of images `[batch, 1, 8, 8]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.norm1.forward(self.conv1.forward(images))));
        let x = self.pool.forward(relu(self.norm2.forward(self.conv2.forward(x))));
        let x: Tensor<2> = x.flatten(1, 3);
        self.fc2.forward(relu(self.fc1.forward(x)))
    }
}

pub fn tensor(images: &Array4<f32>, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = images.iter().copied().collect();
    Tensor::from_data(TensorData::new(values, images.shape()), device)
}

/// Trains with Adam on the CPU, and gives the network in its inference form.
pub fn train(digits: &Digits, seed: u64, epochs: usize) -> Net {
    let device = Device::flex().autodiff();
    device.seed(seed);
    let mut net = Net::new(&device);
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    for epoch in 0..epochs {
        for batch in digits.shuffled(64, seed + epoch as u64) {
            let labels: Vec<i64> = batch.labels.iter().map(|&label| i64::from(label)).collect();
            let labels =
                Tensor::<1, Int>::from_data(TensorData::new(labels, [batch.len()]), &device);
            let scores = net.forward(tensor(&batch.images, &device));
            let gradients = loss.forward(scores, labels).backward();
            let gradients = GradientsParams::from_grads(gradients, &net);
            net = optimizer.step(2e-3, net, gradients);
        }
    }
    net.valid()
}
