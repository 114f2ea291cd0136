//! What a call costs besides the network: a network with next to nothing to compute, called in every
//! way there is.

mod shared;

use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{BackendKind, OptimizeOptions};
use criterion::{Criterion, criterion_group, criterion_main};
use shared::{module_from, module_on, rows, running, with_contexts};
use std::time::Duration;

const WIDTH: usize = 16;

fn calls(criterion: &mut Criterion) {
    for backend in running() {
        let module = module_on(backend.as_ref(), (WIDTH, 1, 8)).expect("it is compiled");
        let x = [rows(1, WIDTH)];
        let mut group = criterion.benchmark_group(format!("a call, {}", backend.kind()));
        group.bench_function("run", |b| b.iter(|| module.run(&x).expect("it runs")));
        group.bench_function("submit, wait", |b| {
            b.iter(|| module.submit(&x).and_then(|pending| pending.wait()).expect("it runs"));
        });
        let options = BatcherOptions::new().max_delay(Duration::ZERO);
        let batcher = Batcher::new(module.clone(), &options).expect("it has a batch axis");
        group.bench_function("batcher without a delay", |b| {
            b.iter(|| batcher.run(&x).expect("it runs"))
        });
        #[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
        if let Ok(cuda) = module.cuda() {
            on_device(&mut group, &cuda);
        }
        group.finish();
    }
}

#[cfg(any(feature = "tensorrt-rtx", feature = "tensorrt"))]
fn on_device(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    cuda: &accelerant::cuda::CudaModule<'_>,
) {
    use accelerant::cuda::cudarc::driver::CudaContext;
    use std::time::Instant;

    let context = CudaContext::new(cuda.ordinal()).expect("the module's device");
    let stream = context.new_stream().expect("a stream");
    let x = stream.alloc_zeros::<f32>(WIDTH).expect("an input");
    let mut y = stream.alloc_zeros::<f32>(WIDTH).expect("an output");
    // Rows of calls with one wait behind them, so that the queue of the device is never full.
    let row = |count: u64, call: &mut dyn FnMut()| {
        let mut spent = Duration::ZERO;
        for first in (0..count).step_by(100) {
            let begun = Instant::now();
            (first..count.min(first + 100)).for_each(|_| call());
            spent += begun.elapsed();
            stream.synchronize().expect("the device runs");
        }
        spent
    };
    group.bench_function("run_on, host time", |b| {
        b.iter_custom(|count| {
            row(count, &mut || {
                cuda.run_on(&stream, &[(&x, &[1, WIDTH])], &mut [&mut y]).expect("it runs");
            })
        });
    });
    group.bench_function("run_alloc, host time", |b| {
        b.iter_custom(|count| {
            row(count, &mut || {
                cuda.run_alloc(&stream, &[(&x, &[1, WIDTH])]).expect("it runs");
            })
        });
    });
}

/// Rows in turn, by as many contexts as there are sizes, and by fewer.
fn sizes(criterion: &mut Criterion) {
    let sizes = [1, 4, 8];
    let xs = sizes.map(|count| [rows(count, WIDTH)]);
    for backend in running() {
        let mut group = criterion.benchmark_group(format!("sizes in turn, {}", backend.kind()));
        let mut turns = |name: &str, contexts| {
            let registry = with_contexts(contexts);
            let module = module_from(registry, backend.as_ref(), (WIDTH, 1, 8));
            let module = module.expect("it is compiled");
            let mut turn = 0;
            group.bench_function(name, |b| {
                b.iter(|| {
                    turn = (turn + 1) % xs.len();
                    module.run(&xs[turn]).expect("it runs")
                })
            });
        };
        if matches!(backend.kind(), BackendKind::Ort | BackendKind::Tract) {
            turns("run", 1);
        } else {
            (1..=sizes.len()).for_each(|most| turns(&format!("run, up to {most} contexts"), most));
        }
        group.finish();
    }
}

/// From a graph in memory to a module, for a network with nothing to build.
fn compile(criterion: &mut Criterion) {
    let model = shared::layers(accelerant::export::Target::portable(), (WIDTH, 1, 8));
    let model = model.expect("it is a model");
    criterion.bench_function("a module from a model, tract", |b| {
        let options = OptimizeOptions::new().require(BackendKind::Tract);
        b.iter(|| accelerant::InferenceModule::compile(&model, &options).expect("it compiles"));
    });
}

criterion_group!(benches, calls, sizes, compile);
criterion_main!(benches);
