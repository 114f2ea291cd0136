//! Layers whose weights have the same sizes take the same time: one measurement tells it of all of them.

use std::collections::HashMap;

use crate::export::OnnxModel;
use crate::export::onnx::NodeProto;

/// Layers of the same sizes.
pub(super) struct Group {
    /// The operator and the sizes of its weight, such as `MatMul 384 x 1536`.
    pub(super) name: String,
    pub(super) layers: Vec<String>,
    /// The numbers of all weights.
    size: u64,
}

/// A weight is a few nodes away: it is dequantized, turned or cast.
const NODES_BETWEEN: usize = 8;

/// The quantized layers of a model by their sizes, those with most weights first.
pub(super) fn of(model: &OnnxModel, layers: &[String]) -> Vec<Group> {
    let Some(graph) = &model.proto().graph else { return Vec::new() };
    let sizes: HashMap<&str, &[i64]> =
        graph.initializer.iter().map(|weight| (weight.name(), &*weight.dims)).collect();
    let makers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)))
        .collect();
    let sizes_of = |node: &NodeProto| {
        let mut name = node.input.get(1)?.as_str();
        for _ in 0..NODES_BETWEEN {
            if let Some(found) = sizes.get(name) {
                return Some(found.to_vec());
            }
            name = makers.get(name)?.input.first()?;
        }
        None
    };
    let label = |node: &NodeProto| match node.name() {
        "" => node.output.first().cloned().unwrap_or_default(),
        name => name.to_owned(),
    };
    let nodes: HashMap<String, &NodeProto> =
        graph.node.iter().map(|node| (label(node), node)).collect();
    let mut groups: Vec<Group> = Vec::new();
    for layer in layers {
        let Some(node) = nodes.get(layer) else { continue };
        let sizes = sizes_of(node).unwrap_or_default();
        let text: Vec<String> = sizes.iter().map(i64::to_string).collect();
        let name = format!("{} {}", node.op_type(), text.join(" x "));
        let size = sizes.iter().map(|size| size.unsigned_abs()).product();
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => {
                group.layers.push(layer.clone());
                group.size += size;
            }
            None => groups.push(Group { name, layers: vec![layer.clone()], size }),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.size));
    groups
}
