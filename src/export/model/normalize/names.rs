//! The names of a graph's values: all that are taken, new ones, and a value under another name.

use std::collections::{HashMap, HashSet};

use crate::export::model::walk;
use crate::export::onnx::{GraphProto, NodeProto};

/// Names that are taken, such as those of all values in a graph and its bodies.
#[derive(Default)]
pub(in crate::export::model) struct Names {
    taken: HashSet<String>,
    /// By what a name begins with: the number to try next. Files may have one name thousands of times.
    next: HashMap<String, usize>,
}

impl Names {
    pub(in crate::export::model) fn of(graph: &GraphProto) -> Self {
        let mut names = HashSet::new();
        collect(graph, &mut names);
        Self::from(names)
    }

    /// Takes a name that begins with `hint` and that nothing has.
    pub(in crate::export::model) fn unique(&mut self, hint: &str) -> String {
        if self.taken.insert(hint.to_owned()) {
            return hint.to_owned();
        }
        let number = self.next.entry(hint.to_owned()).or_insert(1);
        loop {
            let name = format!("{hint}_{number}");
            *number += 1;
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }
}

impl From<HashSet<String>> for Names {
    fn from(taken: HashSet<String>) -> Self {
        Self { taken, next: HashMap::new() }
    }
}

fn collect(graph: &GraphProto, names: &mut HashSet<String>) {
    let values = graph.input.iter().chain(&graph.output);
    names.extend(values.map(|value| value.name().to_owned()));
    names.extend(graph.initializer.iter().map(|tensor| tensor.name().to_owned()));
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    names.extend(sparse.map(|tensor| tensor.name().to_owned()));
    for node in &graph.node {
        names.extend(node.input.iter().chain(&node.output).cloned());
        walk::bodies(node).for_each(|body| collect(body, names));
    }
}

/// The names that a graph makes itself: its inputs, weights, and what its nodes give.
pub(in crate::export::model) fn made(graph: &GraphProto) -> HashSet<&str> {
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    let weights = graph.initializer.iter().chain(sparse).map(|tensor| tensor.name());
    let inputs = graph.input.iter().map(|value| value.name());
    let outputs = graph.node.iter().flat_map(|node| &node.output).map(String::as_str);
    weights.chain(inputs).chain(outputs).filter(|name| !name.is_empty()).collect()
}

/// What a node reads: its inputs, and what its bodies take from around them.
pub(in crate::export::model) fn reads(node: &NodeProto) -> Vec<&str> {
    let mut names: Vec<&str> =
        node.input.iter().filter(|name| !name.is_empty()).map(String::as_str).collect();
    for body in walk::bodies(node) {
        let own = made(body);
        let inner = body.node.iter().flat_map(reads);
        let given = body.output.iter().map(|value| value.name());
        names.extend(inner.chain(given).filter(|name| !own.contains(name)));
    }
    names
}

/// Makes nodes read other names where `new` has one.
pub(in crate::export::model) fn rename_reads(
    nodes: &mut [NodeProto],
    new: &HashMap<String, String>,
) {
    for node in nodes {
        for name in &mut node.input {
            if let Some(new) = new.get(name) {
                name.clone_from(new);
            }
        }
        for body in walk::bodies_mut(node) {
            let own = made(body);
            let hides = new.keys().any(|name| own.contains(name.as_str()));
            let outer: HashMap<String, String>;
            let new = match hides {
                true => {
                    let seen = new.iter().filter(|(name, _)| !own.contains(name.as_str()));
                    outer = seen.map(|(old, new)| (old.clone(), new.clone())).collect();
                    &outer
                }
                false => new,
            };
            rename_reads(&mut body.node, new);
            for output in &mut body.output {
                if let Some(new) = new.get(output.name()) {
                    output.name = Some(new.clone());
                }
            }
        }
    }
}

/// A node that gives a value another name.
pub(in crate::export::model) fn identity(from: &str, to: &str) -> NodeProto {
    NodeProto {
        name: Some(to.to_owned()),
        op_type: Some("Identity".to_owned()),
        input: vec![from.to_owned()],
        output: vec![to.to_owned()],
        ..Default::default()
    }
}
