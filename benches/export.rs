//! What export costs: capture and lowering, and serializing, beside a plain copy of the weights.

use accelerant::OptimizeOptions;
use accelerant::burn::export_onnx;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, activation::relu};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[derive(Module, Debug)]
struct Layers {
    layers: Vec<Linear>,
}

fn forward(model: &Layers, x: Tensor<2>) -> Tensor<2> {
    model.layers.iter().fold(x, |x, layer| relu(layer.forward(x)))
}

fn export(criterion: &mut Criterion) {
    let device = Device::flex();
    let layers: Vec<Linear> = (0..8).map(|_| LinearConfig::new(1024, 1024).init(&device)).collect();
    let model = Layers { layers };
    let example = Tensor::zeros([1, 1024], &device);
    let options = OptimizeOptions::new();
    let onnx = export_onnx(&model, &example, forward, &options).expect("the network exports");
    let weights = vec![1u8; onnx.to_bytes().len()];

    let mut group = criterion.benchmark_group("8 layers of 1024x1024");
    group.throughput(Throughput::Bytes(weights.len() as u64));
    group.bench_function("export", |b| b.iter(|| export_onnx(&model, &example, forward, &options)));
    group.bench_function("serialize", |b| b.iter(|| onnx.to_bytes()));
    group.bench_function("copy of the weights", |b| b.iter(|| weights.clone()));
    group.finish();
}

criterion_group!(benches, export);
criterion_main!(benches);
