//! Where the magnitudes of a value are cut off for eight bits: nowhere, at a part of them, where the squares of errors
//! are least, or where least is lost of their distribution (Migacz, "8-bit Inference with TensorRT", 2017).

use std::fmt;

use super::histogram::{BINS, Histogram};
use crate::error::{Error, ErrorKind, Result};

/// Steps of eight bits on one side of 0.
const STEPS: usize = 128;

/// How a limit is found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Method {
    /// The largest magnitude.
    MinMax,
    /// The least divergence of the distribution in 8 bits from that of the samples.
    Entropy,
    /// The magnitude that a part of all elements does not exceed, such as 0.9999.
    Percentile(f64),
    /// The least mean square of errors.
    Mse,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MinMax => f.write_str("min-max"),
            Self::Entropy => f.write_str("entropy"),
            Self::Percentile(part) => write!(f, "percentile {part}"),
            Self::Mse => f.write_str("mse"),
        }
    }
}

impl Method {
    /// Refuses what makes no sense.
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Percentile(part) if !(part > 0.0 && part <= 1.0) => {
                let text =
                    format!("percentile {part}: it is a part above 0 and at most 1, such as 0.999");
                Err(Error::new(ErrorKind::InvalidArgument, text))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn wants_counts(self) -> bool {
        self != Self::MinMax
    }

    /// The limit of what was seen.
    pub(super) fn limit(self, histogram: &Histogram) -> f32 {
        let (counts, width) = histogram.counts();
        let bins = match self {
            _ if counts.is_empty() || width == 0.0 => None,
            Self::MinMax => None,
            Self::Percentile(part) => percentile(counts, part),
            Self::Mse => (counts.len() > STEPS).then(|| least_squares(counts)),
            Self::Entropy => (counts.len() > STEPS).then(|| least_divergence(counts)),
        };
        let largest = histogram.largest();
        bins.map_or(largest, |bins| (bins as f32 * width).min(largest))
    }
}

fn percentile(counts: &[u64], part: f64) -> Option<usize> {
    let all: u64 = counts.iter().sum();
    let mut seen = 0;
    counts
        .iter()
        .position(|count| {
            seen += count;
            seen as f64 >= part * all as f64
        })
        .map(|bin| bin + 1)
}

/// The number of bins below the limit with the least squares of errors, in widths of a bin.
fn least_squares(counts: &[u64]) -> usize {
    let error = |bins: usize| -> f64 {
        let step = bins as f64 / (STEPS - 1) as f64;
        let each = |(bin, count): (usize, &u64)| {
            let at = bin as f64 + 0.5;
            let lost = if bin >= bins { (at - bins as f64).powi(2) } else { step * step / 12.0 };
            lost * *count as f64
        };
        counts.iter().enumerate().map(each).sum()
    };
    candidates(counts).min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(counts.len())
}

/// The number of bins with the least divergence.
fn least_divergence(counts: &[u64]) -> usize {
    let divergence = |bins: usize| {
        let mut kept: Vec<f64> = counts[..bins].iter().map(|&count| count as f64).collect();
        let cut: u64 = counts[bins..].iter().sum();
        kept[bins - 1] += cut as f64;
        let all: f64 = kept.iter().sum();
        let mut loss = 0.0;
        for step in 0..STEPS {
            let part = step * bins / STEPS..(step + 1) * bins / STEPS;
            let within: f64 = counts[part.clone()].iter().map(|&count| count as f64).sum();
            let used = part.clone().filter(|&bin| counts[bin] > 0).count();
            for bin in part.filter(|&bin| kept[bin] > 0.0) {
                let (p, q) = (kept[bin] / all, within / used.max(1) as f64 / all);
                // What is cut off where nothing else is has no match at all.
                loss += p * (p / q.max(1e-9)).ln();
            }
        }
        loss
    };
    candidates(counts)
        .min_by(|a, b| divergence(*a).total_cmp(&divergence(*b)))
        .unwrap_or(counts.len())
}

/// The limits that are tried, in bins: all of what was seen, and less in even steps.
fn candidates(counts: &[u64]) -> impl Iterator<Item = usize> + use<> {
    let stride = (BINS / STEPS / 2).max(1);
    (STEPS..counts.len()).step_by(stride).chain([counts.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a normal distribution, by the sum of twelve even ones, with one far away.
    fn seen() -> Histogram {
        let mut state = 1u64;
        let mut even = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 24) as f32
        };
        let mut values: Vec<f32> =
            (0..50_000).map(|_| (0..12).map(|_| even()).sum::<f32>() - 6.0).collect();
        values.push(60.0);
        let mut histogram = Histogram::new(true);
        histogram.add(&values).unwrap();
        histogram
    }

    #[test]
    fn one_number_far_away_is_cut_off_but_by_the_largest() {
        let seen = seen();
        assert_eq!(Method::MinMax.limit(&seen), 60.0);
        let percentile = Method::Percentile(0.999).limit(&seen);
        assert!((3.1..3.6).contains(&percentile), "3.29 in the tables: {percentile}");
        let entropy = Method::Entropy.limit(&seen);
        assert!((3.0..30.0).contains(&entropy), "{entropy}");
        // Where (60 - x)² + 50,000 (x / 127)² / 12 is least.
        let squares = Method::Mse.limit(&seen);
        assert!((46.0..49.0).contains(&squares), "{squares}");
        assert_eq!(Method::Percentile(1.0).limit(&seen), 60.0);
    }

    #[test]
    fn even_numbers_are_kept_whole() {
        let mut histogram = Histogram::new(true);
        histogram.add(&(0..100_000).map(|i| i as f32 / 1e5).collect::<Vec<_>>()).unwrap();
        for method in [Method::Entropy, Method::Mse, Method::Percentile(0.99999)] {
            let limit = method.limit(&histogram);
            assert!((0.97..=1.0).contains(&limit), "{method}: {limit}");
        }
    }

    #[test]
    fn a_percentile_is_a_part() {
        for part in [0.0, -1.0, 1.01, f64::NAN] {
            assert!(Method::Percentile(part).check().is_err(), "{part}");
        }
    }
}
