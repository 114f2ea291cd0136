//! Which inputs of a model decide by their values how large other values are.

use std::collections::{HashMap, HashSet};

#[cfg(feature = "ort")]
use super::walk;
#[cfg(feature = "ort")]
use crate::export::onnx::GraphProto;
use crate::export::onnx::{ModelProto, NodeProto};

/// The operators with such an input, and where it stands.
const BY_VALUE: [(&str, &[usize]); 11] = [
    ("ConstantOfShape", &[0]),
    ("Expand", &[1]),
    ("Tile", &[1, 2]),
    ("Range", &[0, 1, 2]),
    ("OneHot", &[1]),
    ("Pad", &[1]),
    ("Resize", &[1, 2, 3]),
    ("Upsample", &[1]),
    ("TopK", &[1]),
    ("MaxUnpool", &[2]),
    ("BlackmanWindow", &[0]),
];

/// Operators whose results have sizes that values decide, whatever their inputs are.
#[cfg(feature = "ort")]
const ALWAYS: [&str; 9] = [
    "Compress",
    "ConcatFromSequence",
    "Loop",
    "NonMaxSuppression",
    "NonZero",
    "Scan",
    "SequenceMap",
    "SplitToSequence",
    "Unique",
];

/// Whether a run alone shows some of the sizes: values decide a size that are no constants, or an operator is not ONNX's.
#[cfg(feature = "ort")]
pub(super) fn shows_late(model: &ModelProto) -> bool {
    fn in_graph<'m>(graph: &'m GraphProto, outer: &HashSet<&'m str>) -> bool {
        let mut constants = outer.clone();
        constants.extend(graph.initializer.iter().map(|tensor| tensor.name()));
        let made = graph.node.iter().filter(|node| node.op_type() == "Constant");
        constants.extend(made.flat_map(|node| &node.output).map(String::as_str));
        graph.node.iter().any(|node| {
            let decide = BY_VALUE.iter().find(|(name, _)| *name == node.op_type());
            let mut decide = decide.map_or(&[][..], |(_, places)| *places).iter();
            let input = |place: usize| node.input.get(place).filter(|name| !name.is_empty());
            let is_open = |name: &String| !constants.contains(name.as_str());
            !matches!(node.domain(), "" | "ai.onnx")
                || ALWAYS.contains(&node.op_type())
                || decide.any(|&place| input(place).is_some_and(is_open))
                || walk::bodies(node).any(|body| in_graph(body, &constants))
        })
    }
    model.graph.as_ref().is_some_and(|graph| in_graph(graph, &HashSet::new()))
}

/// The inputs from which such a value comes. What nodes in bodies do is not looked at.
pub(super) fn inputs(model: &ModelProto) -> HashSet<String> {
    let Some(graph) = &model.graph else { return HashSet::new() };
    let decides = |node: &NodeProto| {
        BY_VALUE.iter().find(|(name, _)| *name == node.op_type()).map(|(_, places)| *places)
    };
    let mut open: Vec<&str> = Vec::new();
    for node in &graph.node {
        for &place in decides(node).unwrap_or_default() {
            open.extend(node.input.get(place).map(String::as_str));
        }
    }
    if open.is_empty() {
        return HashSet::new();
    }
    let makers: HashMap<&str, &NodeProto> = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |name| (name.as_str(), node)))
        .collect();
    let given: HashSet<&str> = graph.input.iter().map(|input| input.name()).collect();
    let (mut seen, mut found) = (HashSet::new(), HashSet::new());
    while let Some(name) = open.pop() {
        if name.is_empty() || !seen.insert(name) {
            continue;
        }
        if given.contains(name) {
            found.insert(name.to_owned());
        }
        // A shape says nothing of values.
        if let Some(maker) = makers.get(name).filter(|node| !is_shape(node)) {
            open.extend(maker.input.iter().map(String::as_str));
        }
    }
    found
}

fn is_shape(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Shape" | "Size" | "ConstantOfShape")
}
