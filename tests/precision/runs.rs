//! Runs on ONNX Runtime, and how near results are.

use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::OnnxModel;
use accelerant::{DType, HostTensor, precision::in_32_bits};

use crate::common::{self, to_f64};

/// Whether ONNX Runtime is here.
pub(crate) fn has_ort(test: &str) -> bool {
    match Ort.probe() {
        Ok(()) => true,
        Err(reason) => {
            common::skipped(test, reason);
            false
        }
    }
}

/// What ONNX Runtime makes of a model. It computes no bfloat16 on the CPU, and keeps 32 bits between those operators that it
/// has not in half precision.
pub(crate) fn run(name: &str, model: &OnnxModel, inputs: &[HostTensor]) -> Vec<HostTensor> {
    run_each(name, model, &[inputs]).swap_remove(0)
}

/// The same of several inputs, one after the other.
pub(crate) fn run_each(
    name: &str,
    model: &OnnxModel,
    batches: &[impl AsRef<[HostTensor]>],
) -> Vec<Vec<HostTensor>> {
    let model = &in_32_bits(model).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
    let engine = Ort.build(model).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
    let executable = Ort.load(&engine).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
    let one = |inputs: &[HostTensor]| {
        executable.run(inputs).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"))
    };
    batches.iter().map(|inputs| one(inputs.as_ref())).collect()
}

/// The cosine between two tensors.
pub(crate) fn cosine(one: &HostTensor, other: &HostTensor) -> f64 {
    let (a, b) = (to_f64(one), to_f64(other));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// Checks that each element differs by no more than a part of the largest.
pub(crate) fn near(name: &str, got: &HostTensor, expected: &HostTensor, part: f64) {
    assert_eq!((got.dtype(), got.shape()), (expected.dtype(), expected.shape()), "{name}");
    let (got, expected) = (to_f64(got), to_f64(expected));
    let scale = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let same = got == expected || (got - expected).abs() <= part * scale;
        assert!(same, "{name}: element {i} is {got}, and must be {expected} ± {part} of {scale}");
    }
}

/// Reproducible numbers.
pub(crate) fn numbers(shape: &[usize], scale: f32, seed: u64) -> HostTensor {
    HostTensor::from(common::random(shape, seed).mapv(|value| value * scale))
}

/// What a part of the largest value two types may differ by.
pub(crate) fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 3e-2,
        _ => 4e-3,
    }
}
