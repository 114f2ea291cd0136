//! What a forward pass of a Candle network costs natively and accelerated, on tensors of the CPU. The
//! backend is the one this machine has; its name is part of each benchmark's. CUDA tensors are measured in
//! `benches/cuda`.

#[path = "../examples/candle_models/mod.rs"]
mod candle_models;

use accelerant::OptimizeOptions;
use accelerant::candle::OptimizeTrt as _;
use candle_core::{DType, Device, Module, Result, Tensor};
use candle_models::resnet::ResNet;
use candle_nn::{VarBuilder, VarMap};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

fn candle(criterion: &mut Criterion) {
    run(criterion).unwrap_or_else(|error| panic!("{error}"));
}

fn run(criterion: &mut Criterion) -> Result<()> {
    let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
    let net = ResNet::new(18, 1000, vb)?;
    let images = |batch| Tensor::rand(0f32, 1.0, (batch, 3, 64, 64), &Device::Cpu);
    let options = OptimizeOptions::new().dynamic_batch(1..=8);
    let fast = net.optimize_trt_with(&images(1)?, &options).expect("the network exports");
    let mut group = criterion.benchmark_group("candle ResNet-18, 64x64");
    group.sample_size(20);
    for batch in [1, 8] {
        let x = images(batch)?;
        group.bench_with_input(BenchmarkId::new("native", batch), &x, |b, x| {
            b.iter(|| net.forward(x).expect("it runs"));
        });
        let backend = fast.backend().to_string();
        group.bench_with_input(BenchmarkId::new(backend, batch), &x, |b, x| {
            b.iter(|| fast.forward(x).expect("it runs"));
        });
    }
    group.finish();
    Ok(())
}

criterion_group!(benches, candle);
criterion_main!(benches);
