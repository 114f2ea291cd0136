//! What the tables of cases share: one model goes through every consumer, and each result is
//! compared with the framework's own. No cases here.

#![allow(dead_code, unreachable_pub)]

pub mod minilm;

use std::io::Write as _;

use accelerant::backend::{Backend, Registry};
use accelerant::export::{Consumer, OnnxModel};
use accelerant::{BackendKind, DType, ErrorKind, HostTensor, Result};
use ndarray::ArrayD;

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

/// Inputs of a model, and what the framework makes of them.
pub struct Sample {
    pub name: String,
    pub inputs: Vec<HostTensor>,
    pub expected: Vec<HostTensor>,
}

/// As [`check_all`], with one sample.
pub fn check(
    name: &str,
    export: impl FnMut(Consumer) -> Result<OnnxModel>,
    inputs: &[HostTensor],
    expected: &[HostTensor],
) {
    let (inputs, expected) = (inputs.to_vec(), expected.to_vec());
    check_all(name, export, &[Sample { name: "as it is".into(), inputs, expected }]);
}

/// Builds a model with the portable backend and with TensorRT-RTX's parser and builder, runs it
/// there (on TensorRT only where a GPU is), and compares each result with what is expected.
pub fn check_all(
    name: &str,
    export: impl FnMut(Consumer) -> Result<OnnxModel>,
    samples: &[Sample],
) {
    let tolerance = |backend, _: &HostTensor| if backend == BackendKind::Ort { F32 } else { TF32 };
    check_within(name, export, samples, tolerance);
}

/// As [`check_all`], with the tolerance that a backend has for an expected result.
pub fn check_within(
    name: &str,
    mut export: impl FnMut(Consumer) -> Result<OnnxModel>,
    samples: &[Sample],
    tolerance: impl Fn(BackendKind, &HostTensor) -> Tolerance,
) {
    let mut consumers = 0;
    for backend in Registry::default().backends() {
        let must_run = match backend.kind() {
            BackendKind::Ort => true,
            BackendKind::TensorRtRtx => require_gpu(),
            _ => continue,
        };
        consumers += 1;
        let place = format!("{name}: {}", backend.kind());
        let model = export(backend.consumer()).unwrap_or_else(|e| panic!("{place}: export: {e}"));
        let engine = backend.build(&model).unwrap_or_else(|e| panic!("{place}: {e}\n{model}"));
        if let (false, Err(reason)) = (must_run, backend.probe()) {
            static TOLD: std::sync::Once = std::sync::Once::new();
            TOLD.call_once(|| skipped("running on TensorRT-RTX, models are only built", reason));
            continue;
        }
        let executable = backend.load(&engine).unwrap_or_else(|e| panic!("{place}: {e}\n{model}"));
        for Sample { name, inputs, expected } in samples {
            let outputs =
                executable.run(inputs).unwrap_or_else(|e| panic!("{place}: {name}: {e}\n{model}"));
            assert_eq!(outputs.len(), expected.len(), "{place}: {name}: number of outputs");
            for (i, (got, expected)) in outputs.iter().zip(expected).enumerate() {
                let tolerance = tolerance(backend.kind(), expected);
                assert_close(&format!("{place}: {name}: output {i}"), got, expected, tolerance);
            }
        }
    }
    assert!(consumers > 0, "{name}: no consumer was compiled in");
}

/// Whether a GPU was declared, so that its absence is a failure.
pub fn require_gpu() -> bool {
    std::env::var_os("ACCELERANT_REQUIRE_GPU").is_some_and(|value| value != "0")
}

/// Says why a test does nothing, past the harness, which hides what passing tests print.
pub fn skipped(test: &str, reason: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
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

/// Compares type, shape and every value; a NaN equals only a NaN.
pub fn assert_close(place: &str, got: &HostTensor, expected: &HostTensor, tolerance: Tolerance) {
    assert_eq!(got.dtype(), expected.dtype(), "{place}: type");
    assert_eq!(got.shape(), expected.shape(), "{place}: shape");
    for (i, (&x, &y)) in to_f64(got).iter().zip(&to_f64(expected)).enumerate() {
        let close = (x - y).abs() <= tolerance.absolute + tolerance.relative * y.abs();
        assert!(
            close || x == y || (x.is_nan() && y.is_nan()),
            "{place}: element {i}: got {x}, expected {y}"
        );
    }
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
