//! Numbers in few bits: integers of 8 and 4 bits and 8-bit floats, and their scales. No graphs.

use half::{bf16, f16};

use super::e4m3::{e4m3, of_e4m3};
use crate::error::Result;
use crate::export::onnx::tensor_proto::DataType;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// What numbers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grid {
    Int8,
    Int4,
    /// With the code -8, which has no opposite: a sixteenth of all codes.
    WholeInt4,
    Fp8,
}

impl Grid {
    /// The largest number.
    pub(super) const fn most(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Int4 | Self::WholeInt4 => 7.0,
            Self::Fp8 => 448.0,
        }
    }

    pub(super) const fn onnx(self) -> DataType {
        match self {
            Self::Int8 => DataType::Int8,
            Self::Int4 | Self::WholeInt4 => DataType::Int4,
            Self::Fp8 => DataType::Float8e4m3fn,
        }
    }

    /// The code of a number that was divided by its scale.
    pub(super) fn code(self, value: f32) -> u8 {
        match self {
            Self::Fp8 => e4m3(value),
            Self::WholeInt4 => nearest(value.clamp(-8.0, 7.0)),
            _ => nearest(value.clamp(-self.most(), self.most())),
        }
    }

    /// The number of a code.
    pub(super) fn number(self, code: u8) -> f32 {
        match self {
            Self::Fp8 => of_e4m3(code),
            _ => f32::from(code as i8),
        }
    }
}

/// The nearest integer to a number of at most 127, the even one of two. `round_ties_even` is a call for each number where
/// the compiler may use only what all x86-64 processors have.
fn nearest(value: f32) -> u8 {
    /// Behind this, the numbers of 32 bits are the integers.
    const INTEGERS: f32 = 12_582_912.0;
    ((value + INTEGERS) - INTEGERS) as i8 as u8
}

/// Codes of 4 bits, two in a byte, the first one below.
pub(super) fn packed(codes: &[u8]) -> Vec<u8> {
    let pairs = codes.chunks(2);
    pairs.map(|pair| pair[0] & 15 | pair.get(1).copied().unwrap_or(0) << 4).collect()
}

/// Parts of the largest magnitude that a scale may reach to. What is beyond is cut off where all others gain more.
const REACHES: [f32; 11] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5];

/// The scale with the least square of errors; for 8 bits the one that cuts off nothing.
pub(super) fn scale(grid: Grid, values: &[f32], squares: Option<&[f32]>) -> f32 {
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    if matches!(grid, Grid::Int8 | Grid::Fp8) {
        return largest / grid.most();
    }
    let whole = rounded(largest / grid.most());
    if largest == 0.0 {
        return whole;
    }
    let error = |scale: f32| -> f32 {
        let lost = |value: &f32| (grid.number(grid.code(value / scale)) * scale - value).powi(2);
        match squares {
            Some(squares) => values.iter().zip(squares).map(|(v, square)| lost(v) * square).sum(),
            None => values.iter().map(lost).sum(),
        }
    };
    let scales = REACHES.map(|reach| rounded(largest * reach / grid.most()));
    let of_errors = scales.map(|scale| (error(scale), scale));
    let best = of_errors.into_iter().min_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map_or(whole, |(_, scale)| scale)
}

/// The least scale, which half precision has to 4 bits.
pub(super) const LEAST_SCALE: f16 = f16::from_bits(16);

/// A scale as half precision has it, and never 0: what is divided by it is multiplied by the same.
fn rounded(scale: f32) -> f32 {
    f16::from_f32(scale).clamp(LEAST_SCALE, f16::MAX).to_f32()
}

/// One scale for a whole matrix and a factor for each output, which take the place of a scale for each output.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) scale: f32,
    pub(super) factors: Vec<f32>,
}

impl Shared {
    /// A scale of at most `most`, in the middle of those of the outputs. All numbers are such that half precision has them.
    pub(super) fn of(scales: &[f32], most: f32) -> Self {
        let used = || scales.iter().copied().filter(|scale| *scale > 0.0);
        let [least, largest] = [used().fold(f32::MAX, f32::min), used().fold(0.0, f32::max)];
        let middle = if largest > 0.0 { least.sqrt() * largest.sqrt() } else { 1.0 };
        let scale = rounded(middle);
        let scale = if scale <= most { scale } else { below(most) };
        let factor = |own: &f32| match *own > 0.0 {
            true => rounded(own / scale),
            false => 1.0,
        };
        Self { scale, factors: scales.iter().map(factor).collect() }
    }

    /// The scales of the outputs.
    pub(super) fn scales(&self) -> Vec<f32> {
        self.factors.iter().map(|factor| factor * self.scale).collect()
    }
}

/// The largest number of half precision that is no more than another, and never 0.
fn below(most: f32) -> f32 {
    let near = f16::from_f32(most);
    let near = if near.to_f32() > most { f16::from_bits(near.to_bits() - 1) } else { near };
    near.max(LEAST_SCALE).to_f32()
}

/// Scales in the type that is computed in.
pub(super) fn scales(dtype: DType, shape: Vec<usize>, scales: &[f32]) -> Result<HostTensor> {
    match dtype {
        DType::F16 => {
            let half = scales.iter().map(|&scale| f16::from_f32(scale).max(f16::from_bits(1)));
            HostTensor::from_vec(shape, half.collect::<Vec<_>>())
        }
        DType::BF16 => HostTensor::from_vec(
            shape,
            scales.iter().map(|&s| bf16::from_f32(s)).collect::<Vec<_>>(),
        ),
        _ => HostTensor::from_vec(shape, scales.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_nearest_integers_and_the_even_one_of_two() {
        for i in -1200..=1200 {
            let value = i as f32 / 100.0;
            let whole = value.round_ties_even();
            for (grid, least, most) in
                [(Grid::Int4, -7.0, 7.0), (Grid::WholeInt4, -8.0, 7.0), (Grid::Int8, -127.0, 127.0)]
            {
                assert_eq!(grid.code(value) as i8 as f32, whole.clamp(least, most), "{value}");
            }
        }
        for far in [1e9, f32::INFINITY] {
            assert_eq!([far, -far].map(|value| Grid::Int8.code(value) as i8), [127, -127]);
        }
    }

    /// Scales that lie far apart, a limit below all of them, and an output of zeros.
    #[test]
    fn one_scale_and_factors_are_the_scales_of_the_outputs() {
        let scales = [1e-3, 0.0, 4e-5, 0.7];
        for most in [1.0, 1e-3, 3.3e-5] {
            let shared = Shared::of(&scales, most);
            assert!(shared.scale <= most && shared.scale > 0.0, "{shared:?}");
            for (own, given) in scales.iter().zip(shared.scales()).filter(|(own, _)| **own > 0.0) {
                assert!((given / own - 1.0).abs() < 1e-3, "{own} is {given} in {shared:?}");
            }
            let halves = shared.factors.iter().chain([&shared.scale]);
            assert!(halves.into_iter().all(|v| f16::from_f32(*v).to_f32() == *v), "{shared:?}");
        }
        assert_eq!(Shared::of(&[0.0, 0.0], 1.0).scales(), [1.0, 1.0]);
    }
}
