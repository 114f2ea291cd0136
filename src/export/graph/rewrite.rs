//! A graph written anew, node by node, with some of them in other forms. Which ones and how is of those
//! that do it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use super::{GraphBuilder, State, Value};
use crate::export::Target;
use crate::export::onnx::{AttributeProto, NodeProto};
use crate::spec::TensorSpec;
use crate::tensor::HostTensor;

/// The graph that is written. What a form takes and gives keeps its name; what is within, and weights
/// that are put together, have others.
pub(super) struct Rewriter {
    pub(super) graph: GraphBuilder,
}

impl Rewriter {
    /// Begins with the weights of another graph, and none of its nodes.
    pub(super) fn new(state: &State, target: Target) -> Self {
        let start = State { nodes: Vec::new(), scope: Vec::new(), ..state.clone() };
        Self { graph: GraphBuilder { state: Arc::new(Mutex::new(start)), target } }
    }

    /// Adds a node as it was.
    pub(super) fn keep(&self, node: &NodeProto) {
        self.graph.lock().nodes.push(node.clone());
    }

    /// A value of the other graph.
    pub(super) fn of(&self, spec: &TensorSpec) -> Value {
        self.graph.value(spec.name.as_str().into(), spec.dtype, spec.shape.clone())
    }

    /// A value of the other graph that its nodes, weights or inputs have, by its name.
    pub(super) fn known(&self, name: &str) -> Value {
        let spec = self.graph.lock().spec(name);
        self.of(&spec.expect("what is read has a shape"))
    }

    /// Gives a value that was made last a name that others know.
    pub(super) fn named(&self, value: &Value, name: &str) {
        let mut state = self.graph.lock();
        let outputs = state.nodes.iter_mut().rev().flat_map(|node| &mut node.output);
        let output = outputs.into_iter().find(|output| **output == *value.name);
        *output.expect("a node made the value") = name.to_owned();
        state.computed.insert(name.into(), (value.dtype, value.shape.clone()));
    }

    pub(super) fn finish(self) -> State {
        self.graph.lock().clone()
    }
}

/// A graph with the nodes that make and read each value, for a search.
pub(super) struct Wiring<'a> {
    pub(super) state: &'a State,
    producers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, Vec<usize>>,
}

impl<'a> Wiring<'a> {
    pub(super) fn of(state: &'a State) -> Self {
        let mut producers = HashMap::new();
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in state.nodes.iter().enumerate() {
            producers.extend(node.output.iter().map(|name| (name.as_str(), i)));
            for name in &node.input {
                readers.entry(name).or_default().push(i);
            }
        }
        Self { state, producers, readers }
    }

    pub(super) fn node(&self, at: usize) -> &'a NodeProto {
        &self.state.nodes[at]
    }

    /// The node that makes a value.
    pub(super) fn producer(&self, value: &str) -> Option<usize> {
        self.producers.get(value).copied()
    }

    /// The nodes that read a value.
    pub(super) fn readers(&self, value: &str) -> &[usize] {
        self.readers.get(value).map_or(&[], |readers| readers)
    }

    /// The node that alone reads a value, and once.
    pub(super) fn only_reader(&self, value: &str) -> Option<usize> {
        let &[reader] = self.readers(value) else { return None };
        Some(reader)
    }

    /// The node that alone reads all that another gives.
    pub(super) fn only_reader_of(&self, node: &NodeProto) -> Option<usize> {
        let [output] = &node.output[..] else { return None };
        self.only_reader(output)
    }
}

impl NodeProto {
    /// An attribute that the node states.
    pub(super) fn stated(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// The order that a `Transpose` of `rank` axes states.
    pub(super) fn permutation(&self, rank: usize) -> Option<Vec<usize>> {
        let order = self.stated("perm")?.ints.iter().map(|&axis| usize::try_from(axis).ok());
        order.collect::<Option<Vec<_>>>().filter(|order| order.len() == rank)
    }
}

impl State {
    /// Type and shape of a value, for a target that has other forms.
    pub(super) fn spec(&self, name: &str) -> Option<TensorSpec> {
        if let Some((dtype, shape)) = self.computed.get(name) {
            return Some(TensorSpec::new(name, *dtype, shape.clone()));
        }
        let input = self.inputs.iter().find(|input| input.name == name).cloned();
        input.or_else(|| {
            let known = self.constant(name)?;
            Some(TensorSpec::new(name, known.dtype(), known.shape().iter().copied()))
        })
    }

    pub(super) fn constant(&self, name: &str) -> Option<&HostTensor> {
        let found = self.weights.iter().find(|(known, _)| **known == *name);
        found.map(|(_, tensor)| tensor)
    }

    /// The value of a parameter of a layer.
    pub(super) fn weight(&self, name: &str) -> &HostTensor {
        self.constant(name).expect("a layer's parameters are weights of its graph")
    }
}
