//! Recurrent layers as ONNX's LSTM and GRU. How they are found in a capture is in
//! `burn/recurrent.rs`.

use ::burn::backend::ir::{CustomOpIr, TensorIr};

use super::super::recurrent;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::lower::{Recurrent, batch_first};
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn recurrent(&mut self, operation: &CustomOpIr) -> Result<()> {
        let Some(layer) = recurrent::layer(operation) else {
            return Err(unsupported(format!("the custom operation {} is not known", operation.id)));
        };
        let hidden = layer.gates[0][0].shape[1];
        let column = |at: usize| layer.gates.iter().filter_map(move |gate| gate.get(at));
        let weights = self.packed("weight_ih", column(0), true)?;
        let recurrent = self.packed("weight_hh", column(1), true)?;
        let bias = match layer.gates[0].len() {
            4 => Some(self.packed("bias", column(2).chain(column(3)), false)?),
            _ => None,
        };

        let x = self.value(layer.input)?;
        let initial = layer.initial.iter().map(|state| self.value(state));
        let initial = initial.collect::<Result<Vec<_>>>()?;
        let written = Recurrent {
            kind: layer.kind,
            hidden,
            reverse: layer.reverse,
            x: &x,
            weights: [&weights, &recurrent],
            bias: bias.as_ref(),
            initial: &initial,
        };
        let made = written.write()?;

        let is_read = |out: &&TensorIr| self.trace.is_read(out.id);
        let [all, last, cell] = [0, 1, 2].map(|i| layer.outputs.get(i).filter(is_read));
        if let Some(out) = all {
            self.bind(out, batch_first(&made[0])?)?;
        }
        if let Some(out) = last {
            self.bind(out, made[1].squeeze(&[0])?)?;
        }
        if let Some(out) = cell {
            self.bind(out, made[2].squeeze(&[0])?)?;
        }
        Ok(())
    }

    /// The weights of all gates in one, `[1, gates * hidden, ..]`. Burn keeps `[inputs, hidden]`,
    /// ONNX `[hidden, inputs]`.
    fn packed<'t>(
        &mut self,
        hint: &str,
        parts: impl Iterator<Item = &'t TensorIr>,
        transposed: bool,
    ) -> Result<Value> {
        let parts = parts.map(|part| self.value(part)).collect::<Result<Vec<_>>>()?;
        let known: Option<Vec<&HostTensor>> = parts.iter().map(Value::as_constant).collect();
        if let Some(known) = known {
            let mut shape = vec![1, 0];
            let mut bytes = Vec::new();
            for part in known {
                shape.truncate(2);
                match (part.shape(), transposed) {
                    (&[inputs, hidden], true) => {
                        append_transposed(part, &mut bytes);
                        shape[1] += hidden;
                        shape.push(inputs);
                    }
                    (sizes, _) => {
                        bytes.extend_from_slice(part.bytes());
                        shape[1] += sizes.iter().product::<usize>();
                    }
                }
            }
            let dtype = parts[0].dtype();
            return Ok(self.graph.constant(hint, HostTensor::from_bytes(dtype, shape, bytes)?));
        }
        let turned = parts.iter().map(|part| match transposed {
            true => part.transpose(&[1, 0]),
            false => Ok(part.clone()),
        });
        let turned = turned.collect::<Result<Vec<_>>>()?;
        self.graph.concat(&turned.iter().collect::<Vec<_>>(), 0)?.unsqueeze(&[0])
    }
}

/// Appends the elements of a matrix, column by column.
fn append_transposed(matrix: &HostTensor, out: &mut Vec<u8>) {
    let (columns, size) = (matrix.shape()[1], matrix.dtype().size());
    for column in 0..columns {
        for row in matrix.bytes().chunks_exact(columns * size) {
            out.extend_from_slice(&row[column * size..][..size]);
        }
    }
}
