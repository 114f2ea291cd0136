//! How far results are from those of 32 bits.

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
        let apart = pairs()
            .fold(0f64, |most, (a, b)| if a.is_nan() { f64::NAN } else { most.max((a - b).abs()) });
        let sum = |f: fn((f64, f64)) -> f64| pairs().map(f).sum::<f64>();
        part = part.max(apart / largest);
        cosine =
            cosine.min(sum(|(a, b)| a * b) / (sum(|(a, _)| a * a) * sum(|(_, b)| b * b)).sqrt());
    }
    Ok(json!({ "max_relative": part, "cosine": cosine }))
}

fn numbers(tensor: &HostTensor) -> Result<Option<Vec<f64>>> {
    Ok(match tensor.dtype() {
        DType::F32 => Some(tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
        DType::F16 => Some(tensor.to_vec::<half::f16>()?.into_iter().map(f64::from).collect()),
        _ => None,
    })
}
