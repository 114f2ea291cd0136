//! Products with weights, in the form that the target runs fastest.

use bytes::Bytes;

use super::ProductForm;
use super::shaped::shaped;
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// A linear layer: its weight, `[out, in]`, and perhaps a bias, `[out]`.
pub(super) struct Linear {
    pub(super) name: String,
    pub(super) weight: HostTensor,
    pub(super) bias: Option<HostTensor>,
}

impl Linear {
    /// Layers over one input as one, whose outputs stand one after the other.
    pub(super) fn joined(name: String, parts: Vec<Self>) -> Result<Self> {
        let mut rows = 0;
        let mut bytes = Vec::new();
        let mut bias = Vec::new();
        let (dtype, inputs) = (parts[0].weight.dtype(), parts[0].weight.shape()[1]);
        for part in &parts {
            rows += part.weight.shape()[0];
            bytes.extend_from_slice(part.weight.bytes());
            bias.extend_from_slice(part.bias.as_ref().map_or(&[][..], |bias| bias.bytes()));
        }
        let weight = HostTensor::from_bytes(dtype, [rows, inputs], Bytes::from(bytes))?;
        let bias = match bias.is_empty() {
            true => None,
            false => Some(HostTensor::from_bytes(dtype, [rows], Bytes::from(bias))?),
        };
        Ok(Self { name, weight, bias })
    }

    /// The layer of `x`, `[b, t, in]`.
    pub(super) fn of(&self, graph: &GraphBuilder, x: &Value, form: ProductForm) -> Result<Value> {
        let [out, inputs] = *self.weight.shape() else {
            let text = format!("a weight has two axes, not {:?}", self.weight.shape());
            return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(&*self.name));
        };
        let dims = [&x.dims()[..2], &[Dim::from(out)]].concat();
        let back = |product: &Value| shaped(product, dims.clone());
        let bias = self
            .bias
            .as_ref()
            .map(|bias| graph.constant(&format!("{}.bias", self.name), bias.clone()));
        let add =
            |product: Value| bias.as_ref().map_or(Ok(product.clone()), |bias| product.add(bias));
        let flat = || x.reshape(&[None, Some(inputs.into())]);
        match form {
            ProductForm::Gemm => {
                let weight = graph.constant(&self.name, self.weight.clone());
                back(&flat()?.linear_by_outputs(&weight, bias.as_ref())?)
            }
            ProductForm::MatMul => {
                let weight = graph.constant(&self.name, turned(&self.weight)?);
                add(x.matmul(&weight)?)
            }
            ProductForm::Columns => {
                let weight = graph.constant(&self.name, self.weight.clone());
                let columns = flat()?.transpose(&[1, 0])?;
                add(back(&weight.matmul(&columns)?.transpose(&[1, 0])?)?)
            }
            ProductForm::Parts(parts) => {
                if !inputs.is_multiple_of(parts) {
                    let text = format!("{inputs} inputs are not divided into {parts} parts");
                    return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&*self.name));
                }
                let part = inputs / parts;
                let weight = turned(&self.weight)?.reshape([parts, part, out])?;
                let weight = graph.constant(&self.name, weight);
                let x = x
                    .reshape(&[None, Some(parts.into()), Some(part.into())])?
                    .transpose(&[1, 0, 2])?;
                add(back(&x.matmul(&weight)?.reduced("ReduceSum", &[0], false)?)?)
            }
        }
    }
}

/// A matrix with its axes turned.
fn turned(matrix: &HostTensor) -> Result<HostTensor> {
    const TILE: usize = 64;
    let [rows, columns] = *matrix.shape() else {
        return Err(Error::new(ErrorKind::ShapeMismatch, "a weight has two axes"));
    };
    let (bytes, size) = (matrix.bytes(), matrix.dtype().size());
    let mut out = vec![0u8; bytes.len()];
    for row_tile in (0..rows).step_by(TILE) {
        for column_tile in (0..columns).step_by(TILE) {
            for row in row_tile..rows.min(row_tile + TILE) {
                for column in column_tile..columns.min(column_tile + TILE) {
                    let (from, to) =
                        ((row * columns + column) * size, (column * rows + row) * size);
                    out[to..to + size].copy_from_slice(&bytes[from..from + size]);
                }
            }
        }
    }
    HostTensor::from_bytes(matrix.dtype(), [columns, rows], Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_turned() -> Result<()> {
        let values: Vec<f32> = (0..70 * 130).map(|i| i as f32).collect();
        let turned = turned(&HostTensor::from_vec([70, 130], values)?)?;
        assert_eq!(turned.shape(), [130, 70]);
        let turned = turned.to_vec::<f32>()?;
        assert_eq!(turned[129 * 70 + 69], (69 * 130 + 129) as f32);
        assert_eq!(turned[1], 130.0);
        Ok(())
    }
}
