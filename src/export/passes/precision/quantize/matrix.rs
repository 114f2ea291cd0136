//! Matrices in few bits, with a scale for each channel or block. The work is divided among all cores. No graphs.

use std::ops::Range;

use super::numbers::{Grid, scale};
use crate::parallel;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::passes::precision::quantize::numbers::packed;

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
}
