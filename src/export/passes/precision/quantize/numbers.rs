//! Matrices in few bits: integers of 8 and 4 bits and 8-bit floats, each with a scale for a channel or a block. No graphs.

use std::ops::Range;

use half::{bf16, f16};

use super::e4m3::{e4m3, of_e4m3};
use crate::error::Result;
use crate::export::onnx::tensor_proto::DataType;
use crate::parallel;
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

/// Rows of a matrix that are a piece of work.
const ROWS: usize = 64;

/// Rows, in pieces of work.
fn pieces(rows: usize) -> Vec<Range<usize>> {
    (0..rows).step_by(ROWS).map(|start| start..(start + ROWS).min(rows)).collect()
}

/// A matrix whose outputs have a scale for each block of inputs.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'v> {
    pub(super) values: &'v [f32],
    pub(super) outputs: usize,
    pub(super) inputs: usize,
    /// Whether it is `[outputs, inputs]` and not the other way round.
    pub(super) by_outputs: bool,
    /// Inputs that share a scale.
    pub(super) block: usize,
}

impl Matrix<'_> {
    /// Where a number is.
    pub(super) const fn place(&self, output: usize, input: usize) -> usize {
        match self.by_outputs {
            true => output * self.inputs + input,
            false => input * self.outputs + output,
        }
    }

    pub(super) const fn blocks(&self) -> usize {
        self.inputs / self.block
    }

    /// A scale for each block of each output, those of an output together. Where errors of some inputs count more than
    /// those of others, `squares` say how much.
    pub(super) fn scales(&self, grid: Grid, squares: Option<&[f32]>) -> Vec<f32> {
        let of = |outputs: &Range<usize>| {
            let mut scales = Vec::with_capacity(outputs.len() * self.blocks());
            let mut within = Vec::with_capacity(self.block);
            for output in outputs.clone() {
                for start in (0..self.inputs).step_by(self.block) {
                    let inputs = start..start + self.block;
                    let squares = squares.map(|squares| &squares[inputs.clone()]);
                    within.clear();
                    within.extend(inputs.map(|input| self.values[self.place(output, input)]));
                    scales.push(scale(grid, &within, squares));
                }
            }
            scales
        };
        parallel::map(&pieces(self.outputs), of).concat()
    }

    /// The nearest code of each number.
    pub(super) fn codes(&self, grid: Grid, scales: &[f32]) -> Vec<u8> {
        let of = |rows: &Range<usize>| {
            let mut codes = Vec::with_capacity(rows.len() * self.columns());
            for row in rows.clone() {
                for column in 0..self.columns() {
                    let scale = self.scale_at(scales, row, column);
                    codes.push(grid.code(self.values[row * self.columns() + column] / scale));
                }
            }
            codes
        };
        parallel::map(&pieces(self.rows()), of).concat()
    }

    /// Signal to noise, as powers.
    pub(super) fn kept(&self, grid: Grid, scales: &[f32], codes: &[u8]) -> f64 {
        let of = |rows: &Range<usize>| {
            let (mut signal, mut noise) = (0f64, 0f64);
            for row in rows.clone() {
                for column in 0..self.columns() {
                    let at = row * self.columns() + column;
                    let scale = self.scale_at(scales, row, column);
                    let lost = grid.number(codes[at]) * scale - self.values[at];
                    signal += f64::from(self.values[at]).powi(2);
                    noise += f64::from(lost).powi(2);
                }
            }
            (signal, noise)
        };
        let powers = parallel::map(&pieces(self.rows()), of);
        let signal: f64 = powers.iter().map(|(signal, _)| signal).sum();
        let noise: f64 = powers.iter().map(|(_, noise)| noise).sum();
        signal / noise.max(f64::MIN_POSITIVE)
    }

    /// Its rows, as it lies in memory.
    const fn rows(&self) -> usize {
        if self.by_outputs { self.outputs } else { self.inputs }
    }

    const fn columns(&self) -> usize {
        if self.by_outputs { self.inputs } else { self.outputs }
    }

    fn scale_at(&self, scales: &[f32], row: usize, column: usize) -> f32 {
        match self.by_outputs {
            true => self.scale_of(scales, row, column),
            false => self.scale_of(scales, column, row),
        }
    }

    /// Codes with the inputs as rows.
    pub(super) fn by_inputs(&self, codes: &[u8]) -> Vec<u8> {
        let of = |inputs: &Range<usize>| {
            let places = inputs
                .clone()
                .flat_map(|input| (0..self.outputs).map(move |output| self.place(output, input)));
            places.map(|place| codes[place]).collect::<Vec<u8>>()
        };
        parallel::map(&pieces(self.inputs), of).concat()
    }

    pub(super) fn scale_of(&self, scales: &[f32], output: usize, input: usize) -> f32 {
        scales[output * self.blocks() + input / self.block]
    }

    /// Scales of blocks in the order of the matrix, and their shape.
    pub(super) fn in_order(&self, scales: &[f32]) -> (Vec<usize>, Vec<f32>) {
        let (outputs, blocks) = (self.outputs, self.blocks());
        if self.by_outputs {
            return (vec![outputs, blocks], scales.to_vec());
        }
        let places = (0..blocks).flat_map(|part| (0..outputs).map(move |output| (part, output)));
        let turned = places.map(|(part, output)| scales[output * blocks + part]).collect();
        (vec![blocks, outputs], turned)
    }
}

