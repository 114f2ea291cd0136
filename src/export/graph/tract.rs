//! Forms that tract computes wrongly, and what is written for it instead.

use std::collections::HashSet;

use super::{State, Value};
use crate::error::Result;
use crate::export::onnx::NodeProto;
use crate::spec::DType;

/// A factor of a product of matrices, kept apart from the expansion that it may come from: tract 0.23 takes the factor
/// from before the expansion, and then refuses the model, adds up too few products, or gives too few rows. What it
/// cannot see through is a choice between the factor and the factor, by an input's values.
pub(super) fn factor(x: &Value) -> Result<Value> {
    if !x.graph.consumer().is_portable() {
        return Ok(x.clone());
    }
    let state = x.graph.lock();
    let input = state.inputs.first().filter(|_| state.may_be_expanded(x.name())).cloned();
    drop(state);
    let Some(input) = input else { return Ok(x.clone()) };
    let rank = input.shape.rank() as i64;
    let value = x.graph.value(input.name.into(), input.dtype, input.shape);
    let numbers = if value.dtype == DType::Bool { value.cast(DType::I32)? } else { value };
    let largest = numbers.reduce("ReduceMax", &(0..rank).collect::<Vec<_>>(), false)?;
    largest.greater(&largest.scalar_like(0.0)?)?.select(x, x)
}

impl State {
    /// Whether tract may see an expansion right before a value: it moves axes and elementwise operators past one, and
    /// a product with zero is one to it.
    fn may_be_expanded(&self, name: &str) -> bool {
        self.expands(name, &mut HashSet::new())
    }

    fn expands<'n>(&'n self, name: &'n str, seen: &mut HashSet<&'n str>) -> bool {
        if !seen.insert(name) {
            return true;
        }
        let from =
            |name: &str| self.nodes.iter().rev().find(|n| n.output.iter().any(|o| o == name));
        let Some(node) = from(name) else { return false };
        // The others are shapes and places.
        let count = if moves(node) { 1 } else { node.input.len() };
        let factors = node.input.iter().take(count);
        let mut computed = factors.filter(|input| !self.is_weight(input)).peekable();
        match node.op_type() {
            "Expand" | "Tile" => true,
            "Mul" if node.input.iter().any(|input| self.is_zero(input)) => true,
            _ if !(moves(node) || is_elementwise(node)) || computed.peek().is_none() => false,
            _ => computed.all(|input| self.expands(input, seen)),
        }
    }

    fn is_weight(&self, name: &str) -> bool {
        name.is_empty() || self.weights.iter().any(|(known, _)| **known == *name)
    }

    fn is_zero(&self, name: &str) -> bool {
        let weight = self.weights.iter().find(|(known, _)| **known == *name);
        weight.is_some_and(|(_, tensor)| {
            // A negative zero is one as well, and has a sign.
            let sign = tensor.dtype().size() - 1;
            let zero = |(i, byte): (usize, &u8)| *byte == 0 || (i == sign && *byte == 0x80);
            tensor.len() == 1 && tensor.bytes().iter().enumerate().all(zero)
        })
    }
}

/// Operators that give the cells of their first input in other places, or as another type.
fn moves(node: &NodeProto) -> bool {
    matches!(
        node.op_type(),
        "Cast"
            | "CastLike"
            | "Identity"
            | "Reshape"
            | "Slice"
            | "Squeeze"
            | "Transpose"
            | "Unsqueeze"
    )
}

/// Operators that tract computes before an expansion, of one value or of one and constants.
fn is_elementwise(node: &NodeProto) -> bool {
    #[rustfmt::skip]
    let known = [
        "Abs", "Add", "Clip", "Div", "Erf", "Exp", "LeakyRelu", "Log", "Max", "Min", "Mul", "Neg", "Pow",
        "Reciprocal", "Relu", "Sigmoid", "Sqrt", "Sub", "Tanh", "Where",
    ];
    known.contains(&node.op_type())
}
