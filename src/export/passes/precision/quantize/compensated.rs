//! Codes whose errors make up for each other: each number is rounded after what those before it erred by, as far as
//! their columns go together in what the layer reads (Frantar et al., "GPTQ", 2023). Columns with the largest numbers
//! come first.

use ndarray::{Array2, s};

use super::matrix::Matrix;
use super::numbers::Grid;
use crate::export::passes::precision::moments::Factor;

/// Columns whose errors are applied to each other one by one; all others get them by a product of matrices.
const TOGETHER: usize = 64;

impl Matrix<'_> {
    /// A code for each number.
    pub(super) fn compensated(&self, grid: Grid, scales: &[f32], factor: &Factor) -> Vec<u8> {
        let (inputs, outputs) = (self.inputs, self.outputs);
        let mut codes = vec![0u8; self.values.len()];
        // What each rounded number lacks, by columns in the factor's order.
        let mut errors = Array2::<f32>::zeros((inputs, outputs));
        let mut end = inputs;
        while end > 0 {
            let start = end.saturating_sub(TOGETHER);
            let later = factor.upper.slice(s![start..end, end..]);
            let mut owed = later.dot(&errors.slice(s![end.., ..]));
            for i in (start..end).rev() {
                let input = factor.order[i];
                let mut own = owed.row_mut(i - start);
                for j in i + 1..end {
                    own.scaled_add(factor.upper[[i, j]], &errors.row(j));
                }
                for (output, owed) in own.iter().enumerate() {
                    let (at, scale) =
                        (self.place(output, input), self.scale_of(scales, output, input));
                    codes[at] = grid.code((self.values[at] + owed) / scale);
                    errors[[i, output]] = self.values[at] - grid.number(codes[at]) * scale;
                }
            }
            end = start;
        }
        codes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::passes::precision::moments::Moments;

    fn numbers(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
        let mut state = seed;
        Array2::from_shape_simple_fn((rows, columns), || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
    }

    /// What the layer gives is nearer to what it gave, on other rows of the same kind.
    #[test]
    fn products_are_nearer_than_with_the_nearest_codes() {
        let (inputs, outputs) = (160, 24);
        // Columns go together: each row is a mixture of forty.
        let mixture = numbers(40, inputs, 1);
        let rows = |seed| numbers(400, 40, seed).dot(&mixture);
        let mut moments = Moments::default();
        moments.add("x", rows(2).view());
        let factor = moments.get("x", inputs).unwrap().factor().unwrap();
        for by_outputs in [true, false] {
            let shape = if by_outputs { (outputs, inputs) } else { (inputs, outputs) };
            let weight = numbers(shape.0, shape.1, 3);
            let values = weight.as_slice().unwrap();
            let matrix = Matrix { values, outputs, inputs, by_outputs, block: 32 };
            let scales = matrix.scales(Grid::Int4, None);
            let apart = |codes: &[u8]| {
                let other = rows(4);
                let lost = Array2::from_shape_fn((inputs, outputs), |(input, output)| {
                    let at = matrix.place(output, input);
                    let scale = matrix.scale_of(&scales, output, input);
                    Grid::Int4.number(codes[at]) * scale - values[at]
                });
                other.dot(&lost).mapv(|v| v * v).sum()
            };
            let nearest = apart(&matrix.codes(Grid::Int4, &scales));
            let compensated = apart(&matrix.compensated(Grid::Int4, &scales, factor));
            assert!(compensated < 0.5 * nearest, "{compensated} of {nearest}");
        }
    }
}
