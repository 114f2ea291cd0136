//! Magnitudes that were seen, counted in bins whose width doubles when a larger one comes. Its size does not grow.
//! Widths are powers of two, so that histograms of several threads go together exactly.

/// Bins of magnitudes.
pub(super) const BINS: usize = 2048;

/// Elements of one tensor that are counted in bins; of larger ones so many, evenly spread, each for all between.
const COUNTED: usize = 1 << 17;

/// The same once a value has many counts.
const COUNTED_LATER: usize = 1 << 14;

/// So many elements looked at are many.
const MANY: u64 = 1 << 20;

/// Elements that are looked at together.
const BLOCK: usize = 1024;

/// Where the largest number of a block is within, 32 bits have the sum of its squares.
const SQUARED: std::ops::Range<f32> = 1e-15..1e15;

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
    /// Of the elements, those that were put into bins.
    looked_at: u64,
    /// None where a method does not look at them.
    bins: Vec<u64>,
}

impl Histogram {
    pub(super) fn new(counts: bool) -> Self {
        let bins = if counts { vec![0; BINS] } else { Vec::new() };
        let (min, max) = (f32::INFINITY, f32::NEG_INFINITY);
        Self { min, max, count: 0, sum: 0.0, squares: 0.0, width: 0.0, looked_at: 0, bins }
    }

    /// Adds elements. What is wrong with them is told.
    pub(super) fn add(&mut self, values: &[f32]) -> Result<(), String> {
        let most = if self.looked_at < MANY { COUNTED } else { COUNTED_LATER };
        let step = values.len().div_ceil(most).max(1);
        // A block is counted while it is near: a later walk over a large tensor would fetch each element anew.
        let mut next = 0;
        for block in values.chunks(BLOCK) {
            let largest = match self.finite(block) {
                Some(largest) => largest,
                None => self.each(block)?,
            };
            if !self.bins.is_empty() {
                next = self.bin(block, largest, step, next);
            }
        }
        self.looked_at += values.len().div_ceil(step) as u64;
        Ok(())
    }

    /// Counts each so many-th element of a block, from `next` on, each for all between. The next one of the block after
    /// comes back.
    fn bin(&mut self, block: &[f32], largest: f32, step: usize, mut next: usize) -> usize {
        if self.width == 0.0 && largest > 0.0 {
            self.width = power_of_two(largest / BINS as f32);
        }
        while largest > self.width * BINS as f32 {
            self.widen();
        }
        let bins_of_one = if self.width > 0.0 { self.width.recip() } else { 0.0 };
        while let Some(value) = block.get(next) {
            if value.is_finite() {
                let bin = (value.abs() * bins_of_one) as usize;
                self.bins[bin.min(BINS - 1)] += step as u64;
            }
            next += step;
        }
        next - block.len()
    }

    /// Adds what another one has seen.
    pub(super) fn merge(&mut self, mut other: Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        self.squares += other.squares;
        self.looked_at += other.looked_at;
        // Zeros alone have no width yet, and are in the first bin of any.
        if self.width == 0.0 {
            self.width = other.width;
        }
        while other.width > self.width {
            self.widen();
        }
        while other.width > 0.0 && other.width < self.width {
            other.widen();
        }
        self.bins.iter_mut().zip(&other.bins).for_each(|(own, more)| *own += more);
    }

    /// Adds at most a block of elements, in lanes that do not wait for each other, if all of them are finite. The largest
    /// magnitude comes back.
    fn finite(&mut self, values: &[f32]) -> Option<f32> {
        const LANES: usize = 16;
        let (mut least, mut most) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        // A lane has a few dozen numbers of a block: 32 bits are enough until all lanes are put together.
        let (mut sums, mut squares) = ([0f32; LANES], [0f32; LANES]);
        let rows = values.chunks_exact(LANES);
        let rest = rows.remainder();
        for row in rows {
            for lane in 0..LANES {
                let value = row[lane];
                least[lane] = if value < least[lane] { value } else { least[lane] };
                most[lane] = if value > most[lane] { value } else { most[lane] };
                sums[lane] += value;
                squares[lane] += value * value;
            }
        }
        for (lane, &value) in rest.iter().enumerate() {
            least[lane] = least[lane].min(value);
            most[lane] = most[lane].max(value);
            sums[lane] += value;
            squares[lane] += value * value;
        }
        let least = least.into_iter().fold(f32::INFINITY, f32::min);
        let most = most.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let largest = least.abs().max(most.abs());
        // A sum has everything in it that is no finite number.
        if !sums.iter().sum::<f32>().is_finite() {
            return None;
        }
        let wide = |lanes: [f32; LANES]| lanes.into_iter().map(f64::from).sum::<f64>();
        let (sum, squares) = match SQUARED.contains(&largest) {
            true => (wide(sums), wide(squares)),
            false => {
                let each = || values.iter().copied().map(f64::from);
                (each().sum(), each().map(|value| value * value).sum())
            }
        };
        self.count += values.len() as u64;
        self.sum += sum;
        self.squares += squares;
        self.min = self.min.min(least);
        self.max = self.max.max(most);
        Some(largest)
    }

