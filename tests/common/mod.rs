//! What the tables of cases share: one model goes through every target, and each result is
//! compared with the framework's own. No cases here.

#![allow(dead_code, unreachable_pub)]

pub mod logs;
pub mod minilm;
pub mod onnx_cases;
#[cfg(feature = "tract")]
pub mod programs;

use std::io::Write as _;
use std::sync::Arc;

use accelerant::Registry;
use accelerant::backend::Backend;
#[cfg(feature = "tensorrt-rtx")]
use accelerant::cuda::cudarc::driver::{CudaContext, CudaStream};
use accelerant::export::{OnnxModel, Target, onnx::NodeProto};
use accelerant::{BackendKind, DType, ErrorKind, HostTensor, Result};
use ndarray::ArrayD;

/// A stream. The first of a handle waits for the device, which must not be while another test captures an execution.
#[cfg(feature = "tensorrt-rtx")]
pub fn new_stream(context: &Arc<CudaContext>) -> Arc<CudaStream> {
    accelerant::cuda::without_captures(|| context.new_stream()).unwrap()
}

/// How far a result may be from the framework's: `absolute + relative * |expected|`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

/// 32-bit floats on the CPU, sums in any order.
pub const F32: Tolerance = Tolerance { absolute: 2e-5, relative: 2e-5 };
/// TensorRT may use TF32 for 32-bit products: 10 bits of mantissa.
pub const TF32: Tolerance = Tolerance { absolute: 5e-3, relative: 5e-3 };
/// 16-bit floats have 11 bits of mantissa; a few roundings in a row.
pub const F16: Tolerance = Tolerance { absolute: 5e-3, relative: 5e-3 };
/// Integers are counted, not rounded.
pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };
/// bfloat16 has 8 bits of mantissa.
pub const BF16: Tolerance = Tolerance { absolute: 4e-2, relative: 4e-2 };

/// Inputs of a model, and what the framework makes of them.
pub struct Sample {
    pub name: String,
    pub inputs: Vec<HostTensor>,
    pub expected: Vec<HostTensor>,
}

/// What stands behind a backend here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runner {
    Tract,
    OnnxRuntime,
    TensorRtRtx,
}

/// A case that a runner cannot do, and why. The case runs there all the same and must fail, so that
/// a gap that has been filled is found.
#[derive(Clone, Copy, Debug)]
pub struct Gap {
    pub runner: Runner,
    pub reason: &'static str,
}

