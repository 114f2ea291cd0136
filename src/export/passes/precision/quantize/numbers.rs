//! Numbers in few bits: integers of 8 and 4 bits, and the 8-bit floats E4M3 (Micikevicius et al., "FP8 Formats for Deep
//! Learning", 2022), each with a scale for a channel or a block. No graphs.

use half::{bf16, f16};

use crate::error::Result;
use crate::export::onnx::tensor_proto::DataType;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// What numbers are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grid {
    Int8,
    Int4,
    Fp8,
}

impl Grid {
    /// The largest number.
    pub(super) const fn most(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Int4 => 7.0,
            Self::Fp8 => 448.0,
        }
    }

    pub(super) const fn onnx(self) -> DataType {
        match self {
            Self::Int8 => DataType::Int8,
            Self::Int4 => DataType::Int4,
            Self::Fp8 => DataType::Float8e4m3fn,
        }
    }

    /// The code of a number that was divided by its scale.
    fn code(self, value: f32) -> u8 {
        match self {
            Self::Fp8 => e4m3(value),
            _ => value.round_ties_even().clamp(-self.most(), self.most()) as i8 as u8,
        }
    }

    /// The number of a code.
    fn number(self, code: u8) -> f32 {
        match self {
            Self::Fp8 => of_e4m3(code),
            _ => f32::from(code as i8),
        }
    }
}

/// Codes of a matrix, in the bytes of ONNX, and the scales.
pub(super) struct Quantized {
    pub(super) codes: Vec<u8>,
    pub(super) scales: Vec<f32>,
    pub(super) scale_shape: Vec<usize>,
    /// Signal to noise, as powers.
    pub(super) kept: f64,
}

/// Parts of the largest magnitude that a scale may reach to. What is beyond is cut off where all others gain more.
const REACHES: [f32; 11] = [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5];

/// A matrix with a scale for each channel along an axis, or for each block of it along the other one.
pub(super) fn quantized(
    grid: Grid,
    values: &[f32],
    [rows, columns]: [usize; 2],
    channels: usize,
    block: Option<usize>,
) -> Quantized {
    let (outputs, inputs) = if channels == 0 { (rows, columns) } else { (columns, rows) };
    let place = |output: usize, input: usize| match channels {
        0 => output * columns + input,
        _ => input * columns + output,
    };
    let block = block.unwrap_or(inputs);
    let blocks = inputs / block;
    let mut codes = vec![0u8; values.len()];
    let mut scales = vec![1f32; outputs * blocks];
    let (mut signal, mut noise) = (0f64, 0f64);
    for output in 0..outputs {
        for part in 0..blocks {
            let inputs = part * block..(part + 1) * block;
            let within = || inputs.clone().map(|input| place(output, input));
            let scale = scale(grid, &within().map(|at| values[at]).collect::<Vec<_>>());
            let at = if channels == 0 { output * blocks + part } else { part * outputs + output };
            scales[at] = scale;
            for at in within() {
                codes[at] = grid.code(values[at] / scale);
                let lost = grid.number(codes[at]) * scale - values[at];
                signal += f64::from(values[at]).powi(2);
                noise += f64::from(lost).powi(2);
            }
        }
    }
    let scale_shape = match (blocks, channels) {
        _ if block == inputs && grid != Grid::Int4 => vec![outputs],
        (_, 0) => vec![outputs, blocks],
        _ => vec![blocks, outputs],
    };
    if grid == Grid::Int4 {
        let pairs = codes.chunks(2);
        codes = pairs.map(|pair| pair[0] & 15 | pair.get(1).copied().unwrap_or(0) << 4).collect();
    }
    Quantized { codes, scales, scale_shape, kept: signal / noise.max(f64::MIN_POSITIVE) }
}

/// The scale with the least square of errors; for 8 bits the one that cuts off nothing.
fn scale(grid: Grid, values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let whole = rounded(largest / grid.most());
    if grid != Grid::Int4 || largest == 0.0 {
        return whole;
    }
    let error = |scale: f32| -> f32 {
        let lost = |value: &f32| (grid.number(grid.code(value / scale)) * scale - value).powi(2);
        values.iter().map(lost).sum()
    };
    let scales = REACHES.map(|reach| rounded(largest * reach / grid.most()));
    scales.into_iter().min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap_or(whole)
}

