//! Linear layers as batched matrix products, where TensorRT-RTX was measured to be faster with them
//! on Hopper (`docs/measured/2026-11-forms-h200.md`). Four forms, in a model that was built whole:
//! three layers of the same input as one product, one layer three times as wide in three parts, the
//! two layers of a feed-forward network in parts of the hidden axis, and its activation in halves. Here is
//! which layers that is; how it is written is in `write`.

mod heads;
mod write;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::rewrite::Wiring;
use super::{GraphBuilder, State, Value, rows};
use crate::spec::{DType, Dim, TensorSpec};
use crate::tensor::HostTensor;
use heads::Heads;

/// The parts that the hidden axis of a feed-forward network is written in.
const PARTS: usize = 4;

/// Where results were compared on the device: from a text of 16 tokens on with BERT-base's width, and
/// from 128 on with MiniLM's.
const LEAST_ROWS: usize = 16;
const LEAST_WIDTH: usize = 384;
/// Query, key and value. More at once, such as what all layers of a decoder make of an encoder's
/// result, would hold memory for long.
const STACKED: usize = 3;
/// In half precision several layers as one are slower with 4096 rows, and even with 1024.
const MOST_ROWS_OF_HALF: usize = 1024;
/// From 1024 rows on a feed-forward network in parts is slower in fp32 and hardly faster in fp16; in fp32 it
/// is slower also with rows that 64 does not divide, such as 196 or 208, but where they become more.
const MOST_ROWS_IN_PARTS: usize = 512;
const ROWS_OF_F32_IN_PARTS: usize = 64;
/// Elements of the hidden axis and all rows from which on an exact `Gelu` in half precision is better
/// kept out of the product before it: 1024 rows of BERT-base. With half of that it is a loss.
const LEAST_IN_HALVES: usize = 1024 * 3072;

/// A linear layer as it was written, of a weight and a bias that are known.
#[derive(Clone)]
pub(super) struct Linear {
    x: TensorSpec,
    weight: Arc<str>,
    bias: Option<Arc<str>>,
    inputs: usize,
    outputs: usize,
    /// Whether the weight is `[outputs, inputs]`.
    transposed: bool,
    y: Arc<str>,
    /// The outputs of its nodes, among them `y`.
    written: Vec<String>,
}

impl Linear {
    /// The layer that the nodes of a graph from the `from`-th on are, if its parameters are known.
    fn of(
        state: &State,
        from: usize,
        [x, y]: [&Value; 2],
        weight: &Value,
        bias: Option<&Value>,
        transposed: bool,
    ) -> Option<Self> {
        let &[first, second] = weight.as_constant()?.shape() else { return None };
        let (inputs, outputs) = if transposed { (second, first) } else { (first, second) };
        let known = |bias: &Value| bias.as_constant().is_some_and(|b| b.shape() == [outputs]);
        let nodes = &state.nodes[from..];
        let last = nodes.last().filter(|node| node.output == [&*y.name])?;
        let whole = match last.op_type() {
            "Gemm" => 1,
            _ => 1 + usize::from(transposed) + usize::from(bias.is_some()),
        };
        // Others are of another thread, which builds the same graph.
        if !bias.is_none_or(known) || x.rank() < 2 || nodes.len() != whole {
            return None;
        }
        Some(Self {
            x: TensorSpec::new(&*x.name, x.dtype, x.shape.clone()),
            weight: weight.name.clone(),
            bias: bias.map(|bias| bias.name.clone()),
            inputs,
            outputs,
            transposed,
            y: y.name.clone(),
            written: nodes.iter().flat_map(|node| node.output.clone()).collect(),
        })
    }

    /// The rows of its input, at the sizes to tune for.
    fn rows(&self) -> usize {
        let (_, rows) = self.x.shape.dims().split_last().expect("the rank is 2 or more");
        rows.iter().map(Dim::opt).fold(1, usize::saturating_mul)
    }

    fn is_measured(&self) -> bool {
        matches!(self.x.dtype, DType::F32 | DType::F16)
            && self.rows() >= LEAST_ROWS
            && self.inputs.min(self.outputs) >= LEAST_WIDTH
    }

