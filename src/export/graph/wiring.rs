//! Which node makes a value and which read it, for a search over a graph that does not change meanwhile.

use std::collections::{HashMap, HashSet};

use super::Graph;
use crate::export::onnx::{AttributeProto, GraphProto, NodeProto};

/// A graph with the nodes that make and read each value.
pub(in crate::export) struct Wiring<'a> {
    pub(in crate::export) graph: &'a Graph,
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
    outputs: HashSet<&'a str>,
}

impl<'a> Wiring<'a> {
    pub(in crate::export) fn of(graph: &'a Graph) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in graph.nodes.iter().enumerate() {
            producers.extend(node.output.iter().map(|name| (name.as_str(), i)));
            let inner = captured(node);
            for name in node.input.iter().map(String::as_str).chain(inner) {
                readers.entry(name).or_default().push(i);
            }
        }
        let outputs = graph.output_names().collect();
        Self { graph, producers, readers, outputs }
    }

    pub(in crate::export) fn node(&self, at: usize) -> &'a NodeProto {
        &self.graph.nodes[at]
    }

    /// The node that makes a value.
    pub(in crate::export) fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The nodes that read a value, also those that read it in a branch or a loop.
    pub(in crate::export) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], |readers| readers)
    }

    /// Whether the graph gives a value.
    pub(in crate::export) fn is_output(&self, value: &str) -> bool {
        self.outputs.contains(value)
    }

    /// The node that alone reads a value, and once.
    pub(in crate::export) fn only_reader(&self, value: &str) -> Option<usize> {
        let &[reader] = self.readers(value) else { return None };
        (!self.is_output(value)).then_some(reader)
    }

    /// The node that alone reads all that another gives.
    pub(in crate::export) fn only_reader_of(&self, node: &NodeProto) -> Option<usize> {
        let [output] = &node.output[..] else { return None };
        self.only_reader(output)
    }
}

/// The names that the branches and loop bodies of a node read; among them those that they make themselves.
pub(in crate::export) fn captured(node: &NodeProto) -> Vec<&str> {
    let mut names = Vec::new();
    let mut graphs: Vec<&GraphProto> = graphs(node).collect();
    while let Some(graph) = graphs.pop() {
        for node in &graph.node {
            names.extend(node.input.iter().map(String::as_str));
            graphs.extend(self::graphs(node));
        }
        names.extend(graph.output.iter().map(|output| output.name()));
    }
    names
}

fn graphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

impl NodeProto {
    /// Whether this is an operator of the default operator set.
    pub(in crate::export) fn is(&self, operator: &str) -> bool {
        self.op_type() == operator && self.is_default()
    }

    /// Whether it is of the default operator set.
    pub(in crate::export) fn is_default(&self) -> bool {
        matches!(self.domain(), "" | "ai.onnx")
    }

    /// An attribute that the node states.
    pub(in crate::export) fn stated(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// An integer that the node states, or the operator's own.
    pub(in crate::export) fn int(&self, name: &str, usual: i64) -> i64 {
        self.stated(name).map_or(usual, |attribute| attribute.i())
    }

    /// The order that a `Transpose` of `rank` axes states.
    pub(in crate::export) fn permutation(&self, rank: usize) -> Option<Vec<usize>> {
        let order = self.stated("perm")?.ints.iter().map(|&axis| usize::try_from(axis).ok());
        order.collect::<Option<Vec<_>>>().filter(|order| order.len() == rank)
    }
}
