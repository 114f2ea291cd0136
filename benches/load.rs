//! From the bytes of an engine to a module, on each backend that runs here; and reading an engine file.

mod shared;

use accelerant::{Engine, InferenceModule, OptimizeOptions};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use shared::{module_on, running};

/// Weights of 100 MB.
const SIZES: (usize, usize, usize) = (2048, 6, 8);

fn engines(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for backend in running() {
        let module = module_on(backend.as_ref(), SIZES).expect("it is compiled");
        let (engine, path) = (module.engine().clone(), folder.path().join("layers.engine"));
        engine.save(&path).expect("it is saved");
        let options = OptimizeOptions::new();
        let mut group = criterion.benchmark_group(format!("a module, {}", backend.kind()));
        group.sample_size(10).throughput(Throughput::Bytes(engine.plan().len() as u64));
        group.bench_function("of an engine in memory", |b| {
            b.iter_with_large_drop(|| {
                InferenceModule::from_engine(engine.clone(), &options).expect("it loads")
            });
        });
        group.bench_function("of an engine file", |b| {
            b.iter_with_large_drop(|| InferenceModule::open(&path, &options).expect("it loads"));
        });
        group.bench_function("an engine file is read and verified", |b| {
            b.iter_with_large_drop(|| Engine::open(&path).expect("it is whole"));
        });
        group.finish();
    }
}

criterion_group!(benches, engines);
criterion_main!(benches);
