//! What the backend on ONNX Runtime costs beside ONNX Runtime called directly: the same library, threads and inputs, to
//! run and to load.

mod shared;

use accelerant::BackendKind;
use accelerant::HostTensor;
use accelerant::backend::Backend as _;
use accelerant::backend::ort::{Ort, environment};
use criterion::{Criterion, criterion_group, criterion_main};
use ort::session::{Session, builder::GraphOptimizationLevel};
use ort::value::TensorRef;
use shared::{layers, rows};

/// Width and depth: next to nothing to compute, and something.
const NETWORKS: [(usize, usize); 3] = [(16, 1), (256, 4), (1024, 4)];

fn session(bytes: &[u8]) -> Session {
    let environment = environment().expect("ONNX Runtime is found");
    let builder = Session::builder(environment).expect("a builder");
    let builder = builder.with_optimization_level(GraphOptimizationLevel::All).expect("a level");
    let mut builder = builder;
    builder.commit_from_memory(bytes).expect("ONNX Runtime takes the model")
}

fn compare(criterion: &mut Criterion) {
    if let Err(reason) = Ort.probe() {
        eprintln!("left out: {}: {reason}", BackendKind::Ort);
        return;
    }
    for (width, depth) in NETWORKS {
        let model = layers(Ort.target(), (width, depth, 8)).expect("it is a model");
        let bytes = model.to_bytes();
        let x = [rows(8, width)];
        let values: Vec<f32> = x[0].to_vec().expect("32-bit floats");
        let mut direct = session(&bytes);
        let (_, executable) = Ort.build_and_load(&model).expect("it is built");

        let mut group = criterion.benchmark_group(format!("{depth} layers of {width}, run"));
        group.bench_function("directly", |b| {
            b.iter(|| {
                let input = TensorRef::from_array_view(([8, width], &*values)).expect("a tensor");
                let outputs = direct.run(ort::inputs!["x" => input]).expect("it runs");
                let (_, y) = outputs["y"].try_extract_tensor::<f32>().expect("32-bit floats");
                HostTensor::from_vec([8, width], y.to_vec()).expect("as many")
            })
        });
        group.bench_function("accelerant", |b| b.iter(|| executable.run(&x).expect("it runs")));
        group.finish();

        let mut group = criterion.benchmark_group(format!("{depth} layers of {width}, load"));
        group.bench_function("directly", |b| b.iter(|| session(&bytes)));
        let engine = Ort.build(&model).expect("it is built");
        group.bench_function("accelerant", |b| b.iter(|| Ort.load(&engine).expect("it is loaded")));
        group.finish();
    }
}

criterion_group!(benches, compare);
criterion_main!(benches);
