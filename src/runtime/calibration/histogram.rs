//! Magnitudes that were seen, counted in bins whose width doubles when a larger one comes. Its size does not grow.

/// Bins of magnitudes.
pub(super) const BINS: usize = 2048;

/// What was seen of one value.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    min: f32,
    max: f32,
    /// Of the finite elements.
    count: u64,
    sum: f64,
    squares: f64,
    width: f32,
    /// None where a method does not look at them.
    bins: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(counts: bool) -> Self {
        let bins = if counts { vec![0; BINS] } else { Vec::new() };
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { min, max, count: 0, sum: 0.0, squares: 0.0, width: 0.0, bins }
    }

    /// Adds elements. What is wrong with them is told.
    pub(super) fn add(&mut self, values: &[f32]) -> Result<(), String> {
        let mut largest = 0f32;
        for &value in values {
            if value.is_nan() {
                return Err("a value is not a number (NaN)".into());
            }
            self.min = self.min.min(value);
            self.max = self.max.max(value);
            if value.is_finite() {
                let wide = f64::from(value);
                self.count += 1;
                self.sum += wide;
                self.squares += wide * wide;
                largest = largest.max(value.abs());
            }
        }
        if self.bins.is_empty() || largest == 0.0 {
            if let Some(zeros) = self.bins.first_mut() {
                *zeros += values.len() as u64;
            }
            return Ok(());
        }
        if self.width == 0.0 {
            self.width = (largest / BINS as f32).max(f32::MIN_POSITIVE);
        }
        while largest > self.width * BINS as f32 {
            self.widen();
        }
        for value in values.iter().filter(|value| value.is_finite()) {
            let bin = (value.abs() / self.width) as usize;
            self.bins[bin.min(BINS - 1)] += 1;
        }
        Ok(())
    }

    /// Two bins become one.
    fn widen(&mut self) {
        self.width *= 2.0;
        for i in 0..BINS / 2 {
            self.bins[i] = self.bins[2 * i] + self.bins[2 * i + 1];
        }
        self.bins[BINS / 2..].fill(0);
    }

    pub(super) fn is_constant(&self) -> bool {
        self.min >= self.max
    }

    /// Least and greatest element, as finite numbers.
    pub(super) fn ends(&self) -> [f32; 2] {
        match self.min <= self.max {
            true => [self.min, self.max].map(|end| end.clamp(f32::MIN, f32::MAX)),
            false => [0.0; 2],
        }
    }

    /// Mean and standard deviation.
    pub(super) fn moments(&self) -> [f32; 2] {
        if self.count == 0 {
            return [0.0; 2];
        }
        let mean = self.sum / self.count as f64;
        let variance = (self.squares / self.count as f64 - mean * mean).max(0.0);
        [mean as f32, variance.sqrt() as f32]
    }

    /// The largest magnitude.
    pub(super) fn largest(&self) -> f32 {
        let [min, max] = self.ends();
        min.abs().max(max.abs())
    }

    /// The counts up to the last that is not zero, and the width of a bin.
    pub(super) fn counts(&self) -> (&[u64], f32) {
        let used = self.bins.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        (&self.bins[..used], self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stays_where_it_was_when_bins_widen() {
        let mut histogram = Histogram::new(true);
        let small: Vec<f32> = (0..1000).map(|i| i as f32 / 1000.0).collect();
        histogram.add(&small).unwrap();
        for largest in [3.0, -700.0, 1e6] {
            histogram.add(&[largest]).unwrap();
            let (counts, width) = histogram.counts();
            assert!(f64::from(width) * counts.len() as f64 >= f64::from(largest.abs()) * 0.999);
            assert!(counts[..(1.0 / width) as usize + 1].iter().sum::<u64>() >= 1000);
        }
        assert_eq!(histogram.counts().0.iter().sum::<u64>(), 1003);
        assert_eq!((histogram.ends(), histogram.bins.len()), ([-700.0, 1e6], BINS));
    }

    #[test]
    fn moments_are_of_the_finite_numbers() {
        let mut histogram = Histogram::new(false);
        histogram.add(&[1.0, 3.0, f32::NEG_INFINITY]).unwrap();
        assert_eq!(histogram.moments(), [2.0, 1.0]);
        assert_eq!(histogram.ends(), [f32::MIN, 3.0]);
        assert!(histogram.add(&[f32::NAN]).is_err());
        assert!(Histogram::new(true).is_constant());
    }
}
