//! LSTM and GRU over a sequence as one operator.

use crate::error::Result;
use crate::export::Value;
use crate::spec::{Dim, Shape};

/// Which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::export) enum RecurrentKind {
    /// Gates in the order input, output, forget, cell.
    Lstm,
    /// Gates in the order update, reset, new. The reset gate applies after the product with the weights,
    /// or before.
    Gru { reset_after: bool },
}

impl RecurrentKind {
    /// How many gates there are.
    pub(in crate::export) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru { .. } => 3,
        }
    }
}

/// A layer in one direction.
pub(in crate::export) struct Recurrent<'a> {
    pub(in crate::export) kind: RecurrentKind,
    pub(in crate::export) hidden: usize,
    /// From the last step to the first.
    pub(in crate::export) reverse: bool,
    /// `[batch, length, inputs]`.
    pub(in crate::export) x: &'a Value,
    /// Of the input and of the hidden state, `[1, gates * hidden, ..]`.
    pub(in crate::export) weights: [&'a Value; 2],
    /// Of both, `[1, 2 * gates * hidden]`.
    pub(in crate::export) bias: Option<&'a Value>,
    /// Hidden state, then cell state, before the first step, `[batch, hidden]`; none where they are zeros.
    pub(in crate::export) initial: &'a [Value],
}

impl Recurrent<'_> {
    /// All hidden states `[length, 1, batch, hidden]`, then hidden and cell state after the last step,
    /// `[1, batch, hidden]`.
    pub(in crate::export) fn write(&self) -> Result<Vec<Value>> {
        let (operator, states) = match self.kind {
            RecurrentKind::Lstm => ("LSTM", 2),
            RecurrentKind::Gru { .. } => ("GRU", 1),
        };
        let (batch, length) = (self.x.dims()[0].clone(), self.x.dims()[1].clone());
        // ONNX puts time first.
        let x = self.x.transpose(&[1, 0, 2])?;
        let initial = self.initial.iter().map(|state| state.unsqueeze(&[0]));
        let initial = initial.collect::<Result<Vec<_>>>()?;
        let [w, r] = self.weights;
        let node = x.graph().node(operator).input(&x).input(w).input(r);
        let node = node.input_opt(self.bias).input_opt(None);
        let node = initial.iter().fold(node, |node, state| node.input(state));
        let direction = if self.reverse { "reverse" } else { "forward" };
        let node = node.attr("hidden_size", self.hidden as i64).attr("direction", direction);
        let node = match self.kind {
            RecurrentKind::Lstm => node,
            RecurrentKind::Gru { reset_after } => {
                node.attr("linear_before_reset", i64::from(reset_after))
            }
        };
        let (one, hidden) = (Dim::Fixed(1), Dim::Fixed(self.hidden));
        let last = Shape::from([one.clone(), batch.clone(), hidden.clone()]);
        let all = Shape::from([length, one, batch, hidden]);
        let shapes = std::iter::once(all).chain(std::iter::repeat_n(last, states));
        node.outputs(shapes.map(|shape| (x.dtype(), shape))).build_all()
    }
}

/// All hidden states as frameworks have them, `[batch, length, hidden]`.
pub(in crate::export) fn batch_first(states: &Value) -> Result<Value> {
    states.squeeze(&[1])?.transpose(&[1, 0, 2])
}
