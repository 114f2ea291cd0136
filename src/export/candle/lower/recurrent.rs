//! LSTM and GRU over a sequence, from a step of a trace to one ONNX operator.

use super::Lowering;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;
use crate::export::candle::tape;
use crate::export::lower::{Recurrent, RecurrentKind};
use crate::tensor::HostTensor;

/// Candle's gates are input, forget, cell, output, and reset, update, new; ONNX's input, output,
/// forget, cell, and update, reset, new.
fn order(kind: RecurrentKind) -> &'static [usize] {
    match kind {
        RecurrentKind::Lstm => &[0, 3, 1, 2],
        RecurrentKind::Gru { .. } => &[1, 0, 2],
    }
}

/// The bytes of a parameter with its gates, which lie one after the other, in ONNX's order.
fn gates(parameter: &Value, kind: RecurrentKind) -> Result<Vec<u8>> {
    let constant = parameter.as_constant().ok_or_else(|| {
        let text = "a parameter of a recurrent layer is computed when the model runs";
        Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(parameter.name())
    })?;
    let order = order(kind);
    let size = constant.bytes().len() / order.len();
    Ok(order.iter().flat_map(|&gate| &constant.bytes()[gate * size..][..size]).copied().collect())
}

impl Lowering<'_> {
    /// `inputs` are the sequence, both weights, the biases there are, and the initial states. Gives
    /// all hidden states `[length, 1, batch, hidden]`, and each last state `[1, batch, hidden]`.
    pub(super) fn recurrent(
        &self,
        layer: &tape::Recurrent,
        inputs: &[Value],
    ) -> Result<Vec<Value>> {
        let (x, rest) = (&inputs[0], &inputs[3..]);
        let tape::Recurrent { kind, hidden, biases, .. } = *layer;
        let gate_count = kind.gates();
        let dtype = x.dtype();
        let named = |hint: &str, parameter: &Value, shape: &[usize]| {
            let tensor = HostTensor::from_bytes(dtype, shape, gates(parameter, kind)?)?;
            Ok::<_, Error>(self.graph.constant(&format!("{}_{hint}", parameter.name()), tensor))
        };
        let rows = gate_count * hidden;
        let features = x.dims()[2].fixed().ok_or_else(|| {
            let text = "the number of features of a recurrent layer must be fixed";
            Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(x.name()).at_axis(2)
        })?;
        let w = named("gates", &inputs[1], &[1, rows, features])?;
        let r = named("gates", &inputs[2], &[1, rows, hidden])?;
        let mut rest = rest.iter();
        let mut bytes = Vec::new();
        for present in biases {
            match if present { rest.next() } else { None } {
                Some(bias) => bytes.extend(gates(bias, kind)?),
                None => bytes.resize(bytes.len() + rows * dtype.size(), 0),
            }
        }
        let bias = HostTensor::from_bytes(dtype, [1, 2 * rows], bytes)?;
        let bias = self.graph.constant("bias", bias);
        let initial: Vec<Value> = rest.cloned().collect();
        let (weights, bias, reverse) = ([&w, &r], Some(&bias), false);
        // The reset gate multiplies the state's part after its bias is added.
        Recurrent { kind, hidden, reverse, x, weights, bias, initial: &initial }.write()
    }
}
