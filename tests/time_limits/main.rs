//! A caller's time limit ends runs and compilations on the portable backends, and the module can be run again.
#![cfg(any(feature = "ort", feature = "tract"))]

#[path = "../common/mod.rs"]
mod common;
mod heavy;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use accelerant::backend::Backend;
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{DType, Dim, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, TimeLimit};
use common::random;

/// Long enough for a run to begin, and nothing beside one.
const SOON: Duration = Duration::from_millis(30);

/// An error comes at most so long after the limit is over, on a machine that does other work too.
const SOON_AFTER: Duration = Duration::from_millis(100);

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
    common::portable_backends("time limits")
}

/// Each test has the processors alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options(backend: &Arc<dyn Backend>) -> OptimizeOptions {
    OptimizeOptions::new().require(backend.kind())
}

#[test]
fn a_run_ends_with_its_limit_and_the_next_one_has_its_answer() {
    let _alone = alone();
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
    let _alone = alone();
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
    let _alone = alone();
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
    let _alone = alone();
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

#[test]
fn work_that_cannot_be_stopped_does_not_keep_the_caller() {
    let _alone = alone();
    for backend in backends() {
        for (name, model, inputs) in heavy::all(&backend.kind()) {
            let kind = backend.kind();
            let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
            let expected = module.run(&inputs).unwrap();
            let start = Instant::now();
            module.run(&inputs).unwrap();
            let whole = start.elapsed();
            let time = whole / 8;
            // The caller waits this long for what was told to stop.
            let ends_in_time = time + Duration::from_millis(20) > whole / 2;
            assert!(!ends_in_time, "{kind}, {name}: {whole:?} is too fast to be stopped");
            // Of three, since other work of the machine may keep the caller from running.
            let mut tries = (0..3).map(|_| {
                let start = Instant::now();
                let error = module.run_within(&inputs, &TimeLimit::of(time)).unwrap_err();
                (start.elapsed(), error)
            });
            let (took, error) = tries.find(|(took, _)| *took < time + SOON_AFTER).unwrap();
            println!("{kind}, {name}: whole {whole:?}, limit {time:?}, took {took:?}: {error}");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{kind}, {name}: {error}");
            // Whether that one still goes on is told, and the next one has its answer all the same.
            let text = error.to_string();
            let goes_on = text.contains("still goes on") || text.contains("outlived");
            let overdue = module.overdue_runs();
            assert!(overdue == 0 || goes_on, "{kind}, {name}: {error}");
            let cancelled = TimeLimit::none();
            cancelled.cancel();
            let refused = module.run_within(&inputs, &cancelled).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Cancelled, "{kind}, {name}: {refused}");
            let enough = TimeLimit::of(Duration::from_secs(600));
            let next = module.run_within(&inputs, &enough).unwrap();
            assert_eq!(next[0].bytes(), expected[0].bytes(), "{kind}, {name}");
            let start = Instant::now();
            while module.overdue_runs() > 0 {
                assert!(start.elapsed() < Duration::from_secs(600), "{kind}, {name}: no end");
                thread::sleep(SOON);
            }
        }
    }
}

#[test]
fn a_module_may_go_while_a_run_goes_on_that_outlived_its_limit() {
    let _alone = alone();
    for backend in backends() {
        for (name, model, inputs) in heavy::all(&backend.kind()) {
            let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
            let error = module.run_within(&inputs, &TimeLimit::of(SOON)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{name}: {error}");
            drop((module, inputs));
        }
    }
}

#[test]
fn as_many_runs_as_there_are_processors_may_outlive_their_limits() {
    let _alone = alone();
    for backend in backends() {
        let kind = backend.kind();
        let Some((name, model, inputs)) = heavy::all(&kind).into_iter().next() else { continue };
        let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
        let most = thread::available_parallelism().unwrap().get();
        for _ in 0..2 * most + 2 {
            let start = Instant::now();
            let error = module.run_within(&inputs, &TimeLimit::of(SOON)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{kind}, {name}: {error}");
            assert!(
                start.elapsed() < SOON + 10 * SOON_AFTER,
                "{kind}, {name}: {:?}",
                start.elapsed()
            );
            assert!(module.overdue_runs() <= most, "{kind}, {name}");
        }
        // One without a limit waits its turn, or runs beside them.
        module.run(&inputs).unwrap();
    }
}

#[test]
fn a_compilation_that_cannot_be_stopped_does_not_keep_the_caller() {
    let _alone = alone();
    let model = heavy::constant();
    for backend in backends() {
        let kind = backend.kind();
        let start = Instant::now();
        let whole = InferenceModule::compile(&model, &options(&backend)).unwrap();
        let took = start.elapsed();
        whole.run(&[HostTensor::scalar(1.0f32)]).unwrap();
        let limit = TimeLimit::of(took / 4);
        let options = options(&backend).compile_limit(&limit);
        let start = Instant::now();
        let error = InferenceModule::compile(&model, &options).unwrap_err();
        let late = start.elapsed();
        println!("{kind}: whole {took:?}, limit {:?}, took {late:?}: {error}", took / 4);
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{kind}: {error}");
        assert!(late < took / 4 + 2 * SOON_AFTER, "{kind}: {late:?} of {took:?}");
    }
}

/// In which process the test ends the process.
const ENDS: &str = "ACCELERANT_TEST_ENDS";

#[test]
fn a_process_may_end_while_a_run_goes_on_that_outlived_its_limit() {
    let _alone = alone();
    for backend in backends() {
        let kind = backend.kind();
        if let Ok(name) = std::env::var(ENDS) {
            if name != kind.name() {
                continue;
            }
            let (_, model, inputs) = heavy::all(&kind).swap_remove(0);
            let module = InferenceModule::compile(&model, &options(&backend)).unwrap();
            module.run_within(&inputs, &TimeLimit::of(SOON)).unwrap_err();
            assert!(module.overdue_runs() <= 1);
            std::process::exit(7);
        }
        for _ in 0..5 {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap());
            child
                .args(["--exact", "a_process_may_end_while_a_run_goes_on_that_outlived_its_limit"]);
            let ended = child.env(ENDS, kind.name()).output().unwrap();
            let text = String::from_utf8_lossy(&ended.stdout);
            assert_eq!(ended.status.code(), Some(7), "{kind}: {:?} {text}", ended.status);
        }
    }
}