/// What a runner made of a case: nothing, or the reason why it is left out.
pub type Outcome = (Runner, Option<&'static str>);

/// As [`check_all`], with one sample.
pub fn check(
    name: &str,
    export: impl FnMut(Target) -> Result<OnnxModel>,
    inputs: &[HostTensor],
    expected: &[HostTensor],
) {
    let (inputs, expected) = (inputs.to_vec(), expected.to_vec());
    check_all(name, export, &[Sample { name: "as it is".into(), inputs, expected }]);
}

/// As [`check_with_gaps`], with none.
pub fn check_all(name: &str, export: impl FnMut(Target) -> Result<OnnxModel>, samples: &[Sample]) {
    check_with_gaps(name, export, samples, &[], tolerance);
}

/// As [`check_all`], with the tolerance that a backend has for an expected result.
pub fn check_within(
    name: &str,
    export: impl FnMut(Target) -> Result<OnnxModel>,
    samples: &[Sample],
    tolerance: impl Fn(BackendKind, &HostTensor) -> Tolerance,
) {
    check_with_gaps(name, export, samples, &[], tolerance);
}

/// Builds a model with the portable backend and with TensorRT-RTX's parser and builder, runs it
/// there (on TensorRT only where a GPU is), and compares each result with what is expected. A model whose
/// layers have other forms on Hopper goes through each once more so.
pub fn check_with_gaps(
    name: &str,
    mut export: impl FnMut(Target) -> Result<OnnxModel>,
    samples: &[Sample],
    gaps: &[Gap],
    tolerance: impl Fn(BackendKind, &HostTensor) -> Tolerance,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for backend in Registry::default().backends() {
        let runner = match backend.kind() {
            BackendKind::Tract => Runner::Tract,
            BackendKind::Ort => Runner::OnnxRuntime,
            BackendKind::TensorRtRtx => Runner::TensorRtRtx,
            _ => continue,
        };
        let place = format!("{name}: {}", backend.kind());
        if !is_asked_for(runner) || !is_installed(backend.as_ref()) {
            continue;
        }
        let capabilities = [None, Some(90)];
        let forms =
            capabilities.map(|built_for| backend.target().for_compute_capability(built_for));
        let (result, model) = match forms.map(&mut export) {
            [Ok(plain), Ok(other)] => {
                let run = |model| run_on(backend.as_ref(), model, samples, &tolerance);
                let result = run(&plain);
                if result.is_ok()
                    && nodes(&plain) != nodes(&other)
                    && let Err(error) = run(&other)
                {
                    tell(&format!("failed: {place}: forms for Hopper: {error}"));
                    panic!("{place}: forms for Hopper: {error}\n{other}")
                }
                (result, plain.to_string())
            }
            [Err(error), _] | [_, Err(error)] => (Err(format!("export: {error}")), String::new()),
        };
        let gap = gaps.iter().find(|gap| gap.runner == runner).map(|gap| gap.reason);
        match (gap, result) {
            (None, Ok(())) => {}
            (None, Err(error)) => {
                // At once and in one line: the harness tells a panic only when all tests have ended.
                tell(&format!("failed: {place}: {error}"));
                panic!("{place}: {error}\n{model}")
            }
            (Some(reason), Err(_)) => skipped(&place, reason),
            (Some(reason), Ok(())) => {
                tell(&format!("failed: {place}: works, though a gap is stated: {reason}"));
                panic!("{place}: works, though a gap is stated: {reason}")
            }
        }
        outcomes.push((runner, gap));
    }
    assert!(!outcomes.is_empty(), "{name}: no target was compiled in");
    outcomes
}

fn nodes(model: &OnnxModel) -> &[NodeProto] {
    model.proto().graph.as_ref().map_or(&[], |graph| &graph.node)
}

/// Whether the cases go through a runner: all of them, but where `ACCELERANT_CASES_ON` names some, separated by commas, as
/// in a second run of what TensorRT-RTX has built in the first.
pub fn is_asked_for(runner: Runner) -> bool {
    let named = |names: String| names.split(',').any(|name| name == format!("{runner:?}"));
    std::env::var("ACCELERANT_CASES_ON").map_or(true, named)
}

/// Whether a portable backend is there: ONNX Runtime's library may not be.
fn is_installed(backend: &dyn Backend) -> bool {
    if backend.kind() != BackendKind::Ort {
        return true;
    }
    let Err(reason) = backend.probe() else { return true };
    static TOLD: std::sync::Once = std::sync::Once::new();
    TOLD.call_once(|| skipped("cases on ONNX Runtime", reason));
    false
}

/// The backend on the CPU that tests use where one is enough: tract, and ONNX Runtime in a run of the cases on this alone.
pub fn portable() -> BackendKind {
    match is_asked_for(Runner::Tract) {
        true => BackendKind::Tract,
        false => BackendKind::Ort,
    }
}

/// The registry's own [portable] backend.
pub fn portable_backend() -> Arc<dyn Backend> {
    Registry::default().get(&portable()).expect("it is compiled in").clone()
}

/// Whether a backend computes on the CPU.
pub fn is_portable(kind: &BackendKind) -> bool {
    matches!(kind, BackendKind::Ort | BackendKind::Tract)
}

/// Builds a model on a backend, and where that runs compares its results with what is expected.
pub fn run_on(
    backend: &dyn Backend,
    model: &OnnxModel,
    samples: &[Sample],
    tolerance: &impl Fn(BackendKind, &HostTensor) -> Tolerance,
) -> Result<(), String> {
    let text = |e: accelerant::Error| e.to_string();
    let engine = backend.build(model).map_err(text)?;
    let optional = !is_portable(&backend.kind()) && !require_gpu();
    if let (true, Err(reason)) = (optional, backend.probe()) {
        static TOLD: std::sync::Once = std::sync::Once::new();
        TOLD.call_once(|| skipped("running on TensorRT-RTX, models are only built", reason));
        return Ok(());
    }
    let executable = backend.load(&engine).map_err(text)?;
    for Sample { name, inputs, expected } in samples {
        let specs = &executable.signature().inputs;
        let inputs = inputs.iter().zip(specs).map(|(input, spec)| handed(input, spec.dtype));
        let inputs: Vec<_> = inputs.collect();
        let outputs = executable.run(&inputs).map_err(|e| format!("{name}: {e}"))?;
        if outputs.len() != expected.len() {
            return Err(format!("{name}: {} outputs for {}", outputs.len(), expected.len()));
        }
        for (i, (got, expected)) in outputs.iter().zip(expected).enumerate() {
            let tolerance = tolerance(backend.kind(), expected);
            compare(&handed(got, expected.dtype()), expected, tolerance)
                .map_err(|e| format!("{name}: output {i}: {e}"))?;
        }
    }
    Ok(())
}

/// A tensor in the type that a model takes in place of one that its backend has not, as the
/// frameworks' modules hand it over.
fn handed(tensor: &HostTensor, dtype: DType) -> HostTensor {
    let handed = |from: DType, to: DType| match (from, to) {
        (DType::F64, DType::F32) => true,
        (from, DType::I32) => from.is_int() && from.size() < 4,
        (from, DType::I64) => matches!(from, DType::U32 | DType::U64),
        _ => false,
    };
    if !handed(tensor.dtype(), dtype) && !handed(dtype, tensor.dtype()) {
        return tensor.clone();
    }
    let (shape, values) = (tensor.shape(), to_f64(tensor).into_iter());
    let made = match dtype {
        DType::F32 => HostTensor::from_vec(shape, values.map(|v| v as f32).collect()),
        DType::F64 => HostTensor::from_vec(shape, values.collect()),
        DType::I8 => HostTensor::from_vec(shape, values.map(|v| v as i8).collect()),
        DType::I16 => HostTensor::from_vec(shape, values.map(|v| v as i16).collect()),
        DType::I32 => HostTensor::from_vec(shape, values.map(|v| v as i32).collect()),
        DType::I64 => HostTensor::from_vec(shape, values.map(|v| v as i64).collect()),
        DType::U8 => HostTensor::from_vec(shape, values.map(|v| v as u8).collect()),
        DType::U16 => HostTensor::from_vec(shape, values.map(|v| v as u16).collect()),
        DType::U32 => HostTensor::from_vec(shape, values.map(|v| v as u32).collect()),
        DType::U64 => HostTensor::from_vec(shape, values.map(|v| v as u64).collect()),
        other => panic!("no backend is handed {other} in place of {}", tensor.dtype()),
    };
    made.expect("as many values as before")
}

/// How far a backend's results of a type may lie from the framework's.
pub fn tolerance(backend: BackendKind, expected: &HostTensor) -> Tolerance {
    match (expected.dtype(), backend) {
        (DType::F16, _) => F16,
        (DType::BF16, _) => BF16,
        (dtype, _) if dtype.is_int() => EXACT,
        (_, BackendKind::Ort | BackendKind::Tract) => F32,
        _ => TF32,
    }
}

/// Whether a GPU was declared, so that its absence is a failure.
pub fn require_gpu() -> bool {
    std::env::var_os("ACCELERANT_REQUIRE_GPU").is_some_and(|value| value != "0")
}

/// Says why a test does nothing, past the harness, which hides what passing tests print.
pub fn skipped(test: &str, reason: impl std::fmt::Display) {
    tell(&format!("skipped: {test}: {reason}"));
}

fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", line.replace('\n', " "));
}

