//! Visits of a model's parts wherever they stand: graphs within graphs, tensors within attributes,
//! bodies of functions. Changes nothing by itself.

use crate::error::{Error, Result};
use crate::export::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};

/// What errors call a node: its operator, and its name or what it makes.
pub(super) fn label(node: &NodeProto) -> String {
    let made = node.output.iter().find(|name| !name.is_empty()).map_or("", String::as_str);
    match (node.name(), made) {
        ("", "") => node.op_type().to_owned(),
        ("", made) => format!("{} (makes `{}`)", node.op_type(), short(made)),
        (name, _) => format!("{} `{}`", node.op_type(), short(name)),
    }
}

/// A name as errors show it: whole, or its beginning.
pub(super) fn short(name: &str) -> String {
    match name.char_indices().nth(80) {
        Some((end, _)) => format!("{}… ({} bytes)", &name[..end], name.len()),
        None => name.to_owned(),
    }
}

/// The branches and bodies of a node.
pub(super) fn bodies(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// The branches and bodies of a node, to be changed.
pub(super) fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    node.attribute
        .iter_mut()
        .flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// Calls `f` for every tensor of a model, and adds to its errors where the tensor stands.
pub(super) fn tensors_mut(
    model: &mut ModelProto,
    f: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    if let Some(graph) = &mut model.graph {
        tensors_of_graph(graph, f)?;
    }
    for function in &mut model.functions {
        let place = format!("function `{}`", short(function.name()));
        let nodes = function.node.iter_mut().try_for_each(|node| tensors_of_node(node, f));
        nodes.map_err(|e| e.in_operation(place))?;
    }
    Ok(())
}

fn tensors_of_graph(
    graph: &mut GraphProto,
    f: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    for tensor in &mut graph.initializer {
        on(tensor, f)?;
    }
    for sparse in &mut graph.sparse_initializer {
        for tensor in sparse.values.iter_mut().chain(&mut sparse.indices) {
            on(tensor, f)?;
        }
    }
    graph.node.iter_mut().try_for_each(|node| tensors_of_node(node, f))
}

fn tensors_of_node(
    node: &mut NodeProto,
    f: &mut dyn FnMut(&mut TensorProto) -> Result<()>,
) -> Result<()> {
    let holds = |a: &crate::export::onnx::AttributeProto| {
        a.t.is_some()
            || a.g.is_some()
            || a.sparse_tensor.is_some()
            || !(a.tensors.is_empty() && a.graphs.is_empty() && a.sparse_tensors.is_empty())
    };
    if !node.attribute.iter().any(holds) {
        return Ok(());
    }
    let place = label(node);
    let made = node.output.first().cloned().unwrap_or_default();
    let name = |e: Error| e.in_operation(place.as_str()).on_tensor(made.as_str());
    for attribute in &mut node.attribute {
        for tensor in attribute.t.iter_mut().chain(&mut attribute.tensors) {
            f(tensor).map_err(name)?;
        }
        for sparse in attribute.sparse_tensor.iter_mut().chain(&mut attribute.sparse_tensors) {
            for tensor in sparse.values.iter_mut().chain(&mut sparse.indices) {
                f(tensor).map_err(name)?;
            }
        }
        for graph in attribute.g.iter_mut().chain(&mut attribute.graphs) {
            tensors_of_graph(graph, f).map_err(|e| e.in_operation(place.as_str()))?;
        }
    }
    Ok(())
}

fn on(tensor: &mut TensorProto, f: &mut dyn FnMut(&mut TensorProto) -> Result<()>) -> Result<()> {
    f(tensor).map_err(|e| e.on_tensor(short(tensor.name())))
}