    /// Whether it may be one of several that become one product: query, key and value.
    fn is_narrow(&self) -> bool {
        let few = self.x.dtype == DType::F32 || self.rows() <= MOST_ROWS_OF_HALF;
        self.is_measured() && few && self.outputs <= self.inputs
    }

    /// Whether it may be query, key and value in one.
    fn is_wide(&self) -> bool {
        let few = self.x.dtype == DType::F32 || self.rows() <= MOST_ROWS_OF_HALF;
        self.is_measured() && few && self.outputs == STACKED * self.inputs
    }

    /// Whether it may be the first of a feed-forward network.
    fn widens(&self) -> bool {
        let rows = rows::more_rows(&self.x).unwrap_or(self.rows());
        let aligned = self.x.dtype != DType::F32 || rows.is_multiple_of(ROWS_OF_F32_IN_PARTS);
        let few = rows <= MOST_ROWS_IN_PARTS;
        let wide = self.outputs >= 2 * self.inputs && self.outputs.is_multiple_of(PARTS);
        self.is_measured() && few && aligned && wide
    }

    /// Whether it may be the first of a feed-forward network whose activation is in halves.
    fn is_halved(&self) -> bool {
        let rows = self.rows();
        let many =
            rows > MOST_ROWS_IN_PARTS && rows.saturating_mul(self.outputs) >= LEAST_IN_HALVES;
        let wide = self.outputs >= 2 * self.inputs && self.outputs.is_multiple_of(2);
        // A `Gemm`, which a matrix gets, may round product and bias at once.
        let apart = self.bias.is_some() && self.x.shape.rank() > 2;
        self.is_measured() && self.x.dtype == DType::F16 && apart && many && wide
    }

    /// Whether both can be stacked into one product.
    fn stacks_with(&self, other: &Self) -> bool {
        let sizes = |l: &Self| (l.inputs, l.outputs, l.transposed, l.bias.is_some());
        self.x.name == other.x.name && sizes(self) == sizes(other)
    }
}

impl GraphBuilder {
    /// Remembers that the nodes from the `from`-th on are a linear layer, if that is of use.
    pub(super) fn record(
        &self,
        from: usize,
        ends: [&Value; 2],
        weight: &Value,
        bias: Option<&Value>,
        transposed: bool,
    ) {
        if self.target.has_forms() {
            let mut state = self.lock();
            let layer = Linear::of(&state, from, ends, weight, bias, transposed);
            state.linears.extend(layer);
        }
    }
}

