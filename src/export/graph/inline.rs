//! A body in the place of the node that has it.

use std::collections::{HashMap, HashSet};

use super::Graph;
use super::body::made;
use super::read::constant;
use crate::export::onnx::{self, GraphProto, NodeProto};
use crate::tensor::HostTensor;

impl Graph {
    /// The nodes of a branch, which take the place of `node`. Names within get fresh ones, and what the branch gives
    /// is called as what the node gave. The weights of the branch become those of the graph.
    ///
    /// `None` for a branch with weights of a type that this crate has no name for; nothing has changed then.
    pub(in crate::export) fn inline(
        &mut self,
        node: &NodeProto,
        branch: &GraphProto,
    ) -> Option<Vec<NodeProto>> {
        if !branch.input.is_empty()
            || !branch.sparse_initializer.is_empty()
            || branch.output.len() < node.output.len()
        {
            return None;
        }
        let weights = branch.initializer.iter().map(onnx::tensor_from_proto);
        let weights: Vec<HostTensor> = weights.collect::<Option<_>>()?;
        let mut within = HashSet::new();
        self.nodes.iter().chain([node]).for_each(|node| names_within(node, &mut within));
        self.names.extend(within.into_iter().map(Into::into));
        // In an order that is the same each time.
        let mut own: Vec<&str> = made(branch).into_iter().filter(|name| !name.is_empty()).collect();
        own.sort_unstable();
        let mut names: HashMap<String, String> =
            own.into_iter().map(|name| (name.to_owned(), self.fresh(name))).collect();
        let computed: HashSet<&str> =
            branch.node.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        let mut copies = Vec::new();
        let mut given_names = HashSet::new();
        let outputs = node.output.iter().zip(&branch.output).filter(|(given, _)| !given.is_empty());
        for (given, output) in outputs {
            if computed.contains(output.name()) && given_names.insert(output.name()) {
                names.insert(output.name().to_owned(), given.clone());
            } else {
                copies.push((given, output.name()));
            }
        }
        for (initializer, tensor) in branch.initializer.iter().zip(weights) {
            self.set_constant(&names[initializer.name()], tensor);
        }
        let mut nodes = Vec::with_capacity(branch.node.len());
        for inner in &branch.node {
            let mut inner = inner.clone();
            rename(&mut inner, &names);
            match (constant(&inner), &inner.output[..]) {
                (Some(tensor), [name]) if !node.output.contains(name) => {
                    self.set_constant(name, tensor);
                }
                _ => nodes.push(inner),
            }
        }
        nodes.extend(copies.into_iter().map(|(given, from)| NodeProto {
            op_type: Some("Identity".into()),
            name: Some(format!("{}.{given}", node.name())),
            input: vec![names.get(from).cloned().unwrap_or_else(|| from.to_owned())],
            output: vec![given.clone()],
            ..Default::default()
        }));
        Some(nodes)
    }
}

/// All names in the bodies of a node.
fn names_within(node: &NodeProto, names: &mut HashSet<String>) {
    for body in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
        names.extend(made(body).into_iter().map(str::to_owned));
        body.node.iter().for_each(|node| names_within(node, names));
    }
}

/// Other names for what a node reads and gives, in its bodies too. A body's own names hide those around it.
fn rename(node: &mut NodeProto, names: &HashMap<String, String>) {
    let change = |name: &mut String| {
        if let Some(new) = names.get(name) {
            new.clone_into(name);
        }
    };
    node.input.iter_mut().chain(&mut node.output).for_each(change);
    for body in node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
        let own = made(body);
        let seen = names.iter().filter(|(name, _)| !own.contains(name.as_str()));
        let seen: HashMap<_, _> = seen.map(|(name, new)| (name.clone(), new.clone())).collect();
        body.node.iter_mut().for_each(|node| rename(node, &seen));
        for output in &mut body.output {
            if let Some(new) = seen.get(output.name()) {
                output.name = Some(new.clone());
            }
        }
    }
}
