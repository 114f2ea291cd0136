//! Memory of the portable backends does not grow with runs, nor with models that are compiled, run and dropped. One test
//! in a process of its own, since what is measured is the process.
//!
//! `ACCELERANT_SOAK=4` runs four times as often: 400,000 runs and 2,000 models on each.
#![cfg(all(feature = "ort", feature = "tract", target_os = "linux"))]

mod common;

use std::sync::Arc;

use accelerant::backend::{Backend, ort::Ort, tract::Tract};
use accelerant::export::{GraphBuilder, OnnxModel};
use accelerant::{DType, Dim, HostTensor};
use common::random;

fn model() -> OnnxModel {
    let graph = GraphBuilder::new("small");
    let x = graph.input("x", DType::F32, [Dim::dynamic("n", 1..=4).unwrap(), 8.into()]).unwrap();
    let w = graph.weight("w", random(&[8, 8], 1)).unwrap();
    let index = graph.input("i", DType::I64, [Dim::dynamic("m", 1..=4).unwrap()]).unwrap();
    graph.output("y", &x.matmul(&w).unwrap().tanh().unwrap()).unwrap();
    graph.output("z", &w.gather(&index, 0).unwrap()).unwrap();
    graph.finish().unwrap()
}

fn inputs(n: usize) -> [HostTensor; 2] {
    let index = HostTensor::from_vec([n], vec![3i64; n]).unwrap();
    [HostTensor::from(random(&[n, 8], 2)), index]
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = text.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096.0
}

/// How much a repetition of `step` adds, after the first tenth of them.
fn growth(times: usize, mut step: impl FnMut(usize)) -> f64 {
    (0..times / 10).for_each(&mut step);
    let before = resident();
    (0..times).for_each(step);
    (resident() - before) / times as f64
}

#[test]
fn memory_does_not_grow() {
    let soak =
        std::env::var("ACCELERANT_SOAK").ok().and_then(|text| text.parse().ok()).unwrap_or(1usize);
    let mut backends: Vec<Arc<dyn Backend>> = vec![Arc::new(Tract)];
    match Ort.probe() {
        Ok(()) => backends.push(Arc::new(Ort)),
        Err(reason) => common::skipped("memory_does_not_grow on ONNX Runtime", reason),
    }
    let model = model();
    for backend in backends {
        let kind = backend.kind();
        let (_, executable) = backend.build_and_load(&model).unwrap();
        let sizes: Vec<_> = (1..=4).map(inputs).collect();
        let run = growth(100_000 * soak, |i| {
            executable.run(&sizes[i % 4]).unwrap();
        });
        let wrong = [sizes[1][0].clone(), HostTensor::from_vec([2], vec![99i64; 2]).unwrap()];
        std::panic::set_hook(Box::new(|_| {}));
        let failed = growth(20_000 * soak, |_| {
            executable.run(&wrong).unwrap_err();
        });
        let _ = std::panic::take_hook();
        let cycle = growth(500 * soak, |_| {
            let (_, executable) = backend.build_and_load(&model).unwrap();
            executable.run(&sizes[0]).unwrap();
        });
        eprintln!("{kind}: {run:.1} bytes a run, {failed:.1} a failed run, {cycle:.0} a model");
        assert!(run < 10.0, "{kind}: {run} bytes a run");
        assert!(failed < 50.0, "{kind}: {failed} bytes a failed run");
        assert!(cycle < 2000.0, "{kind}: {cycle} bytes a model");
    }
}
