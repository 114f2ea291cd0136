//! Weights and other constants in fewer bits.

use half::{bf16, f16};

use crate::error::Result;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// How a constant of 32-bit floats fits into a narrower type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It does.
    Fits,
    /// A value is beyond the range, or infinite.
    Beyond,
    /// It is one number, once or many times, which vanishes or loses its digits below the normal numbers.
    Tiny,
    /// Its numbers are so small that this happens to most of what they are.
    Vanishes,
}

/// What part of a constant may be lost without being worth a mention: of the root of its sum of squares, to which
/// numbers add nothing that are small beside others.
const ROUNDING: f64 = 1.0 / 128.0;

/// Whether a constant keeps its values.
pub(super) fn fit(tensor: &HostTensor, low: DType) -> Result<Fit> {
    let values = tensor.view::<f32>()?;
    let narrowed = |value: f32| match low {
        DType::F16 => f16::from_f32(value).to_f32(),
        _ => bf16::from_f32(value).to_f32(),
    };
    if values.iter().any(|&value| !value.is_nan() && narrowed(value).is_infinite()) {
        return Ok(Fit::Beyond);
    }
    let (mut lost, mut all) = (0.0, 0.0);
    for &value in &values {
        lost += f64::from(narrowed(value) - value).powi(2);
        all += f64::from(value).powi(2);
    }
    let mut others = values.iter().zip(values.iter().skip(1));
    Ok(match lost > ROUNDING * ROUNDING * all {
        false => Fit::Fits,
        true if others.all(|(one, next)| one == next) => Fit::Tiny,
        true => Fit::Vanishes,
    })
}

/// The constant in a narrower type, each value rounded to the nearest; a zero and what becomes one keep their sign.
/// What is beyond the range is its largest number, for limits that nothing beyond is compared with.
pub(super) fn narrowed(tensor: &HostTensor, low: DType) -> Result<HostTensor> {
    let values = tensor.view::<f32>()?;
    let shape = tensor.shape().to_vec();
    match low {
        DType::F16 => {
            let bounded = |v: &f32| match v.is_nan() {
                true => f16::NAN,
                false => f16::from_f32(v.clamp(f16::MIN.to_f32(), f16::MAX.to_f32())),
            };
            HostTensor::from_vec(shape, values.iter().map(bounded).collect::<Vec<_>>())
        }
        _ => {
            let bounded = |v: &f32| match v.is_nan() {
                true => bf16::NAN,
                false => bf16::from_f32(v.clamp(bf16::MIN.to_f32(), bf16::MAX.to_f32())),
            };
            HostTensor::from_vec(shape, values.iter().map(bounded).collect::<Vec<_>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> HostTensor {
        HostTensor::from_vec([values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn what_vanishes_keeps_its_sign() {
        let half = narrowed(&of(&[-1e-9, 1e-9, -0.0, -6e-8]), DType::F16).unwrap();
        let half: Vec<f16> = half.to_vec().unwrap();
        let bits: Vec<u16> = half.iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x8000, 0, 0x8000, 0x8001]);
        let brain = narrowed(&of(&[-1e-42]), DType::BF16).unwrap().to_vec::<bf16>().unwrap();
        assert!(brain[0].is_sign_negative());
    }

    #[test]
    fn constants_that_do_not_fit_are_told_apart() {
        let fit = |values: &[f32], low| fit(&of(values), low).unwrap();
        assert_eq!(fit(&[65504.0, -1.0], DType::F16), Fit::Fits);
        assert_eq!(fit(&[65520.0, -1.0], DType::F16), Fit::Beyond);
        assert_eq!(fit(&[f32::NEG_INFINITY, 0.0], DType::F16), Fit::Beyond);
        assert_eq!(fit(&[1e-8], DType::F16), Fit::Tiny);
        assert_eq!(fit(&[1e-8, 1.0], DType::F16), Fit::Fits);
        assert_eq!(fit(&[1e-5], DType::F16), Fit::Fits);
        assert_eq!(fit(&[1e-8; 3], DType::F16), Fit::Tiny);
        assert_eq!(fit(&[1e-7, -2e-7, 3e-7], DType::F16), Fit::Vanishes);
        assert_eq!(fit(&[1e-7, -2e-7, 1e-3], DType::F16), Fit::Fits);
        assert_eq!(fit(&[2e-5, -4e-5, 1e-5], DType::F16), Fit::Fits);
        assert_eq!(fit(&[1e-7, -2e-7, 3e-7], DType::BF16), Fit::Fits);
        assert_eq!(fit(&[0.0, 0.0], DType::F16), Fit::Fits);
        assert_eq!(fit(&[f32::NAN, 1.0], DType::F16), Fit::Fits);
        assert_eq!(fit(&[-1e12, 1e-12], DType::BF16), Fit::Fits);
        assert_eq!(fit(&[f32::MIN], DType::BF16), Fit::Beyond);
    }
}