/// Whether a backend can run here. If not, the reason is told, and a failure where a GPU was declared.
pub fn runs(test: &str, backend: &dyn Backend) -> bool {
    match backend.probe() {
        Ok(()) => true,
        Err(error) => {
            assert!(!require_gpu(), "{test}: a GPU was declared: {error}");
            assert_eq!(error.kind(), ErrorKind::Device, "{error}");
            skipped(test, error);
            false
        }
    }
}

/// The portable backends that run here. Why others do not is told.
#[cfg(any(feature = "ort", feature = "tract"))]
pub fn portable_backends(test: &str) -> Vec<std::sync::Arc<dyn Backend>> {
    let all: Vec<std::sync::Arc<dyn Backend>> = vec![
        #[cfg(feature = "tract")]
        std::sync::Arc::new(accelerant::backend::tract::Tract),
        #[cfg(feature = "ort")]
        std::sync::Arc::new(accelerant::backend::ort::Ort),
    ];
    let there = |backend: &std::sync::Arc<dyn Backend>| match backend.probe() {
        Ok(()) => true,
        Err(reason) => {
            skipped(&format!("{test} on {}", backend.kind()), reason);
            false
        }
    };
    all.into_iter().filter(there).collect()
}

/// As [`compare`], panicking with the place.
pub fn assert_close(place: &str, got: &HostTensor, expected: &HostTensor, tolerance: Tolerance) {
    compare(got, expected, tolerance).unwrap_or_else(|e| panic!("{place}: {e}"));
}

