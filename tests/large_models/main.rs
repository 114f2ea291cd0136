//! Host memory between a model and its engine, for models of many weights. Each case runs in a process of its own, since
//! what is measured is the process.
//!
//! `cargo test --release --test large_models -- --ignored --nocapture` takes models of 3 GB, beyond what a protobuf holds.
#![cfg(all(feature = "candle", target_os = "linux"))]

#[path = "../common/mod.rs"]
mod common;
mod models;
mod process;

use process::{Case, From, To, measure};

/// 288 MiB of weights. Each has more than 32 MiB, which glibc always takes from the system: smaller ones that were freed
/// before would count too.
const SMALL: [usize; 2] = [3072, 8];
/// 3 GiB.
const LARGE: [usize; 2] = [8192, 12];

/// The most host memory at a time, in weights, for a case of the small model: the weights, a copy of those that Candle may
/// change, and what both libraries take besides, which is a little more than twice the weights.
fn bound(from: From) -> f64 {
    match from {
        From::File => 3.5,
        From::Candle => 4.5,
    }
}

fn all(size: [usize; 2], check: impl Fn(From, To, f64)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    models::write(size, &path);
    for to in [To::Plan, To::StreamedPlan, To::OnnxRuntime] {
        for from in [From::File, From::Candle] {
            let case = Case { from, to, size, path: path.clone() };
            let Some(measured) = measure(&case) else { continue };
            println!("{from:?} to {to:?}: {measured}");
            check(from, to, measured.whole());
        }
    }
}

#[test]
fn a_model_is_not_copied_again_and_again() {
    all(SMALL, |from, to, most| {
        assert!(most < bound(from), "{from:?} to {to:?}: {most:.2} times the weights");
    });
}

#[test]
#[ignore = "takes minutes and 16 GB of memory"]
fn of_three_gigabytes() {
    all(LARGE, |_, _, _| {});
}