/// A layer, or several, in another form.
enum Form<'a> {
    /// One product for all of these, perhaps with what becomes of them.
    Stacked(Vec<&'a Linear>, Option<Heads>),
    /// The first layer of a feed-forward network, in parts.
    Up(&'a Linear),
    /// The second, whose input comes in parts; with the first.
    Down(&'a Linear, &'a Linear),
    /// The first layer, with its activation in halves, whose result has this name.
    Halves(&'a Linear, &'a str),
    /// What a model has as one layer of what would be stacked.
    Wide(&'a Linear),
}

/// What becomes of the nodes of a graph.
#[derive(Default)]
struct Plan<'a> {
    /// Forms, before the node at which each is written.
    forms: BTreeMap<usize, Form<'a>>,
    /// Nodes that are left out.
    replaced: HashSet<usize>,
}

impl<'a> Plan<'a> {
    fn of(state: &'a State) -> Self {
        let mut plan = Self::default();
        let wiring = Wiring::of(state);
        let mut stacked: HashSet<&str> = HashSet::new();
        for first in &state.linears {
            if stacked.contains(&*first.y) || !first.is_narrow() {
                continue;
            }
            let like = state.linears.iter().filter(|l| first.stacks_with(l));
            let group: Vec<&Linear> = like.collect();
            if group.len() == STACKED {
                stacked.extend(group.iter().map(|l| &*l.y));
                let heads = Heads::of(&wiring, &group);
                plan.replaced.extend(heads.iter().flat_map(|heads| &heads.nodes));
                plan.replace(&wiring, &group, Form::Stacked(group.clone(), heads));
            }
        }
        for up in state.linears.iter().filter(|l| l.widens()) {
            if let Some(down) = second_layer(&wiring, up) {
                plan.replace(&wiring, &[up], Form::Up(up));
                plan.replace(&wiring, &[down], Form::Down(down, up));
            }
        }
        for up in state.linears.iter().filter(|l| l.is_halved()) {
            if let Some(at) = gelu(&wiring, up)
                && second_layer(&wiring, up).is_some()
            {
                plan.replace(&wiring, &[up], Form::Halves(up, &state.nodes[at].output[0]));
                plan.replaced.insert(at);
            }
        }
        for wide in state.linears.iter().filter(|l| l.is_wide()) {
            if !written(&wiring, wide).any(|node| plan.replaced.contains(&node)) {
                plan.replace(&wiring, &[wide], Form::Wide(wide));
            }
        }
        plan
    }

    /// Puts a form in the place of the first of `layers`, and leaves the nodes of all of them out.
    fn replace(&mut self, wiring: &Wiring<'_>, layers: &[&Linear], form: Form<'a>) {
        let nodes: Vec<usize> = layers.iter().flat_map(|layer| written(wiring, layer)).collect();
        let first = *nodes.iter().min().expect("a layer has nodes");
        self.replaced.extend(nodes);
        self.forms.insert(first, form);
    }
}

/// The nodes of a layer.
fn written(wiring: &Wiring<'_>, layer: &Linear) -> impl Iterator<Item = usize> {
    layer
        .written
        .iter()
        .map(|name| wiring.producer(name).expect("a layer's nodes are in its graph"))
}

/// The layer back to what `up` began, if between the two is nothing but an activation: operators on
/// each element by itself, whose results nothing else reads.
fn second_layer<'a>(wiring: &Wiring<'a>, up: &Linear) -> Option<&'a Linear> {
    let state = wiring.state;
    let scalar = |name: &str| {
        let one = |tensor: &HostTensor| tensor.len() == 1 && tensor.shape().len() < 2;
        name.is_empty() || state.constant(name).is_some_and(one)
    };
    let mut between = HashSet::from([&*up.y]);
    let mut down: Option<&Linear> = None;
    for node in &state.nodes[wiring.producer(&up.y)? + 1..] {
        if !node.input.iter().any(|name| between.contains(name.as_str())) {
            continue;
        }
        if is_elementwise(node.op_type()) {
            if !node.input.iter().all(|name| between.contains(name.as_str()) || scalar(name)) {
                return None;
            }
            between.extend(node.output.iter().map(String::as_str));
            continue;
        }
        let of = |l: &&Linear| node.output.iter().any(|name| l.written.contains(name));
        let layer = state.linears.iter().find(of)?;
        if down.is_some_and(|down| down.y != layer.y) || !between.contains(layer.x.name.as_str()) {
            return None;
        }
        down = Some(layer);
    }
    let measured = |down: &&Linear| down.x.dtype == up.x.dtype && down.outputs >= LEAST_WIDTH;
    down.filter(measured).filter(|down| down.inputs >= 2 * down.outputs)
}

/// The exact `Gelu` that a layer ends in, which TensorRT would compute within its product.
fn gelu(wiring: &Wiring<'_>, layer: &Linear) -> Option<usize> {
    let at = wiring.only_reader(&layer.y)?;
    let node = wiring.node(at);
    let exact = node.stated("approximate").is_none_or(|form| form.s() == b"none");
    (node.op_type() == "Gelu" && exact).then_some(at)
}

/// What an activation is made of.
pub(super) fn is_elementwise(operator: &str) -> bool {
    matches!(
        operator,
        "Add"
            | "Celu"
            | "Clip"
            | "Div"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "LeakyRelu"
            | "Mish"
            | "Mul"
            | "Neg"
            | "Pow"
            | "Relu"
            | "Selu"
            | "Sigmoid"
            | "Softplus"
            | "Softsign"
            | "Sub"
            | "Tanh"
    )
}
