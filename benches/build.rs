//! From an ONNX model to an engine, by each backend that can build here. TensorRT-RTX needs no GPU for it.

#[path = "../tests/models/mod.rs"]
mod models;

use accelerant::OptimizeOptions;
use accelerant::Registry;
use accelerant::burn::BurnGraph;
use burn::tensor::{Device, Int, Tensor};
use criterion::{Criterion, criterion_group, criterion_main};
use models::bert::{BASE, Bert};
use models::resnet::ResNet;

fn build(criterion: &mut Criterion, name: &str, graph: &BurnGraph) {
    let mut group = criterion.benchmark_group(format!("an engine of {name}"));
    group.sample_size(10);
    for backend in Registry::default().backends() {
        let model = graph.to_onnx(backend.target()).expect("it is exported");
        match backend.build(&model) {
            Ok(engine) => println!("{}: {} bytes", backend.description(), engine.plan().len()),
            Err(reason) => {
                eprintln!("left out: {}: {reason}", backend.kind());
                continue;
            }
        }
        group.bench_function(backend.kind().to_string(), |b| {
            b.iter(|| backend.build(&model).expect("it is built"))
        });
    }
    group.finish();
}

fn networks(criterion: &mut Criterion) {
    let (device, options) = (Device::flex(), OptimizeOptions::new());
    let resnet = ResNet::new_50(1000, &device);
    let image = Tensor::<4>::zeros([1, 3, 224, 224], &device);
    let graph = BurnGraph::capture(&resnet, &image, |m: &ResNet, x| m.forward(x), &options);
    build(criterion, "ResNet-50", &graph.expect("it is captured"));
    let bert = Bert::new(BASE, &device);
    let text = Tensor::<2, Int>::zeros([1, 128], &device);
    let forward =
        |m: &Bert, (tokens, mask): (Tensor<2, Int>, Tensor<2, Int>)| m.forward(tokens, mask);
    let graph = BurnGraph::capture(&bert, &(text.clone(), text), forward, &options);
    build(criterion, "BERT-base", &graph.expect("it is captured"));
}

criterion_group!(benches, networks);
criterion_main!(benches);
