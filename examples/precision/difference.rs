//! How far results are from those of 32 bits. Numbers that are none make both figures none.

use accelerant::{DType, HostTensor};
use serde_json::{Value, json};

use crate::Result;

/// The largest difference of an output as a part of its largest value, and the least cosine.
pub(crate) fn difference(outputs: &[HostTensor], expected: &[HostTensor]) -> Result<Value> {
    let (mut part, mut cosine) = (0f64, 1f64);
    for (got, expected) in outputs.iter().zip(expected) {
        let (Some(got), Some(expected)) = (numbers(got)?, numbers(expected)?) else { continue };
        let pairs = || got.iter().copied().zip(expected.iter().copied());
        let largest = pairs().fold(0f64, |most, (_, b)| most.max(b.abs()));
        let apart = pairs().fold(0f64, |most, (a, b)| worse(most, (a - b).abs()));
        let sum = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
        let lengths = sum(|(a, _)| a * a) * sum(|(_, b)| b * b);
        part = worse(part, apart / largest);
        cosine = -worse(-cosine, -sum(|(a, b)| a * b) / lengths.sqrt());
    }
    Ok(json!({ "max_relative": part, "cosine": cosine }))
}

/// The larger one, or NaN where one is NaN, which `f64::max` passes over.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.max(other) }
}

fn numbers(tensor: &HostTensor) -> Result<Option<Vec<f64>>> {
    Ok(match tensor.dtype() {
        DType::F32 => Some(tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        DType::F16 => Some(tensor.to_vec::<half::f16>()?.into_iter().map(f64::from).collect()),
        _ => None,
    })
}
