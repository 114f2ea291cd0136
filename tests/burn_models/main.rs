//! Whole Burn networks: static and with dynamic sizes, each against Burn's own result on the CPU,
//! through every target.
#![cfg(feature = "burn")]

#[path = "../common/mod.rs"]
mod common;
mod convolutional;
mod decoder;
mod minilm;
#[path = "../models/mod.rs"]
mod models;
mod recurrent;
#[cfg(feature = "tensorrt-rtx")]
mod threads;
mod transformers;

use std::collections::HashSet;

use accelerant::burn::{BurnGraph, BurnTensors};
use accelerant::export::{OnnxModel, Target};
use accelerant::{BackendKind, HostTensor, OptimizeOptions};
use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{Sample, Tolerance, check_within, random, to_f64};
use models::weights::randomized;

fn device() -> Device {
    Device::flex()
}

/// Pixels or features in -1..1.
fn input<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Tokens of a vocabulary.
fn tokens(shape: [usize; 2], vocabulary: usize, seed: u64) -> Tensor<2, Int> {
    let values = random(&shape, seed);
    let token = |x: &f32| ((x + 1.0) / 2.0 * vocabulary as f32) as i64 % vocabulary as i64;
    Tensor::from_data(TensorData::new(values.iter().map(token).collect(), shape), &device())
}

fn host<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

/// Relative to the largest value of the output: rounding adds up over dozens of layers.
fn tolerance(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    let scale = to_f64(expected).into_iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let part = if common::is_portable(&backend) { 1e-4 } else { 2e-2 };
    Tolerance { absolute: part * scale, relative: 0.0 }
}

/// Exports with the sizes of the first input, and compares the results for all inputs.
fn compare<M: Module, I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    module: &M,
    forward: impl Fn(&M, I) -> O,
    options: &OptimizeOptions,
    inputs: &[I],
) {
    let start = std::time::Instant::now();
    let graph = BurnGraph::capture(module, &inputs[0], &forward, options);
    let graph = graph.unwrap_or_else(|e| panic!("{name}: {e}"));
    let sample = |x: &I| {
        let expected = host(forward(module, x.clone()));
        let inputs = host(x.clone());
        let shapes: Vec<_> = inputs.iter().map(|x| format!("{:?}", x.shape())).collect();
        Sample { name: shapes.join(", "), inputs, expected }
    };
    let samples: Vec<_> = inputs.iter().map(sample).collect();
    for Sample { name: sizes, expected, .. } in &samples {
        // Values that hardly differ would agree whatever the model did.
        let values = to_f64(&expected[0]);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let spread = values.iter().map(|x| (x - mean).abs()).sum::<f64>() / values.len() as f64;
        assert!(spread > 0.01 * mean.abs() && spread > 1e-3, "{name}: {sizes}: spread {spread}");
    }
    check_within(name, |target| graph.to_onnx(target), &samples, tolerance);
    eprintln!("{name}: {:.1} s", start.elapsed().as_secs_f64());
}

/// As [`compare`], once with the sizes fixed, and once with a dynamic batch of 1 to 4.
fn compare_both<M: Module, const D: usize, O: BurnTensors>(
    name: &str,
    module: &M,
    forward: impl Fn(&M, Tensor<D>) -> O,
    shape: [usize; D],
) {
    let with = |batch: usize, seed: u64| {
        let mut shape = shape;
        shape[0] = batch;
        input(shape, seed)
    };
    compare(name, module, &forward, &OptimizeOptions::new(), &[with(shape[0], 1)]);
    let options = OptimizeOptions::new().dynamic_batch(1..=4);
    let inputs = [with(shape[0], 2), with(1, 3), with(4, 4)];
    compare(&format!("{name}, dynamic batch"), module, &forward, &options, &inputs);
}

fn export<M: Module, I: BurnTensors, O: BurnTensors>(
    module: &M,
    example: &I,
    forward: impl Fn(&M, I) -> O,
    options: &OptimizeOptions,
) -> OnnxModel {
    let graph = BurnGraph::capture(module, example, forward, options).expect("it is captured");
    graph.to_onnx(Target::tensorrt()).expect("it is exported")
}

/// How many nodes of an operator there are.
fn count(model: &OnnxModel, operator: &str) -> usize {
    let graph = model.proto().graph.as_ref().expect("a model has a graph");
    graph.node.iter().filter(|node| node.op_type() == operator).count()
}

fn initializers(model: &OnnxModel) -> HashSet<&str> {
    let graph = model.proto().graph.as_ref().expect("a model has a graph");
    graph.initializer.iter().map(|tensor| tensor.name()).collect()
}
