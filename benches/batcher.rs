//! Single rows of many callers: each run for itself, and gathered into batches.

mod shared;

use std::thread;
use std::time::{Duration, Instant};

use accelerant::HostTensor;
use accelerant::backend::Executable;
use accelerant::serving::{Batcher, BatcherOptions};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shared::{module_from, rows, running, with_contexts};

/// Weights of 25 MB, so that a single row is bound by reading them.
const SIZES: (usize, usize, usize) = (1024, 6, 64);

/// What batches are filled up to.
const BATCH_SIZES: [usize; 4] = [1, 8, 32, 64];

/// So many callers, each waiting for its result before it asks again.
fn serve(executable: &dyn Executable, x: &[HostTensor], callers: u64, count: u64) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for caller in 0..callers {
            let own = count / callers + u64::from(caller < count % callers);
            scope.spawn(move || {
                for _ in 0..own {
                    executable.run(x).expect("it runs");
                }
            });
        }
    });
    begun.elapsed()
}

/// Kernels for every size of a batch, in every context, before the clock runs.
fn warm(executable: &dyn Executable) {
    for rows_of_batch in BATCH_SIZES {
        let x = [rows(rows_of_batch, SIZES.0)];
        serve(executable, &x, executable.concurrency() as u64, 100);
    }
}

fn requests(criterion: &mut Criterion) {
    for backend in running() {
        // One for each size and more: where executions are graphs, a context that changes its size captures anew.
        let registry = with_contexts(2 * BATCH_SIZES.len());
        let module = module_from(registry, backend.as_ref(), SIZES).expect("it is compiled");
        warm(&module);
        let options = BatcherOptions::new().max_delay(Duration::from_micros(200));
        let options = options.batch_sizes(BATCH_SIZES);
        let batcher = Batcher::new(module.clone(), &options).expect("it has a batch axis");
        let x = [rows(1, SIZES.0)];
        let mut group =
            criterion.benchmark_group(format!("requests of one row, {}", backend.kind()));
        group.throughput(Throughput::Elements(1)).sample_size(20);
        group.measurement_time(Duration::from_secs(3));
        for callers in [1, 8, 64] {
            group.bench_function(BenchmarkId::new("each for itself", callers), |b| {
                b.iter_custom(|count| serve(&module, &x, callers, count));
            });
            let before = batcher.counters();
            group.bench_function(BenchmarkId::new("batcher", callers), |b| {
                b.iter_custom(|count| serve(&batcher, &x, callers, count));
            });
            let after = batcher.counters();
            let mean = (after.rows - before.rows) as f64 / (after.batches - before.batches) as f64;
            println!("{callers} callers: {mean:.1} rows a batch");
        }
        group.finish();
    }
}

criterion_group!(benches, requests);
criterion_main!(benches);
