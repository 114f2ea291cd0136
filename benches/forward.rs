//! What a forward pass costs natively and accelerated, on host tensors, result read back. The
//! backend is the one this machine has; its name is part of each benchmark's.

use accelerant::OptimizeOptions;
use accelerant::burn::OptimizeTrt as _;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Distribution, Tensor, activation::relu};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

#[derive(Module, Debug)]
struct Net {
    conv1: Conv2d,
    conv2: Conv2d,
    pool: MaxPool2d,
    fc: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3]).with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            conv1: conv([3, 32]),
            conv2: conv([32, 64]),
            pool: MaxPool2dConfig::new([2, 2]).init(),
            fc: LinearConfig::new(64 * 8 * 8, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.conv1.forward(images)));
        let x = self.pool.forward(relu(self.conv2.forward(x)));
        self.fc.forward(x.flatten(1, 3))
    }
}

fn burn(criterion: &mut Criterion) {
    let device = Device::flex();
    let net = Net::new(&device);
    let images = |batch| Tensor::<4>::random([batch, 3, 32, 32], Distribution::Default, &device);
    let options = OptimizeOptions::new().dynamic_batch(1..=32);
    let fast =
        net.optimize_trt_with(images(1), Net::forward, &options).expect("the network exports");
    let mut group = criterion.benchmark_group("burn convolutional network, 32x32");
    for batch in [1, 8, 32] {
        let x = images(batch);
        group.bench_with_input(BenchmarkId::new("native", batch), &x, |b, x| {
            b.iter(|| net.forward(x.clone()).into_data());
        });
        group.bench_with_input(
            BenchmarkId::new(fast.inference().backend().to_string(), batch),
            &x,
            |b, x| {
                b.iter(|| fast.forward(x.clone()).into_data());
            },
        );
    }
    group.finish();
}

criterion_group!(benches, burn);
criterion_main!(benches);