/// Codes of 4 bits, two in a byte, the first one below.
pub(super) fn packed(codes: &[u8]) -> Vec<u8> {
    let pairs = codes.chunks(2);
    pairs.map(|pair| pair[0] & 15 | pair.get(1).copied().unwrap_or(0) << 4).collect()
}

/// Parts of the largest magnitude that a scale may reach to. What is beyond is cut off where all others gain more.
const REACHES: [f32; 11] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5];

/// The scale with the least square of errors; for 8 bits the one that cuts off nothing.
fn scale(grid: Grid, values: &[f32], squares: Option<&[f32]>) -> f32 {
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

    fn square(values: &[f32], by_outputs: bool) -> Matrix<'_> {
        Matrix { values, outputs: 2, inputs: 2, by_outputs, block: 2 }
    }

    #[test]
    fn four_bits_are_packed_with_the_first_below() {
        let values: Vec<f32> =
            (0..16).map(|i| if i == 15 { -7.0 } else { (i % 8) as f32 }).collect();
        let matrix =
            Matrix { values: &values, outputs: 1, inputs: 16, by_outputs: false, block: 16 };
        let scales = matrix.scales(Grid::Int4, None);
        assert_eq!(matrix.in_order(&scales), (vec![1, 1], vec![1.0]));
        let codes = matrix.codes(Grid::Int4, &scales);
        assert_eq!(packed(&codes), [0x10, 0x32, 0x54, 0x76, 0x10, 0x32, 0x54, 0x96]);
    }

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

    #[test]
    fn codes_by_inputs_are_those_of_the_matrix_that_is_turned() {
        let values: Vec<f32> = (0..130 * 70).map(|i| (i * 37 % 15) as f32 * 0.37 - 2.5).collect();
        let by_outputs =
            Matrix { values: &values, outputs: 130, inputs: 70, by_outputs: true, block: 35 };
        let turned: Vec<f32> = (0..70 * 130).map(|i| values[i % 130 * 70 + i / 130]).collect();
        let by_inputs = Matrix { values: &turned, by_outputs: false, ..by_outputs };
        let scales = by_outputs.scales(Grid::Int4, None);
        assert_eq!(by_inputs.scales(Grid::Int4, None), scales);
        let codes = by_outputs.codes(Grid::Int4, &scales);
        assert_eq!(by_outputs.by_inputs(&codes), by_inputs.codes(Grid::Int4, &scales));
        let kept = [by_outputs.kept(Grid::Int4, &scales, &codes), {
            by_inputs.kept(Grid::Int4, &scales, &by_outputs.by_inputs(&codes))
        }];
        assert!((kept[0] / kept[1] - 1.0).abs() < 1e-9, "{kept:?}");
    }

    #[test]
    fn each_channel_has_its_scale_in_either_layout() {
        let values = [127.0, 254.0, -127.0, 254.0];
        let by_columns = square(&values, false);
        let scales = by_columns.scales(Grid::Int8, None);
        assert_eq!(scales, [1.0, 2.0]);
        assert_eq!(by_columns.codes(Grid::Int8, &scales), [127, 127, 129, 127]);
        let by_rows = square(&values, true);
        let scales = by_rows.scales(Grid::Int8, None);
        assert_eq!(scales, [2.0, 2.0]);
        assert_eq!(by_rows.codes(Grid::Int8, &scales), [64, 127, 192, 127]);
    }

    #[test]
    fn scales_of_blocks_are_in_the_order_of_the_matrix() {
        let values = [7.0, 14.0, 21.0, 28.0];
        let matrix = Matrix { block: 1, ..square(&values, false) };
        let scales = matrix.scales(Grid::Int4, None);
        assert_eq!(scales, [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(matrix.in_order(&scales), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        let matrix = Matrix { block: 1, ..square(&values, true) };
        let scales = matrix.scales(Grid::Int4, None);
        assert_eq!(matrix.in_order(&scales), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
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
