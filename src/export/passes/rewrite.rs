//! A graph written anew, node by node, with some of them in other forms. Which ones and how is of those
//! that do it.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, GraphBuilder, Value};
use crate::export::onnx::NodeProto;
use crate::spec::TensorSpec;

/// The graph that is written. What a form takes and gives keeps its name; what is within, and weights
/// that are put together, have others.
pub(super) struct Rewriter {
    pub(super) graph: GraphBuilder,
}

/// Writes those nodes anew for which `find` gives something. The result is how many they are.
///
/// # Errors
/// Those of `write`.
pub(super) fn replace<T>(
    graph: &mut Graph,
    target: Target,
    find: impl Fn(&Graph, &NodeProto) -> Option<T>,
    write: impl Fn(&Rewriter, &NodeProto, &T) -> Result<()>,
) -> Result<usize> {
    let found: Vec<Option<T>> = graph.nodes.iter().map(|node| find(graph, node)).collect();
    let count = found.iter().flatten().count();
    if count == 0 {
        return Ok(0);
    }
    let new = Rewriter::new(graph, target);
    for (node, found) in graph.nodes.iter().zip(&found) {
        match found {
            Some(found) => {
                let made = node.output.iter().find(|name| !name.is_empty());
                let scope = new.graph.scope(format!("{}.parts", made.map_or("", String::as_str)));
                write(&new, node, found)?;
                drop(scope);
            }
            None => new.keep(node),
        }
    }
    *graph = new.finish();
    Ok(count)
}

impl Rewriter {
    /// Begins with the weights of another graph, and none of its nodes.
    pub(super) fn new(graph: &Graph, target: Target) -> Self {
        let target = target.with_opset(graph.opset());
        Self { graph: GraphBuilder::of(graph.without_nodes(), target) }
    }

    /// Adds a node as it was.
    pub(super) fn keep(&self, node: &NodeProto) {
        self.graph.with_graph(|graph| graph.nodes.push(node.clone()));
    }

    /// A value of the other graph.
    pub(super) fn of(&self, spec: &TensorSpec) -> Value {
        self.graph.value(spec.name.as_str().into(), spec.dtype, spec.shape.clone())
    }

    /// A value of the other graph that its nodes, weights or inputs have, by its name.
    pub(super) fn known(&self, name: &str) -> Value {
        let spec = self.graph.with_graph(|graph| graph.spec(name));
        self.of(&spec.expect("what is read has a shape"))
    }

    /// Gives a value that was made last a name that others know.
    pub(super) fn named(&self, value: &Value, name: &str) {
        self.graph.with_graph(|graph| {
            let outputs = graph.nodes.iter_mut().rev().flat_map(|node| &mut node.output);
            let output = outputs.into_iter().find(|output| **output == *value.name());
            *output.expect("a node made the value") = name.to_owned();
            graph.set_spec(name, value.dtype(), value.shape().clone());
        });
    }

    pub(super) fn finish(self) -> Graph {
        self.graph.graph()
    }
}
