//! A caller's time limit ends runs and compilations on the portable backends, and the module can be run again.
#![cfg(any(feature = "ort", feature = "tract"))]

mod common;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, TimeLimit};
use common::random;

/// Long enough for a run to begin, and nothing beside one.
const SOON: Duration = Duration::from_millis(30);

/// Matrix products one after the other: a short time with a row, seconds with all of them.
fn slow() -> OnnxModel {
    let graph = GraphBuilder::new("slow");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 1..=2048).unwrap(), 512.into()]);
    let mut x = x.unwrap();
    let w = graph.weight("w", random(&[512, 512], 1)).unwrap();
    for _ in 0..400 {
        x = x.matmul(&w).unwrap().tanh().unwrap();
    }
    graph.output("y", &x).unwrap();
    graph.finish().unwrap()
}

fn rows(n: usize) -> [HostTensor; 1] {
    [HostTensor::from(random(&[n, 512], 2))]
}

fn backends() -> Vec<Arc<dyn Backend>> {
    let all: Vec<Arc<dyn Backend>> = vec![
        #[cfg(feature = "tract")]
        Arc::new(accelerant::backend::tract::Tract),
        #[cfg(feature = "ort")]
        Arc::new(accelerant::backend::ort::Ort),
    ];
    let there = |backend: &Arc<dyn Backend>| match backend.probe() {
        Ok(()) => true,
        Err(reason) => {
            common::skipped(&format!("time limits on {}", backend.kind()), reason);
            false
        }
    };
    all.into_iter().filter(there).collect()
}

fn options(backend: &Arc<dyn Backend>) -> OptimizeOptions {
    OptimizeOptions::new().require(backend.kind())
}

#[test]
fn a_run_ends_with_its_limit_and_the_next_one_has_its_answer() {
    let model = slow();
    for backend in backends() {
        let kind = backend.kind();
        let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
        let short = module.run(&rows(1)).unwrap();
        let start = Instant::now();
        module.run(&rows(2048)).unwrap();
        let whole = start.elapsed();
        assert!(whole > 6 * SOON, "{kind}: {whole:?} is too fast to be stopped");

        let start = Instant::now();
        let error = module.run_within(&rows(2048), &TimeLimit::of(SOON)).unwrap_err();
        let took = start.elapsed();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{kind}: {error}");
        assert!(took < whole / 2, "{kind}: {took:?} of {whole:?}");

        let limit = TimeLimit::none();
        let start = Instant::now();
        let error = thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(SOON);
                limit.cancel();
            });
            module.run_within(&rows(2048), &limit).unwrap_err()
        });
        let took = start.elapsed();
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{kind}: {error}");
        assert!(took < whole / 2, "{kind}: {took:?} of {whole:?}");

        let enough = TimeLimit::of(Duration::from_secs(600));
        let again = module.run_within(&rows(1), &enough).unwrap();
        assert_eq!(again[0].to_vec::<f32>().unwrap(), short[0].to_vec::<f32>().unwrap(), "{kind}");
    }
}

#[test]
fn a_run_that_waits_for_another_ends_with_its_limit() {
    let model = slow();
    for backend in backends() {
        let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
        let all = TimeLimit::none();
        thread::scope(|scope| {
            scope.spawn(|| module.run_within(&rows(2048), &all).unwrap_err());
            thread::sleep(SOON);
            let error = module.run_within(&rows(2048), &TimeLimit::of(SOON)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{}: {error}", backend.kind());
            all.cancel();
        });
    }
}

#[test]
fn the_longest_run_of_a_module_holds_wherever_it_runs() {
    let model = slow();
    for backend in backends() {
        let options = options(&backend).run_timeout(SOON);
        let module = InferenceModule::compile(&model, &options).unwrap();
        let engine = InferenceModule::from_engine(module.engine().clone(), &options).unwrap();
        let batcher = Batcher::new(module.clone(), &BatcherOptions::default()).unwrap();
        let errors = [
            module.run(&rows(2048)).unwrap_err(),
            engine.run(&rows(2048)).unwrap_err(),
            module.submit(&rows(2048)).unwrap().wait().unwrap_err(),
            module.on_devices(&[0]).unwrap().run(&rows(2048)).unwrap_err(),
            batcher.run(&rows(2048)).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{}: {error}", backend.kind());
        }
    }
}

#[test]
fn a_compilation_ends_with_its_limit_and_no_other_backend_is_tried() {
    let model = slow();
    let cancelled = TimeLimit::none();
    cancelled.cancel();
    let limits = [
        (TimeLimit::of(Duration::ZERO), ErrorKind::TimedOut),
        (TimeLimit::of(Duration::from_millis(2)), ErrorKind::TimedOut),
        (cancelled, ErrorKind::Cancelled),
    ];
    for backend in backends() {
        for (limit, kind) in &limits {
            let options = options(&backend).compile_limit(limit);
            let error = InferenceModule::compile(&model, &options).unwrap_err();
            assert_eq!(error.kind(), *kind, "{}: {error}", backend.kind());
        }
        let enough = TimeLimit::of(Duration::from_secs(600));
        InferenceModule::compile(&model, &options(&backend).compile_limit(&enough)).unwrap();
    }
    let options = OptimizeOptions::new().compile_limit(&limits[0].0);
    let error = InferenceModule::compile(&model, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}
