//! Weights that nothing reads. A reader may refuse a weight for its type alone, though no node needs the weight.

use std::collections::HashSet;

use crate::export::graph::captured;
use crate::export::onnx::{GraphProto, ModelProto, NodeProto};

/// The model without the weights that nothing reads, also in branches and loop bodies; `None` where all are read.
pub(super) fn without(model: &ModelProto) -> Option<ModelProto> {
    if !model.graph.iter().any(has_unread) {
        return None;
    }
    let mut model = model.clone();
    model.graph.iter_mut().for_each(drop_unread);
    Some(model)
}

/// Takes the weights that nothing reads out of a graph and its bodies.
fn drop_unread(graph: &mut GraphProto) {
    for node in &mut graph.node {
        bodies_mut(node).for_each(drop_unread);
    }
    let read: HashSet<String> = read(graph).into_iter().map(str::to_owned).collect();
    graph.initializer.retain(|weight| read.contains(weight.name()));
    graph
        .sparse_initializer
        .retain(|weight| weight.values.as_ref().is_some_and(|values| read.contains(values.name())));
}

fn has_unread(graph: &GraphProto) -> bool {
    let read = read(graph);
    let sparse = graph.sparse_initializer.iter().filter_map(|weight| weight.values.as_ref());
    let mut weights = graph.initializer.iter().chain(sparse);
    weights.any(|weight| !read.contains(weight.name()))
        || graph.node.iter().any(|node| bodies(node).any(has_unread))
}

/// The names that nodes read, those of bodies included, or that are outputs.
fn read(graph: &GraphProto) -> HashSet<&str> {
    let mut read: HashSet<&str> = graph.output.iter().map(|output| output.name()).collect();
    for node in &graph.node {
        read.extend(node.input.iter().map(String::as_str).chain(captured(node)));
    }
    read
}

fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    let attributes = node.attribute.iter_mut();
    attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}
