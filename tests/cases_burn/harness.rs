//! One forward pass through every target, static and with a dynamic batch, against Burn's own
//! result on the CPU. No cases here.

#![allow(dead_code, unreachable_pub, unused_imports)]

use std::sync::Mutex;

pub use accelerant::OptimizeOptions;
pub use accelerant::burn::{BurnGraph, BurnTensors};
pub use burn::module::Module;
pub use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

use accelerant::{ErrorKind, HostTensor};

pub use crate::common::Runner::{OnnxRuntime, TensorRtRtx, Tract};
pub use crate::common::{Gap, Sample, check, check_all, random};
use crate::common::{Outcome, check_with_gaps, tolerance};
use crate::records;

pub fn device() -> Device {
    Device::flex()
}

/// Values in -1..1.
pub fn input<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    Tensor::from_data(TensorData::new(values, shape), &device())
}

/// Integers in `low..high`.
pub fn ints<const D: usize>(shape: [usize; D], low: i64, high: i64, seed: u64) -> Tensor<D, Int> {
    let width = (high - low) as f32;
    let values = random(&shape, seed).into_raw_vec_and_offset().0;
    let whole = |v: f32| low + (((v + 1.0) / 2.0 * width) as i64).min(high - low - 1);
    let values: Vec<i64> = values.into_iter().map(whole).collect();
    Tensor::from_data(TensorData::new(values, shape), (&device(), burn::tensor::DType::I64))
}

pub fn host<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    let mut out = Vec::new();
    tensors.into_host(&mut out).expect("CPU tensors can be read");
    out
}

/// What Burn makes of it.
pub fn expected<T: BurnTensors>(tensors: T) -> Vec<HostTensor> {
    host(tensors)
}

/// A module without parameters, for cases that are functions.
#[derive(Module, Debug, Default)]
pub struct Nothing {
    #[module(skip)]
    nothing: (),
}

/// How a case is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub sizes: Sizes,
    pub gaps: &'static [Gap],
}

/// Which axes 0 are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sizes {
    /// As in the example, and as a symbol.
    #[default]
    Both,
    /// As in the example only.
    Static,
    /// As a symbol only.
    Dynamic,
}

pub const BOTH: How = How { sizes: Sizes::Both, gaps: &[] };
pub const STATIC: How = How { sizes: Sizes::Static, gaps: &[] };
pub const DYNAMIC: How = How { sizes: Sizes::Dynamic, gaps: &[] };

impl How {
    pub const fn except(self, gaps: &'static [Gap]) -> Self {
        Self { gaps, ..self }
    }
}

/// The batch of the examples, and those that a dynamic case runs with.
const BATCH: usize = 3;
const BATCHES: [usize; 3] = [1, BATCH, 5];

/// Runs a case: `inputs` makes the inputs from a batch size and a seed.
pub fn run<M: Module, I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    how: How,
    module: &M,
    inputs: impl Fn(usize, u64) -> I,
    forward: impl Fn(&M, I) -> O,
) {
    run_with(name, how, OptimizeOptions::new, module, inputs, forward);
}

/// As [`run`], with options to which a dynamic batch is added.
pub fn run_with<M: Module, I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    how: How,
    options: impl Fn() -> OptimizeOptions,
    module: &M,
    inputs: impl Fn(usize, u64) -> I,
    forward: impl Fn(&M, I) -> O,
) {
    let run = |label: &str, options: &OptimizeOptions, batches: &[usize]| {
        let name = format!("{name}, {label}");
        let graph = BurnGraph::capture(module, &inputs(BATCH, 1), &forward, options);
        let graph = graph.unwrap_or_else(|e| panic!("{name}: {e}"));
        let sample = |&batch: &usize| {
            let x = inputs(batch, 7 + batch as u64);
            let expected = expected(forward(module, x.clone()));
            Sample { name: format!("batch {batch}"), inputs: host(x), expected }
        };
        let samples: Vec<_> = batches.iter().map(sample).collect();
        let outcomes = check_with_gaps(&name, |c| graph.to_onnx(c), &samples, how.gaps, tolerance);
        record(&name, &graph, &outcomes);
    };
    if how.sizes != Sizes::Dynamic {
        run("static", &options(), &[BATCH]);
    }
    if how.sizes != Sizes::Static {
        let options = options().dynamic_batch(1..=5);
        run("dynamic", &options, &BATCHES);
    }
}

fn record(name: &str, graph: &BurnGraph, outcomes: &[Outcome]) {
    static LOCK: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOCK.lock();
    for (runner, gap) in outcomes {
        records::passed(name, graph, *runner, *gap);
    }
}

/// A layer on a random tensor; its first size is the batch.
pub fn case<M: Module, const D: usize, O: BurnTensors>(
    name: &str,
    module: &M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> O,
) {
    case_with(name, BOTH, module, shape, forward);
}

pub fn case_with<M: Module, const D: usize, O: BurnTensors>(
    name: &str,
    how: How,
    module: &M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> O,
) {
    run(name, how, module, |batch, seed| input(with_batch(shape, batch), seed), forward);
}

/// A function of a random tensor; its first size is the batch.
pub fn function<const D: usize, O: BurnTensors>(
    name: &str,
    shape: [usize; D],
    f: impl Fn(Tensor<D>) -> O,
) {
    function_with(name, BOTH, shape, f);
}

pub fn function_with<const D: usize, O: BurnTensors>(
    name: &str,
    how: How,
    shape: [usize; D],
    f: impl Fn(Tensor<D>) -> O,
) {
    case_with(name, how, &Nothing::default(), shape, |_, x| f(x));
}

/// A function of a tensor of random integers in -20..20.
pub fn of_ints<const D: usize, O: BurnTensors>(
    name: &str,
    how: How,
    shape: [usize; D],
    f: impl Fn(Tensor<D, Int>) -> O,
) {
    let inputs = |batch, seed| ints(with_batch(shape, batch), -20, 20, seed);
    run(name, how, &Nothing::default(), inputs, |_, x| f(x));
}

/// Inputs of any kind; nothing has parameters.
pub fn of<I: BurnTensors + Clone, O: BurnTensors>(
    name: &str,
    how: How,
    inputs: impl Fn(usize, u64) -> I,
    f: impl Fn(I) -> O,
) {
    run(name, how, &Nothing::default(), inputs, |_, x| f(x));
}

fn with_batch<const D: usize>(mut shape: [usize; D], batch: usize) -> [usize; D] {
    shape[0] = batch;
    shape
}

/// A form of an operation that is refused when exported, with this text.
pub fn refused<I: BurnTensors + Clone, O: BurnTensors>(
    family: &'static str,
    operation: &'static str,
    inputs: impl Fn(usize, u64) -> I,
    f: impl Fn(I) -> O,
    reason: &str,
) {
    let module = Nothing::default();
    let graph = BurnGraph::capture(
        &module,
        &inputs(BATCH, 1),
        |_: &Nothing, x| f(x),
        &OptimizeOptions::new(),
    );
    let error = graph.and_then(|graph| graph.to_onnx(accelerant::export::Target::portable()));
    let error = error.map(drop).expect_err(operation);
    assert_eq!(error.kind(), ErrorKind::UnsupportedOperation, "{error}");
    assert!(error.to_string().contains(reason), "{error}");
    assert!(error.to_string().contains(operation), "{error}");
    records::refused(family, operation, reason);
}
