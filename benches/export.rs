//! What exporting whole Burn networks costs, in time and memory, beside writing their weights to a
//! file. Fails where it costs more than is stated here.

#[path = "export/measure.rs"]
mod measure;
#[path = "../tests/models/mod.rs"]
mod models;

use std::hint::black_box;

use accelerant::OptimizeOptions;
use accelerant::burn::{BurnTensors, export_onnx};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use measure::{median, peak, write_bytes, write_parameters};
use models::bert::{BASE, Bert};
use models::resnet::ResNet;

/// Export and serialization may take this many times as long as the weights take to be written.
const MOST_TIME: f64 = 2.0;
/// They may allocate this many times the size of the weights.
const MOST_MEMORY: f64 = 1.2;

fn network<M: Module, I: BurnTensors, O: BurnTensors>(
    criterion: &mut Criterion,
    name: &str,
    module: &M,
    example: &I,
    forward: impl Fn(&M, I) -> O,
) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (onnx_path, weights_path) = (folder.path().join("m.onnx"), folder.path().join("weights"));
    let options = OptimizeOptions::new();
    let export = || export_onnx(module, example, &forward, &options).expect("it is exported");
    let onnx = export();
    let weights = || onnx.proto().graph.iter().flat_map(|graph| &graph.initializer);
    let size: usize = weights().map(|t| t.raw_data().len()).sum();

    let (memory, ()) = peak(|| export().save(&onnx_path).expect("it is saved"));
    let (exported, _) = peak(export);
    let baseline = median(|| write_parameters(module, &weights_path));
    let stored = median(|| write_bytes(weights().map(|t| t.raw_data()), &weights_path));
    let alone = median(|| drop(black_box(export())));
    let saved = median(|| onnx.save(&onnx_path).expect("it is saved"));
    let whole = median(|| export().save(&onnx_path).expect("it is saved"));
    let time = whole.as_secs_f64() / baseline.as_secs_f64();
    let extra = memory as f64 / size as f64;
    println!(
        "{name}: weights {:.1} MB, written in {:.0} ms ({:.0} ms from memory); export {:.0} ms, save {:.0} ms, \
         both {:.0} ms ({time:.2} times), \
         {:.1} MB allocated at most ({extra:.2} times the weights; {:.2} times by the export alone)",
        size as f64 / 1e6,
        baseline.as_secs_f64() * 1e3,
        stored.as_secs_f64() * 1e3,
        alone.as_secs_f64() * 1e3,
        saved.as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3,
        memory as f64 / 1e6,
        exported as f64 / size as f64,
    );
    assert!(time <= MOST_TIME, "{name}: {time:.2} times as long as writing the weights");
    assert!(extra <= MOST_MEMORY, "{name}: {extra:.2} times the weights are allocated");

    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).throughput(Throughput::Bytes(size as u64));
    group.bench_function("export", |b| b.iter(|| black_box(export())));
    group.bench_function("save", |b| b.iter(|| onnx.save(&onnx_path)));
    group.bench_function("to bytes", |b| b.iter(|| black_box(onnx.to_bytes())));
    group.bench_function("write the parameters", |b| {
        b.iter(|| write_parameters(module, &weights_path))
    });
    group.finish();
}

fn networks(criterion: &mut Criterion) {
    let device = Device::flex();
    let resnet = ResNet::new_50(1000, &device);
    let image = Tensor::<4>::zeros([1, 3, 224, 224], &device);
    network(criterion, "ResNet-50", &resnet, &image, |m, x| m.forward(x));
    let bert = Bert::new(BASE, &device);
    let text = Tensor::<2, Int>::zeros([1, 128], &device);
    let forward =
        |m: &Bert, (tokens, mask): (Tensor<2, Int>, Tensor<2, Int>)| m.forward(tokens, mask);
    network(criterion, "BERT-base", &bert, &(text.clone(), text), forward);
}

criterion_group!(benches, networks);
criterion_main!(benches);
