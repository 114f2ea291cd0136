//! Resizing pictures, with Burn's coordinates.

use ::burn::backend::ir::{InterpolateModeIr, InterpolateOpIr};

use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::graph::{Resized, factor};
use crate::spec::Dim;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn interpolate(&mut self, op: &InterpolateOpIr) -> Result<Value> {
        let linear = if op.options.align_corners { "align_corners" } else { "half_pixel" };
        let mode = match op.options.mode {
            InterpolateModeIr::Lanczos3 => return self.lanczos(op),
            InterpolateModeIr::Nearest => None,
            // ONNX rounds to the nearest with two rules: where halves go, and where cells lie.
            InterpolateModeIr::NearestExact => Some(("nearest", "half_pixel")),
            InterpolateModeIr::Bilinear => Some(("linear", linear)),
            InterpolateModeIr::Bicubic => Some(("cubic", linear)),
        };
        let x = self.value(&op.x)?;
        let mut axes = Vec::with_capacity(2);
        for axis in 2..4 {
            let (from, to) = (self.extent(&op.x, axis), self.extent(&op.out, axis));
            let dim = self.sized(&to).map_err(|e| e.at_axis(axis))?;
            axes.push(Resized { to: dim, factor: factor(&from, &to) });
        }
        let inputs = self.input_values();
        let sources: Vec<&Value> = std::iter::once(&x).chain(&inputs).collect();
        let Some((mode, coordinates)) = mode else {
            let size = |dim: &Dim| self.graph.shape_tensor(std::slice::from_ref(dim), &sources);
            return x.resize_nearest(&axes, size);
        };
        let attributes = [
            ("mode", mode),
            ("coordinate_transformation_mode", coordinates),
            ("nearest_mode", "round_prefer_ceil"),
        ];
        x.resize(&axes, None, &attributes, || {
            let spatial = axes.iter().map(|axis| axis.to.clone());
            let dims: Vec<Dim> = x.dims()[..2].iter().cloned().chain(spatial).collect();
            self.graph.shape_tensor(&dims, &sources)
        })
    }

    /// ONNX has no such mode: a product with a matrix of weights along either axis.
    fn lanczos(&mut self, op: &InterpolateOpIr) -> Result<Value> {
        let mut x = self.value(&op.x)?;
        for (i, &size) in op.output_size.iter().enumerate() {
            let fixed = self.extent(&op.out, i + 2).fixed().and(x.dims()[i + 2].fixed());
            let Some(length) = fixed else {
                let text = "Lanczos interpolation of a dynamic size has no ONNX form yet";
                return Err(unsupported(text).at_axis(i + 2));
            };
            let weights = lanczos_weights(length, size, op.options.align_corners);
            // Rows take from rows: [size, length] x [.., length, width]; columns the other way.
            let shape = if i == 0 { [size, length] } else { [length, size] };
            let weights = match i {
                0 => weights.concat(),
                _ => (0..length).flat_map(|at| weights.iter().map(move |row| row[at])).collect(),
            };
            let weights = self.graph.constant("weights", HostTensor::from_vec(shape, weights)?);
            let weights = weights.cast(x.dtype())?;
            x = if i == 0 { weights.matmul(&x)? } else { x.matmul(&weights)? };
        }
        Ok(x)
    }
}

/// What each of `size` cells takes from each of `length` cells: six neighbors, those beyond the edge
/// left out, with weights that sum to 1.
///
/// Source: sinc(x) sinc(x / 3); C. E. Duchon, Lanczos Filtering in One and Two Dimensions, 1979.
fn lanczos_weights(length: usize, size: usize, align_corners: bool) -> Vec<Vec<f32>> {
    let ratio = match align_corners {
        true => (length as f64 - 1.0) / (size.max(2) - 1) as f64,
        false => length as f64 / size as f64,
    };
    let kernel = |x: f64| {
        let x = x.abs() * std::f64::consts::PI;
        if x == 0.0 { 1.0 } else { x.sin() * (x / 3.0).sin() / (x * x / 3.0) }
    };
    (0..size)
        .map(|cell| {
            let at = match align_corners {
                true => cell as f64 * ratio,
                false => (cell as f64 + 0.5) * ratio - 0.5,
            };
            let mut row = vec![0.0f64; length];
            for i in at.floor() as i64 - 2..=at.floor() as i64 + 3 {
                if (0..length as i64).contains(&i) && (at - i as f64).abs() < 3.0 {
                    row[i as usize] = kernel(at - i as f64);
                }
            }
            let sum: f64 = row.iter().sum();
            let sum = if sum == 0.0 { 1.0 } else { sum };
            row.into_iter().map(|weight| (weight / sum) as f32).collect()
        })
        .collect()
}
