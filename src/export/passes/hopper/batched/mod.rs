//! Linear layers as batched matrix products, where TensorRT-RTX was measured to be faster with such products
//! (`docs/measured/2026-11-forms-h200.md`). The four forms are: three layers of the same input as one product; one layer three
//! times as wide in three parts; the two layers of a feed-forward network in parts of the hidden axis; and its activation in
//! halves. This file finds the layers, and `write` writes the forms.

mod heads;
mod linear;
mod products;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::is_elementwise;
use super::thresholds::batched::STACKED;
use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Wiring};
use crate::export::passes::Pass;
use crate::export::passes::activation::{self, ActivationKind};
use crate::export::passes::linear::Linear;
use crate::tensor::HostTensor;
use heads::Heads;

/// Linear layers as batched products.
pub(in crate::export::passes) struct BatchedLayers(pub(in crate::export::passes) Target);

impl Pass for BatchedLayers {
    fn name(&self) -> &'static str {
        "batched layers"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let wiring = Wiring::of(graph);
        let layers = Linear::all(&wiring);
        let plan = Plan::of(&wiring, &layers);
        let count = plan.forms.len();
        if count > 0 {
            let written = products::written(graph, &plan, self.0)?;
            *graph = written;
        }
        Ok(count)
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
    fn of(wiring: &Wiring<'a>, layers: &'a [Linear]) -> Self {
        let mut plan = Self::default();
        let mut stacked: HashSet<&str> = HashSet::new();
        for first in layers {
            if stacked.contains(&*first.y) || !first.is_narrow() {
                continue;
            }
            let group: Vec<&Linear> = layers.iter().filter(|l| first.stacks_with(l)).collect();
            if group.len() == STACKED {
                stacked.extend(group.iter().map(|l| &*l.y));
                let heads = Heads::of(wiring, &group);
                plan.replaced.extend(heads.iter().flat_map(|heads| &heads.nodes));
                plan.replace(&group, Form::Stacked(group.clone(), heads));
            }
        }
        for up in layers.iter().filter(|l| l.widens()) {
            if let Some(down) = second_layer(wiring, layers, up) {
                plan.replace(&[up], Form::Up(up));
                plan.replace(&[down], Form::Down(down, up));
            }
        }
        for up in layers.iter().filter(|l| l.is_halved()) {
            if let Some((activated, nodes)) = gelu(wiring, up)
                && second_layer(wiring, layers, up).is_some()
            {
                plan.replace(&[up], Form::Halves(up, activated));
                plan.replaced.extend(nodes);
            }
        }
        for wide in layers.iter().filter(|l| l.is_wide()) {
            if !wide.nodes.iter().any(|node| plan.replaced.contains(node)) {
                plan.replace(&[wide], Form::Wide(wide));
            }
        }
        plan
    }

    /// Puts a form in the place of the first of `layers`, and leaves the nodes of all of them out.
    fn replace(&mut self, layers: &[&Linear], form: Form<'a>) {
        self.replaced.extend(layers.iter().flat_map(|layer| &layer.nodes));
        let first = layers.iter().map(|layer| layer.product).min();
        self.forms.extend(first.map(|first| (first, form)));
    }
}

/// The layer back to what `up` began, if between the two is nothing but an activation: operators on
/// each element by itself, whose results nothing else reads.
fn second_layer<'a>(wiring: &Wiring<'a>, layers: &'a [Linear], up: &Linear) -> Option<&'a Linear> {
    let scalar = |name: &str| {
        let one = |tensor: &HostTensor| tensor.len() == 1 && tensor.shape().len() < 2;
        name.is_empty() || wiring.graph.constant(name).is_some_and(one)
    };
    let mut between = HashSet::from([&*up.y]);
    let mut next: BTreeSet<usize> = wiring.readers(&up.y).iter().copied().collect();
    let mut down: Option<&Linear> = None;
    while let Some(at) = next.pop_first() {
        let node = wiring.node(at);
        if is_elementwise(node.op_type()) && !layers.iter().any(|l| l.nodes.contains(&at)) {
            if !node.input.iter().all(|name| between.contains(name.as_str()) || scalar(name)) {
                return None;
            }
            between.extend(node.output.iter().map(String::as_str));
            next.extend(node.output.iter().flat_map(|name| wiring.readers(name)));
            continue;
        }
        let layer = layers.iter().find(|l| l.nodes.contains(&at))?;
        if down.is_some_and(|down| down.y != layer.y) || !between.contains(layer.x.name.as_str()) {
            return None;
        }
        down = Some(layer);
    }
    let inner = between.iter().all(|name| !wiring.is_output(name));
    down.filter(|down| inner && down.takes_back(up))
}

/// The exact `Gelu` that a layer ends in, which TensorRT would compute within its product: its result, and
/// its nodes.
fn gelu<'a>(wiring: &Wiring<'a>, layer: &Linear) -> Option<(&'a str, Vec<usize>)> {
    let found = activation::of(wiring, &layer.y)?;
    (found.kind == ActivationKind::Gelu).then_some((found.result, found.nodes))
}
