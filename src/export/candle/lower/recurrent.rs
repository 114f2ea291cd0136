//! LSTM and GRU over a sequence, from a step of a trace to one ONNX operator.

use super::Lowering;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;
use crate::export::candle::layers::Kind;
use crate::export::candle::tape::Recurrent;
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// Candle's gates are input, forget, cell, output, and reset, update, new; ONNX's input, output,
/// forget, cell, and update, reset, new.
fn order(kind: Kind) -> &'static [usize] {
    match kind {
        Kind::Lstm => &[0, 3, 1, 2],
        Kind::Gru => &[1, 0, 2],
    }
}

/// The bytes of a parameter with its gates, which lie one after the other, in ONNX's order.
fn gates(parameter: &Value, kind: Kind) -> Result<Vec<u8>> {
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
    pub(super) fn recurrent(&self, layer: &Recurrent, inputs: &[Value]) -> Result<Vec<Value>> {
        let (x, rest) = (&inputs[0], &inputs[3..]);
        let Recurrent { kind, hidden, biases, .. } = *layer;
        let gate_count = order(kind).len();
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
        let initial = rest.map(|state| state.unsqueeze(&[0])).collect::<Result<Vec<_>>>()?;
        let (op_type, outputs) = match kind {
            Kind::Gru => ("GRU", 2),
            Kind::Lstm => ("LSTM", 3),
        };
        let (batch, length) = (x.dims()[0].clone(), x.dims()[1].clone());
        let node = self.graph.node(op_type).input(&x.transpose(&[1, 0, 2])?);
        let mut node = node.input(&w).input(&r).input(&bias).input_opt(None);
        for state in &initial {
            node = node.input(state);
        }
        node = node.attr("hidden_size", hidden as i64);
        if kind == Kind::Gru {
            // The reset gate multiplies the state's part after its bias is added.
            node = node.attr("linear_before_reset", 1);
        }
        let (one, hidden) = (Dim::Fixed(1), Dim::Fixed(hidden));
        let last = Shape::from([one.clone(), batch.clone(), hidden.clone()]);
        let shapes = [Shape::from([length, one, batch, hidden]), last.clone(), last];
        node.outputs(shapes.into_iter().take(outputs).map(|shape| (dtype, shape))).build_all()
    }
}
