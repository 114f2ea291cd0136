//! Attention over a number of keys that kernels for tensor cores cannot load 16 bytes at a time of, with
//! keys and values padded to one that they can, and what is padded hidden from the softmax. TensorRT-RTX
//! pads them in kernels of their own otherwise, and with them the weights, which are far more
//! (`docs/measured/2026-11-forms-h200.md`).

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::rewrite::{Readers, Rewriter};
use super::{State, Value};
use crate::error::Result;
use crate::export::Consumer;
use crate::export::onnx::NodeProto;
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

/// Numbers that are loaded at once: 16 bytes.
const ALIGNED: usize = 4;
/// The fewest that were measured: a window of Swin. One picture of 50, CLIP's, is no gain.
const LEAST_KEYS: usize = 49;

/// `softmax(q kᵗ, changed elementwise) v`, by the nodes that are changed.
struct Attention {
    keys: usize,
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

/// The nodes and the readers of each value, for a search.
struct Graph<'a> {
    state: &'a State,
    producers: HashMap<&'a str, usize>,
    readers: Readers<'a>,
}

impl<'a> Graph<'a> {
    fn of(state: &'a State) -> Self {
        Self { state, producers: state.producers(), readers: state.readers() }
    }

    /// The only node that reads what a node gives.
    fn reader(&self, node: &NodeProto) -> Option<usize> {
        let [output] = &node.output[..] else { return None };
        self.readers.only(output)
    }

    fn attention(&self, product: usize) -> Option<Attention> {
        let nodes = &self.state.nodes;
        let (first, keys) = (&nodes[product], self.keys(product)?);
        let mut changes = vec![(product, Change::Keys)];
        let (mut at, mut from) = (self.reader(first)?, &first.output[0]);
        while nodes[at].op_type() != "Softmax" {
            let added = self.along_keys(at, from, keys)?;
            changes.extend(added.map(|input| (at, Change::Added(input))));
            (at, from) = (self.reader(&nodes[at])?, &nodes[at].output[0]);
        }
        changes.push((at, Change::Scores));
        let softmax = &nodes[at];
        let axis = softmax.stated("axis").map_or(-1, |axis| axis.i());
        let scores = self.state.spec(from)?.shape;
        let last = axis == -1 || axis + 1 == scores.rank() as i64;
        let known = scores.dims().last().and_then(Dim::fixed) == Some(keys);
        let at = self.reader(softmax).filter(|_| last && known)?;
        changes.push((at, Change::Values));
        let ([weights, values], [_]) = (&nodes[at].input[..], &nodes[at].output[..]) else {
            return None;
        };
        let values = self.state.spec(values)?.shape;
        let [.., rows, _] = values.dims() else { return None };
        let fits = nodes[at].op_type() == "MatMul"
            && *weights == softmax.output[0]
            && rows.fixed() == Some(keys);
        fits.then(|| Attention { keys, turned: self.turned(product), changes })
    }

    fn turned(&self, product: usize) -> Option<(usize, Vec<usize>)> {
        let keys = &self.state.nodes[product].input[1];
        let at = *self.producers.get(keys.as_str())?;
        let node = &self.state.nodes[at];
        let alone = node.op_type() == "Transpose" && self.reader(node) == Some(product);
        let rank = self.state.spec(keys)?.shape.rank();
        Some((at, node.permutation(rank)?)).filter(|_| alone)
    }

    /// How many keys a product in fp32 is of, if they cannot be loaded well.
    fn keys(&self, product: usize) -> Option<usize> {
        let node = &self.state.nodes[product];
        let ("MatMul", [queries, keys]) = (node.op_type(), &node.input[..]) else { return None };
        let specs = [self.state.spec(queries)?, self.state.spec(keys)?];
        let measured = specs.iter().all(|spec| spec.dtype == DType::F32 && spec.shape.rank() > 2);
        let count = specs[1].shape.dims().last()?.fixed()?;
        let odd = count >= LEAST_KEYS && !count.is_multiple_of(ALIGNED);
        let computed = || self.state.constant(keys).is_none();
        (measured && odd && computed()).then_some(count)
    }

