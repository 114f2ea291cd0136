//! Few rows that 64 does not divide, such as the tokens of one picture, padded to a multiple of 64. TensorRT-RTX computes
//! products of such rows far slower on Hopper in fp32 (`docs/measured/2026-11-forms-h200.md`). Nodes that do the same to every
//! row go on with more rows, from layer to layer. For other nodes, such as attention, the added rows are cut off. This file
//! finds the nodes, and `write` writes the form.

mod widened;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::thresholds::batched::PARTS;
use super::thresholds::rows::{ALIGNED, LEAST_ROWS, MOST_ROWS};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Wiring, axis};
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::spec::{DType, Dim, TensorSpec};

/// Rows of one text or picture, padded.
pub(in crate::export::passes) struct AlignedRows(pub(in crate::export::passes) Target);

impl Pass for AlignedRows {
    fn name(&self) -> &'static str {
        "aligned rows"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let layers = few_rows(graph);
        for rows in layers.keys() {
            let region = Search::of(graph, *rows).region(layers[rows].iter().map(String::as_str));
            let written = widened::written(graph, &region, *rows, self.0)?;
            *graph = written;
        }
        Ok(layers.len())
    }
}

/// What the products of feed-forward networks in parts give whose rows should be more, by their number.
fn few_rows(graph: &Graph) -> BTreeMap<usize, BTreeSet<String>> {
    let wiring = Wiring::of(graph);
    let mut found: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| node.is("MatMul")) {
        let [x, weight] = &node.input[..] else { continue };
        let in_parts = |weight: &str| {
            let turned = wiring.producer(weight).map(|at| wiring.node(at));
            let of = match turned {
                Some(node) if node.is("Transpose") => node.input.first().map(String::as_str),
                Some(_) => None,
                None => Some(weight),
            };
            let shape = of.and_then(|name| graph.constant(name)).map(|weight| weight.shape());
            matches!(shape, Some([PARTS, _, _]))
        };
        let rows = |name: &str| {
            let spec = graph.spec(name)?;
            more_rows(&spec)?;
            let [.., rows, _] = spec.shape.dims() else { return None };
            rows.fixed()
        };
        if let (true, Some(rows), [y]) = (in_parts(weight), rows(x), &node.output[..]) {
            found.entry(rows).or_default().insert(y.clone());
        }
    }
    found
}

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
    fn of(graph: &'a Graph, rows: usize) -> Self {
        Self { wiring: Wiring::of(graph), rows }
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
        self.wiring.graph.spec(name).is_some_and(|spec| {
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
            || self.wiring.graph.spec(name).is_some_and(|spec| match spec.shape.dims() {
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
            self.wiring.graph.constant(of)
        };
        self.wiring
            .graph
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
        let rank = self.wiring.graph.spec(first)?.shape.rank();
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
                        Some(self.wiring.graph.spec(name)?.shape.dims().last()?.clone())
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
        axis(node.stated("axis").map_or(usual, |axis| axis.i()), rank).ok()
    }

    /// Whether a sum is not over the rows, which stay where they are, counted from the end.
    fn reduces_others(&self, node: &NodeProto, rank: usize) -> bool {
        let kept = node.stated("keepdims").is_none_or(|kept| kept.i() != 0);
        let axes = node.input.get(1).and_then(|name| self.wiring.graph.constant(name));
        let Some(axes) = axes.and_then(|axes| axes.to_vec::<i64>().ok()) else { return false };
        let other = |at: &i64| match axis(*at, rank) {
            Ok(last) if last + 1 == rank => kept,
            Ok(other) => other + 2 < rank,
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
    super::is_elementwise(operator)
        || matches!(operator, "Abs" | "Max" | "Min" | "Reciprocal" | "Sqrt")
}
