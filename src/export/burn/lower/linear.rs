//! Fully connected layers, with the weight laid out as the target computes fastest.

use ::burn::backend::ir::{LinearOpIr, TensorIr};

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::spec::DType;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn linear(&mut self, op: &LinearOpIr) -> Result<Value> {
        let bias = op.bias.as_ref().map(|bias| self.value(bias)).transpose()?;
        let x = self.value(&op.x)?;
        match self.by_outputs(&op.weight)? {
            Some(weight) => x.linear(&weight, bias.as_ref(), true),
            None => x.linear(&self.value(&op.weight)?, bias.as_ref(), false),
        }
    }

    /// A weight of Burn's layout, `[in, out]`, as `[out, in]`, where that is worth a copy.
    fn by_outputs(&mut self, weight: &TensorIr) -> Result<Option<Value>> {
        if !self.graph.target().wants_weights_by_outputs() {
            return Ok(None);
        }
        if let Some(value) = self.by_outputs.get(&weight.id) {
            return Ok(Some(value.clone()));
        }
        let trace = self.trace;
        let (Some(data), Some(name)) = (trace.values.get(&weight.id), trace.names.get(&weight.id))
        else {
            return Ok(None);
        };
        if data.dtype() != DType::F32 || name.is_empty() {
            return Ok(None);
        }
        let &[rows, columns] = data.shape() else { return Ok(None) };
        let turned = transposed(&data.to_vec::<f32>()?, rows, columns);
        let turned = HostTensor::from_vec([columns, rows], turned)?;
        let value = self.graph.parameter(&format!("{name}.transposed"), turned);
        self.by_outputs.insert(weight.id, value.clone());
        Ok(Some(value))
    }
}

/// `[rows, columns]` as `[columns, rows]`, in squares that fit the cache.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const SQUARE: usize = 32;
    let mut turned = vec![0.0; values.len()];
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..columns).step_by(SQUARE) {
            for row in top..rows.min(top + SQUARE) {
                for column in left..columns.min(left + SQUARE) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    turned
}

#[cfg(test)]
mod tests {
    #[test]
    fn rows_become_columns_within_and_across_squares() {
        for (rows, columns) in [(1, 1), (3, 2), (33, 70), (64, 31)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let turned = super::transposed(&values, rows, columns);
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(turned[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }
}