    /// Adds elements of which some are not finite.
    fn each(&mut self, values: &[f32]) -> Result<f32, String> {
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
        Ok(largest)
    }

    /// Two bins become one.
    fn widen(&mut self) {
        self.width *= 2.0;
        for i in 0..BINS / 2 {
            self.bins[i] = self.bins[2 * i] + self.bins[2 * i + 1];
        }
        self.bins[BINS / 2..].fill(0);
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

/// The power of two that is at least so large, of the normal numbers.
fn power_of_two(number: f32) -> f32 {
    const MANTISSA: u32 = (1 << 23) - 1;
    let above = f32::from_bits((number.to_bits() + MANTISSA) & !MANTISSA);
    above.max(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_several_threads_go_together() {
        let parts: [Vec<f32>; 4] = [
            vec![0.0; 100],
            (0..3000).map(|i| i as f32 / 3000.0).collect(),
            (0..5000).map(|i| -(i as f32) * 0.37).collect(),
            vec![1e-3; 10],
        ];
        let mut whole = Histogram::new(true);
        parts.iter().for_each(|part| whole.add(part).unwrap());
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]] {
            let mut merged = Histogram::new(true);
            for part in order {
                let mut own = Histogram::new(true);
                own.add(&parts[part]).unwrap();
                merged.merge(own);
            }
            assert_eq!(merged.counts(), whole.counts());
            assert_eq!((merged.ends(), merged.looked_at), (whole.ends(), whole.looked_at));
            let near = |a: f32, b: f32| (a - b).abs() <= 1e-5 * b.abs();
            let [a, b] = [merged.moments(), whole.moments()];
            assert!(near(a[0], b[0]) && near(a[1], b[1]), "{a:?} and {b:?}");
        }
        for number in [1e-40, 1e-20, 0.3, 0.5, 1.0, 3.0, 1e30] {
            let power = power_of_two(number);
            assert!(power >= number && (power / 2.0 < number || power == f32::MIN_POSITIVE));
            assert_eq!(power.to_bits() & ((1 << 23) - 1), 0, "{number}");
        }
    }

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
    fn large_tensors_are_counted_in_part_and_measured_whole() {
        let mut values: Vec<f32> = (0..1_000_003).map(|i| (i % 1000) as f32 / 1000.0).collect();
        values[1] = -7.5;
        let mut whole = Histogram::new(true);
        whole.add(&values).unwrap();
        assert_eq!(whole.ends(), [-7.5, 0.999]);
        let [mean, deviation] = whole.moments();
        assert!((mean - 0.4995).abs() < 1e-4 && (deviation - 0.2888).abs() < 1e-3);
        // Each that is counted stands for its neighbours, also where fewer are counted later.
        assert!((100_000..=COUNTED as u64).contains(&whole.looked_at), "{}", whole.looked_at);
        let counted = |histogram: &Histogram| histogram.counts().0.iter().sum::<u64>() as f64;
        assert!((counted(&whole) / 1_000_003.0 - 1.0).abs() < 1e-3, "{}", counted(&whole));
        for _ in 0..10 {
            whole.add(&values).unwrap();
        }
        assert!((MANY..MANY + 4 * COUNTED as u64).contains(&whole.looked_at));
        assert!((counted(&whole) / 11_000_033.0 - 1.0).abs() < 1e-3, "{}", counted(&whole));
        values[700_000] = f32::NAN;
        assert!(Histogram::new(true).add(&values).is_err());
    }

    #[test]
    fn moments_are_of_the_finite_numbers() {
        let mut histogram = Histogram::new(false);
        histogram.add(&[1.0, 3.0, f32::NEG_INFINITY]).unwrap();
        assert_eq!(histogram.moments(), [2.0, 1.0]);
        assert_eq!(histogram.ends(), [f32::MIN, 3.0]);
        assert!(histogram.add(&[f32::NAN]).is_err());
    }
}
