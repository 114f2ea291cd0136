//! How much is lost between what a model gave and what it gives.

use std::{fmt, sync::Arc};

use crate::backend::guarded;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

type Own = dyn Fn(&[HostTensor], &[HostTensor]) -> Result<f64> + Send + Sync;

/// The loss as a number: 0 for equal results, and more for worse results. The largest loss of all batches counts.
#[derive(Clone)]
#[non_exhaustive]
pub enum Metric {
    /// 1 minus the smallest cosine similarity between rows of an output. A row has all elements of one index of axis
    /// 0.
    Cosine,
    /// The largest difference, relative to the largest magnitude of the output.
    Relative,
    /// A function of the outputs and of the outputs in fp32, such as a loss of accuracy.
    Own(Arc<Own>),
}

impl Metric {
    /// A metric of your own: a function of the outputs and of the outputs in fp32.
    pub fn own(
        function: impl Fn(&[HostTensor], &[HostTensor]) -> Result<f64> + Send + Sync + 'static,
    ) -> Self {
        Self::Own(Arc::new(function))
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Relative => "relative difference",
            Self::Own(_) => "own metric",
        }
    }

    pub(super) fn drop(&self, got: &[HostTensor], expected: &[HostTensor]) -> Result<f64> {
        let each = match self {
            Self::Own(function) => return called(function, got, expected),
            Self::Cosine => cosine,
            Self::Relative => relative,
        };
        let mut most: Option<f64> = None;
        for (got, expected) in got.iter().zip(expected) {
            if expected.dtype() != DType::F32 || got.dtype() != DType::F32 {
                continue;
            }
            let rows = expected.shape().first().copied().unwrap_or(1).max(1);
            let drop = each(&got.to_vec::<f32>()?, &expected.to_vec::<f32>()?, rows);
            most = Some(most.map_or(drop, |most| worse(most, drop)));
        }
        most.ok_or_else(|| {
            let text = format!("the metric {} takes outputs of 32-bit floats", self.name());
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

/// What a caller's function gives, or an error for a function that panics.
fn called(function: &Arc<Own>, got: &[HostTensor], expected: &[HostTensor]) -> Result<f64> {
    guarded(ErrorKind::InvalidArgument, || function(got, expected)).unwrap_or_else(|e| {
        let text = format!("the own metric failed: {}", e.message());
        Err(Error::new(ErrorKind::InvalidArgument, text))
    })
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The greater one; no number where either is none.
fn worse(one: f64, other: f64) -> f64 {
    if one.is_nan() || other.is_nan() { f64::NAN } else { one.max(other) }
}

fn cosine(got: &[f32], expected: &[f32], rows: usize) -> f64 {
    let width = (expected.len() / rows).max(1);
    let rows = got.chunks(width).zip(expected.chunks(width));
    let each = rows.map(|(a, b)| {
        let dot = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
        };
        match a == b {
            true => 0.0,
            false => 1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt(),
        }
    });
    each.fold(0.0, worse)
}

fn relative(got: &[f32], expected: &[f32], _rows: usize) -> f64 {
    let largest = expected.iter().fold(0f64, |most, v| most.max(f64::from(v.abs())));
    let apart = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).abs();
    let most = got.iter().zip(expected).map(apart).fold(0f64, worse);
    if most == 0.0 { 0.0 } else { most / largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(shape: [usize; 2], values: &[f32]) -> Vec<HostTensor> {
        vec![HostTensor::from_vec(shape, values.to_vec()).unwrap()]
    }

    #[test]
    fn the_worst_row_and_the_worst_element_count() {
        let expected = of([2, 2], &[1.0, 0.0, 0.0, 4.0]);
        let got = of([2, 2], &[1.0, 0.0, 3.0, 4.0]);
        assert!((Metric::Cosine.drop(&got, &expected).unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(Metric::Relative.drop(&got, &expected).unwrap(), 0.75);
        assert_eq!(Metric::Cosine.drop(&expected, &expected).unwrap(), 0.0);
        let none = of([2, 2], &[f32::NAN, 0.0, 0.0, 4.0]);
        assert!(Metric::Cosine.drop(&none, &expected).unwrap().is_nan());
        assert!(Metric::Relative.drop(&none, &expected).unwrap().is_nan());
        let integers = vec![HostTensor::from_vec([1], vec![1i64]).unwrap()];
        assert!(Metric::Cosine.drop(&integers, &integers).is_err());
        assert!(Metric::Cosine.drop(&[], &[]).is_err());
    }
}