    /// Whether a node changes `x`, the scores, in a way that can go on with more of them: each by itself,
    /// with the same for all keys. Or the input that it adds, which is not the same.
    fn along_keys(&self, at: usize, x: &str, keys: usize) -> Option<Option<usize>> {
        let node = &self.state.nodes[at];
        let rank = self.state.spec(x)?.shape.rank();
        let mut along = None;
        for (i, other) in node.input.iter().enumerate().filter(|(_, name)| *name != x) {
            let shape = self.state.spec(other)?.shape;
            match shape.dims().last().map_or(Some(1), Dim::fixed) {
                Some(1) => {}
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

impl State {
    /// The same graph with keys of attention padded where that is faster.
    pub(super) fn aligned(&self, consumer: Consumer) -> Result<Self> {
        let graph = Graph::of(self);
        let mut changes: HashMap<usize, (Change, Rc<Attention>)> = HashMap::new();
        let mut left_out = HashSet::new();
        for attention in (0..self.nodes.len()).filter_map(|i| graph.attention(i)) {
            let attention = Rc::new(attention);
            let nodes = &attention.changes;
            // A node of two would have to be changed twice.
            if !nodes.iter().any(|(node, _)| changes.contains_key(node)) {
                left_out.extend(attention.turned.iter().map(|(node, _)| *node));
                let each = nodes.iter().map(|&(i, change)| (i, (change, attention.clone())));
                changes.extend(each);
            }
        }
        let mut writer = Writer {
            new: Rewriter::new(self, consumer),
            state: self,
            padded: HashMap::new(),
            rows: HashMap::new(),
        };
        for (i, node) in self.nodes.iter().enumerate() {
            match changes.get(&i) {
                Some((change, attention)) => writer.changed(node, *change, attention)?,
                None if left_out.contains(&i) => {}
                None => writer.new.keep(node),
            }
        }
        Ok(writer.new.finish())
    }
}

impl Attention {
    fn aligned(&self) -> usize {
        self.keys.next_multiple_of(ALIGNED)
    }
}

struct Writer<'a> {
    new: Rewriter,
    state: &'a State,
    /// Values that were padded, by their name and the axis from the end: all layers add the same mask.
    padded: HashMap<(String, usize), Value>,
    /// What hides the keys that are no keys, by the number of those that are.
    rows: HashMap<usize, Value>,
}

impl Writer<'_> {
    fn changed(&mut self, node: &NodeProto, change: Change, attention: &Attention) -> Result<()> {
        self.new.graph.enter(format!("{}.aligned", node.output[0]));
        let (input, value) = match change {
            Change::Keys => (1, self.keys(&node.input[1], attention)?),
            Change::Added(i) => (i, self.padded(&node.input[i], 1, attention)?),
            Change::Scores => (0, self.hidden(&node.input[0], attention)?),
            Change::Values => (1, self.padded(&node.input[1], 2, attention)?),
        };
        self.new.graph.leave();
        let mut node = node.clone();
        node.input[input] = value.name().to_owned();
        self.new.keep(&node);
        Ok(())
    }

    /// As their product takes them. Where they are turned for it they are padded before, as TensorRT does
    /// both at once then.
    fn keys(&mut self, keys: &str, attention: &Attention) -> Result<Value> {
        let Some((node, order)) = &attention.turned else {
            return self.padded(keys, 1, attention);
        };
        let from_end = order.len() - order.last().expect("keys have axes");
        let turned = &self.state.nodes[*node].input[0];
        self.padded(turned, from_end, attention)?.transpose(order)
    }

    /// With zeros more along an axis, which is counted from the end.
    fn padded(&mut self, name: &str, from_end: usize, attention: &Attention) -> Result<Value> {
        let key = (name.to_owned(), from_end);
        if let Some(value) = self.padded.get(&key) {
            return Ok(value.clone());
        }
        let value = self.new.known(name);
        let mut pads = vec![0i64; 2 * value.rank()];
        let last = pads.len() - from_end;
        pads[last] = (attention.aligned() - attention.keys) as i64;
        let graph = &self.new.graph;
        let pads = graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        let value = graph.node("Pad").input(&value).input(&pads).build()?;
        self.padded.insert(key, value.clone());
        Ok(value)
    }

    fn hidden(&mut self, scores: &str, attention: &Attention) -> Result<Value> {
        let mut scores = self.state.spec(scores).expect("the search found its shape");
        let mut dims = scores.shape.dims().to_vec();
        *dims.last_mut().expect("scores are of keys") = Dim::Fixed(attention.aligned());
        scores.shape = dims.into();
        let row = match self.rows.get(&attention.keys) {
            Some(row) => row.clone(),
            None => {
                let mut row = vec![0f32; attention.keys];
                row.resize(attention.aligned(), f32::NEG_INFINITY);
                let row = HostTensor::from_vec([row.len()], row)?;
                let row = self.new.graph.constant("hidden", row);
                self.rows.insert(attention.keys, row.clone());
                row
            }
        };
        self.new.of(&scores).add(&row)
    }
}
