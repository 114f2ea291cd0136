//! A Burn project with a training loop: the network is trained as always, and one call optimizes the network.

use std::error::Error;

use accelerant::OptimizeOptions;
use accelerant::burn::OptimizeTrt;
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};

#[derive(Module, Debug)]
struct Net {
    first: Linear,
    second: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let first = LinearConfig::new(64, 128).init(device);
        let second = LinearConfig::new(128, 10).init(device);
        Self { first, second }
    }

    fn forward(&self, pixels: Tensor<2>) -> Tensor<2> {
        self.second.forward(relu(self.first.forward(pixels)))
    }
}

/// Rows of 64 pixels, and their digits.
struct Digits {
    pixels: Vec<f32>,
    labels: Vec<i64>,
}

impl Digits {
    /// The training and the test set: every fifth image is for testing.
    fn read(path: &str) -> Result<(Self, Self), Box<dyn Error>> {
        let empty = || Self { pixels: Vec::new(), labels: Vec::new() };
        let (mut training, mut test) = (empty(), empty());
        let text = std::fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
        for (row, line) in text.lines().filter(|line| !line.starts_with('#')).enumerate() {
            let set = if row % 5 == 0 { &mut test } else { &mut training };
            let values = line.split(',').map(str::parse).collect::<Result<Vec<f32>, _>>()?;
            set.pixels.extend(values[..64].iter().map(|pixel| pixel / 16.0));
            set.labels.push(values[64] as i64);
        }
        Ok((training, test))
    }

    fn tensor(&self, device: &Device) -> Tensor<2> {
        Tensor::from_data(TensorData::new(self.pixels.clone(), [self.labels.len(), 64]), device)
    }

    fn targets(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.labels.clone(), [self.labels.len()]), device)
    }
}

fn train(digits: &Digits) -> Net {
    let device = Device::flex().autodiff();
    device.seed(42);
    let mut net = Net::new(&device);
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let (pixels, targets) = (digits.tensor(&device), digits.targets(&device));
    for _ in 0..150 {
        let gradients = loss.forward(net.forward(pixels.clone()), targets.clone()).backward();
        let gradients = GradientsParams::from_grads(gradients, &net);
        net = optimizer.step(1e-2, net, gradients);
    }
    net.valid()
}

fn right(scores: Tensor<2>, digits: &Digits) -> Result<usize, Box<dyn Error>> {
    let found = scores.argmax(1).into_data().iter::<i64>().collect::<Vec<_>>();
    Ok(found.iter().zip(&digits.labels).filter(|(found, label)| found == label).count())
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: burn-digits DIGITS.csv")?;
    let (training, test) = Digits::read(&path)?;
    let net = train(&training);

    let device = Device::flex();
    let options = OptimizeOptions::new().dynamic_batch(1..=512);
    let example = Tensor::<2>::zeros([1, 64], &device);
    let fast = net.optimize_trt_with(example, Net::forward, &options)?;

    let native = right(net.forward(test.tensor(&device)), &test)?;
    let optimized = right(fast.forward(test.tensor(&device)), &test)?;
    println!("{} of {} right with Burn", native, test.labels.len());
    println!("{} of {} right on {}", optimized, test.labels.len(), fast.backend());
    if native != optimized || native * 10 < test.labels.len() * 9 {
        return Err("the two must be the same, and nine of ten right".into());
    }
    Ok(())
}
