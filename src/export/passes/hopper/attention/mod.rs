//! Attention over a number of keys that kernels for tensor cores cannot load 16 bytes at a time. Keys and values are padded to
//! a number that kernels can load, and the padding is hidden from the softmax. Otherwise TensorRT-RTX pads them in kernels of
//! its own, and the weights too, which are far more (`docs/measured/2026-11-forms-h200.md`). TensorRT-RTX does so for every
//! number of keys that is not fixed. This file finds the attention, and `write` writes the form.

mod padded;

#[cfg(test)]
mod tests;

use super::thresholds::attention::{ALIGNED, LEAST_KEYS};
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Wiring};
use crate::export::passes::Pass;
use crate::spec::{DType, Dim};

/// Keys of attention, padded.
pub(in crate::export::passes) struct AlignedKeys(pub(in crate::export::passes) Target);

impl Pass for AlignedKeys {
    fn name(&self) -> &'static str {
        "aligned keys"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let (written, count) = padded::written(graph, self.0)?;
        if count > 0 {
            *graph = written;
        }
        Ok(count)
    }
}

/// `softmax(q kᵗ, changed elementwise) v`, by the nodes that are changed.
struct Attention {
    keys: Dim,
    /// Where keys are turned for their product alone, and how.
    turned: Option<(usize, Vec<usize>)>,
    changes: Vec<(usize, Change)>,
}

/// The input that a node gets instead of the one it has.
#[derive(Clone, Copy)]
enum Change {
    /// Keys of the product with queries.
    Keys,
    /// What is added along the keys.
    Added(usize),
    /// The scores, of which those of no key are hidden.
    Scores,
    /// Values of the product with the softmax.
    Values,
}

struct Search<'a> {
    wiring: Wiring<'a>,
    /// Whether keys are padded by a number that is computed: tract pads by constants alone.
    any_number: bool,
}

impl<'a> Search<'a> {
    fn of(graph: &'a Graph, target: Target) -> Self {
        Self { wiring: Wiring::of(graph), any_number: target.has_computed_pads() }
    }

    fn attention(&self, product: usize) -> Option<Attention> {
        let Self { wiring, .. } = self;
        let (first, keys) = (wiring.node(product), self.keys(product)?);
        let mut changes = vec![(product, Change::Keys)];
        let (mut at, mut from) = (wiring.only_reader_of(first)?, &first.output[0]);
        while !wiring.node(at).is("Softmax") {
            let added = self.along_keys(at, from, &keys)?;
            changes.extend(added.map(|input| (at, Change::Added(input))));
            (at, from) = (wiring.only_reader_of(wiring.node(at))?, &wiring.node(at).output[0]);
        }
        changes.push((at, Change::Scores));
        let softmax = wiring.node(at);
        let axis = softmax.stated("axis").map_or(-1, |axis| axis.i());
        let scores = wiring.graph.spec(from)?.shape;
        let last = axis == -1 || axis + 1 == scores.rank() as i64;
        let known = scores.dims().last() == Some(&keys);
        let at = wiring.only_reader_of(softmax).filter(|_| last && known)?;
        changes.push((at, Change::Values));
        let weighted = wiring.node(at);
        let ([weights, values], [_]) = (&weighted.input[..], &weighted.output[..]) else {
            return None;
        };
        let values = wiring.graph.spec(values)?.shape;
        let [.., rows, _] = values.dims() else { return None };
        let fits = weighted.op_type() == "MatMul" && *weights == softmax.output[0] && *rows == keys;
        fits.then(|| Attention { keys, turned: self.turned(product), changes })
    }

    fn turned(&self, product: usize) -> Option<(usize, Vec<usize>)> {
        let Self { wiring, .. } = self;
        let keys = &wiring.node(product).input[1];
        let at = wiring.producer(keys)?;
        let node = wiring.node(at);
        let alone = node.op_type() == "Transpose" && wiring.only_reader_of(node) == Some(product);
        let rank = wiring.graph.spec(keys)?.shape.rank();
        Some((at, node.permutation(rank)?)).filter(|_| alone)
    }

    /// How many keys a product in fp32 is of, if they cannot be loaded well, or not always.
    fn keys(&self, product: usize) -> Option<Dim> {
        let node = self.wiring.node(product);
        let ("MatMul", [queries, keys]) = (node.op_type(), &node.input[..]) else { return None };
        let specs = [self.wiring.graph.spec(queries)?, self.wiring.graph.spec(keys)?];
        let measured = specs.iter().all(|spec| spec.dtype == DType::F32 && spec.shape.rank() > 2);
        let count = specs[1].shape.dims().last()?;
        let odd = count.fixed().map_or(self.any_number, |count| !count.is_multiple_of(ALIGNED));
        let computed = || self.wiring.graph.constant(keys).is_none();
        let padded = measured && odd && count.opt() >= LEAST_KEYS && computed();
        padded.then(|| count.clone())
    }

    /// Whether a node changes `x`, the scores, in a way that can go on with more of them: each by itself,
    /// with the same for all keys. Or the input that it adds, which is not the same.
    fn along_keys(&self, at: usize, x: &str, keys: &Dim) -> Option<Option<usize>> {
        let node = self.wiring.node(at);
        let rank = self.wiring.graph.spec(x)?.shape.rank();
        let mut along = None;
        for (i, other) in node.input.iter().enumerate().filter(|(_, name)| *name != x) {
            let shape = self.wiring.graph.spec(other)?.shape;
            match shape.dims().last() {
                None | Some(Dim::Fixed(1)) => {}
                Some(size) if size == keys && node.op_type() == "Add" => along = Some(i),
                _ => return None,
            }
            if shape.rank() > rank {
                return None;
            }
        }
        // What bounds infinite scores, such as `Tanh`, would meet numbers that are none where there is no key.
        let divides = node.op_type() == "Div" && node.input[0] == x;
        (divides || matches!(node.op_type(), "Add" | "Sub" | "Mul")).then_some(along)
    }
}