/// Compares type, shape and every value; a NaN equals only a NaN.
pub fn compare(
    got: &HostTensor,
    expected: &HostTensor,
    tolerance: Tolerance,
) -> Result<(), String> {
    let specs = [got, expected].map(|tensor| (tensor.dtype(), tensor.shape().to_vec()));
    if specs[0] != specs[1] {
        return Err(format!("got {:?}, expected {:?}", specs[0], specs[1]));
    }
    for (i, (&x, &y)) in to_f64(got).iter().zip(&to_f64(expected)).enumerate() {
        // A difference from infinity is infinite, as is what the tolerance would be.
        let close =
            y.is_finite() && (x - y).abs() <= tolerance.absolute + tolerance.relative * y.abs();
        if !(close || x == y || (x.is_nan() && y.is_nan())) {
            return Err(format!("element {i}: got {x}, expected {y}"));
        }
    }
    Ok(())
}

/// The values of any tensor as 64-bit floats.
pub fn to_f64(tensor: &HostTensor) -> Vec<f64> {
    fn cast<T: accelerant::Element>(tensor: &HostTensor, f: impl Fn(T) -> f64) -> Vec<f64> {
        tensor.to_vec::<T>().expect("the type was just read").into_iter().map(f).collect()
    }
    match tensor.dtype() {
        DType::F32 => cast::<f32>(tensor, f64::from),
        DType::F64 => cast::<f64>(tensor, |v| v),
        DType::F16 => cast::<half::f16>(tensor, half::f16::to_f64),
        DType::BF16 => cast::<half::bf16>(tensor, half::bf16::to_f64),
        DType::I8 => cast::<i8>(tensor, f64::from),
        DType::I16 => cast::<i16>(tensor, f64::from),
        DType::I32 => cast::<i32>(tensor, f64::from),
        DType::I64 => cast::<i64>(tensor, |v| v as f64),
        DType::U8 => cast::<u8>(tensor, f64::from),
        DType::U16 => cast::<u16>(tensor, f64::from),
        DType::U32 => cast::<u32>(tensor, f64::from),
        DType::U64 => cast::<u64>(tensor, |v| v as f64),
        DType::Bool => cast::<bool>(tensor, |v| f64::from(u8::from(v))),
        other => panic!("no cast from {other}"),
    }
}

/// Reproducible values in -1..1, different for every seed (splitmix64).
pub fn random(shape: &[usize], seed: u64) -> ArrayD<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ArrayD::from_shape_simple_fn(shape, || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    })
}