/// The least scale, which half precision has to 4 bits.
const LEAST_SCALE: f16 = f16::from_bits(16);

/// A scale as half precision has it, and never 0: what is divided by it is multiplied by the same.
fn rounded(scale: f32) -> f32 {
    f16::from_f32(scale).clamp(LEAST_SCALE, f16::MAX).to_f32()
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

/// The nearest E4M3, the one with an even mantissa of two, and the largest for what is beyond.
fn e4m3(value: f32) -> u8 {
    let sign = if value.is_sign_negative() { 0x80 } else { 0 };
    let magnitude = value.abs();
    if magnitude.is_nan() {
        return sign | 0x7f;
    }
    // The least step is that of the numbers below 2^-6.
    let exponent = (magnitude.log2().floor().max(-6.0)) as i32;
    let step = 2f32.powi(exponent - 3);
    let count = (magnitude / step).round_ties_even();
    let (exponent, count) = if count >= 16.0 { (exponent + 1, 8.0) } else { (exponent, count) };
    let code =
        if count < 8.0 { count as u32 } else { ((exponent + 7) as u32) << 3 | (count as u32 - 8) };
    sign | code.min(0x7e) as u8
}

/// The number of a code of E4M3.
fn of_e4m3(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match (exponent, code & 7) {
        (15, 7) => f32::NAN,
        (0, _) => mantissa * 2f32.powi(-9),
        _ => (8.0 + mantissa) * 2f32.powi(exponent - 10),
    };
    if code & 0x80 != 0 { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_8_bit_float_is_its_own_nearest() {
        for code in (0u8..=255).filter(|code| code & 0x7f != 0x7f) {
            assert_eq!(e4m3(of_e4m3(code)), code, "{code:#x} is {}", of_e4m3(code));
        }
        assert_eq!(of_e4m3(0x7e), 448.0);
        assert_eq!([e4m3(1e9), e4m3(-1e9), e4m3(449.0), e4m3(1e-9)], [0x7e, 0xfe, 0x7e, 0]);
    }

    #[test]
    fn what_lies_between_goes_to_the_nearest_and_a_tie_to_the_even_one() {
        for code in 0u8..0x7e {
            let (low, high) = (of_e4m3(code), of_e4m3(code + 1));
            let middle = (low + high) / 2.0;
            assert_eq!(e4m3(middle - (high - low) / 8.0), code, "below {middle}");
            assert_eq!(e4m3(middle + (high - low) / 8.0), code + 1, "above {middle}");
            assert_eq!(e4m3(middle), code + (code & 1), "{middle}");
        }
    }

    #[test]
    fn four_bits_are_packed_with_the_first_below() {
        let values: Vec<f32> =
            (0..16).map(|i| if i == 15 { -7.0 } else { (i % 8) as f32 }).collect();
        let Quantized { codes, scales, scale_shape, .. } =
            quantized(Grid::Int4, &values, [16, 1], 1, Some(16));
        assert_eq!((scales, scale_shape), (vec![1.0], vec![1, 1]));
        assert_eq!(codes, [0x10, 0x32, 0x54, 0x76, 0x10, 0x32, 0x54, 0x96]);
    }

    #[test]
    fn each_channel_has_its_scale_in_either_layout() {
        let values = [127.0, 254.0, -127.0, 254.0];
        let by_columns = quantized(Grid::Int8, &values, [2, 2], 1, None);
        assert_eq!(
            (by_columns.scales, by_columns.codes),
            (vec![1.0, 2.0], vec![127, 127, 129, 127])
        );
        let by_rows = quantized(Grid::Int8, &values, [2, 2], 0, None);
        assert_eq!((by_rows.scales, by_rows.codes), (vec![2.0, 2.0], vec![64, 127, 192, 127]));
    }
}
