//! Few rows that 64 does not divide, such as the tokens of one picture, padded to as many as it divides:
//! TensorRT-RTX computes products of them far slower on Hopper in fp32 (`docs/measured/2026-11-forms-h200.md`).
//! What does the same to every row goes on with more of them, from layer to layer, and they are cut off for
//! what does not, such as attention. Here is which nodes that is; how they are written is in `write`.

mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::State;
use super::rewrite::Wiring;
use crate::export::onnx::NodeProto;
use crate::spec::{DType, Dim, TensorSpec};

/// What divides rows that are computed fast.
pub(super) const ALIGNED: usize = 64;
/// The fewest that were measured: CLIP's, of a picture.
const LEAST_ROWS: usize = 50;
/// From here on a feed-forward network in parts, without which some numbers of rows gain nothing, is slower.
const MOST_ROWS: usize = 512;

/// How many rows `x` should have instead, whose last axis is of a linear layer.
pub(super) fn more_rows(x: &TensorSpec) -> Option<usize> {
    let [leading @ .., Dim::Fixed(rows), _] = x.shape.dims() else { return None };
    let more = rows.next_multiple_of(ALIGNED);
    let few = *rows >= LEAST_ROWS && more <= MOST_ROWS && more != *rows;
    let one = leading.iter().all(|dim| dim.fixed() == Some(1));
    (x.dtype == DType::F32 && few && one).then_some(more)
}

/// Nodes that do the same to each row, with those of their inputs that have the rows.
type Region = BTreeMap<usize, Vec<usize>>;

struct Search<'a> {
    wiring: Wiring<'a>,
    rows: usize,
}

impl<'a> Search<'a> {
    fn of(state: &'a State, rows: usize) -> Self {
        Self { wiring: Wiring::of(state), rows }
    }

    /// All that the nodes which give `values` are connected with.
    fn region<'b>(&self, values: impl Iterator<Item = &'b str>) -> Region {
        let mut region = Region::new();
        let Self { wiring, .. } = self;
        let mut next: Vec<usize> = values.filter_map(|v| wiring.producer(v)).collect();
        while let Some(at) = next.pop() {
            let node = wiring.node(at);
            if region.contains_key(&at) {
                continue;
            }
            let Some(inputs) = self.rowwise(node) else { continue };
            for name in inputs.iter().map(|&i| &node.input[i]) {
                next.extend(wiring.producer(name));
                next.extend(wiring.readers(name));
            }
            next.extend(node.output.iter().flat_map(|name| wiring.readers(name)));
            region.insert(at, inputs);
        }
        // What is only divided for others is cut off before, at once.
        for at in region.keys().copied().rev().collect::<Vec<_>>() {
            let node = wiring.node(at);
            let mut readers = node.output.iter().flat_map(|name| wiring.readers(name));
            if is_layout(node.op_type()) && !readers.any(|reader| region.contains_key(reader)) {
                region.remove(&at);
            }
        }
        region
    }

    /// Whether a value has the rows on its last axis but one.
    fn has_rows(&self, name: &str) -> bool {
        self.wiring.state.spec(name).is_some_and(|spec| {
            let dims = spec.shape.dims();
            let fixed = dims.iter().all(|dim| dim.fixed().is_some());
            matches!(dims, [.., rows, _] if rows.fixed() == Some(self.rows))
                && fixed
                && spec.dtype == DType::F32
        })
    }

    /// Whether a value is the same for all rows.
    fn is_for_all(&self, name: &str) -> bool {
        name.is_empty()
            || self.wiring.state.spec(name).is_some_and(|spec| match spec.shape.dims() {
                [.., rows, _] => rows.fixed() == Some(1),
                _ => true,
            })
    }

    /// A matrix that is known, or several, as it is or turned. (A vector would leave another axis in the rows'
    /// place.)
    fn is_weight(&self, name: &str) -> bool {
        let turned = || {
            let node = self.wiring.node(self.wiring.producer(name)?);
            let of = (node.op_type() == "Transpose").then_some(node.input.first()?)?;
            self.wiring.state.constant(of)
        };
        self.wiring
            .state
            .constant(name)
            .or_else(turned)
            .is_some_and(|weight| weight.shape().len() > 1)
    }

    /// The inputs of a node that have the rows, if it does the same to each row and gives as many.
    fn rowwise(&self, node: &NodeProto) -> Option<Vec<usize>> {
        let inputs = &node.input;
        let first = inputs.first()?;
        if !node.output.iter().all(|name| self.has_rows(name)) {
            return None;
        }
        if is_elementwise(node.op_type()) {
            let with: Vec<usize> =
                (0..inputs.len()).filter(|&i| self.has_rows(&inputs[i])).collect();
            let rest = (0..inputs.len()).filter(|i| !with.contains(i));
            let all = rest.map(|i| &inputs[i]).all(|name| self.is_for_all(name));
            return (all && !with.is_empty()).then_some(with);
        }
        let rank = self.wiring.state.spec(first)?.shape.rank();
        let others = || inputs[1..].iter().all(|name| self.is_for_all(name));
        let same = self.has_rows(first)
            && match node.op_type() {
                "LayerNormalization" => self.axis(node, -1, rank) == Some(rank - 1) && others(),
                "MatMul" => self.is_weight(inputs.get(1)?),
                "Gemm" => {
                    let turned = node.stated("transA").is_some_and(|turned| turned.i() != 0);
                    let bias = inputs.get(2).is_none_or(|bias| self.is_for_all(bias));
                    !turned && bias && self.is_weight(inputs.get(1)?)
                }
                "Reshape" | "Squeeze" | "Unsqueeze" => {
                    let last = |name: &str| {
                        Some(self.wiring.state.spec(name)?.shape.dims().last()?.clone())
                    };
                    last(first) == last(&node.output[0])
                }
                "Split" => self.axis(node, 0, rank).is_some_and(|axis| axis + 2 != rank),
                "ReduceMean" | "ReduceSum" => self.reduces_others(node, rank),
                _ => false,
            };
        same.then(|| vec![0])
    }

    /// The axis that a node states, from the front.
    fn axis(&self, node: &NodeProto, usual: i64, rank: usize) -> Option<usize> {
        super::infer::axis(node.stated("axis").map_or(usual, |axis| axis.i()), rank).ok()
    }

    /// Whether a sum is not over the rows, which stay where they are, counted from the end.
    fn reduces_others(&self, node: &NodeProto, rank: usize) -> bool {
        let kept = node.stated("keepdims").is_none_or(|kept| kept.i() != 0);
        let axes = node.input.get(1).and_then(|name| self.wiring.state.constant(name));
        let Some(axes) = axes.and_then(|axes| axes.to_vec::<i64>().ok()) else { return false };
        let other = |axis: &i64| match super::infer::axis(*axis, rank) {
            Ok(axis) if axis + 1 == rank => kept,
            Ok(axis) => axis + 2 < rank,
            Err(_) => false,
        };
        !axes.is_empty() && axes.iter().all(other)
    }
}

/// What only names or divides the axes before the rows and behind them.
fn is_layout(operator: &str) -> bool {
    matches!(operator, "Reshape" | "Split" | "Squeeze" | "Unsqueeze")
}

fn is_elementwise(operator: &str) -> bool {
    super::batched::is_elementwise(operator)
        || matches!(operator, "Abs" | "Max" | "Min" | "Reciprocal" | "Sqrt")
}
