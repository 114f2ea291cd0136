//! A branch of an `If` or the body of a loop, as a graph of its own that sees what is around it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Graph, captured};
use crate::error::Result;
use crate::export::onnx::{self, GraphProto, ModelProto, NodeProto};

impl Graph {
    /// Gives `change` each body of each node, and takes a body back where `change` tells of changes. The sum of what
    /// `change` tells comes back.
    ///
    /// # Errors
    /// Those of `change`, with the node.
    pub(in crate::export) fn change_bodies(
        &mut self,
        change: &mut dyn FnMut(&mut Self) -> Result<usize>,
    ) -> Result<usize> {
        let mut all = 0;
        let mut nodes = std::mem::take(&mut self.nodes);
        for node in &mut nodes {
            if node.attribute.iter().all(|a| a.g.is_none() && a.graphs.is_empty()) {
                continue;
            }
            let around = self.around(node);
            let bodies =
                node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs));
            for body in bodies {
                let mut graph = self.enter_body(&around, body);
                let changed = change(&mut graph);
                // Names are taken once for a graph and all that is within it.
                self.names = std::mem::take(&mut graph.names);
                let changed = changed
                    .map_err(|e| e.in_operation(node.name.as_deref().unwrap_or_default()))?;
                if changed > 0 {
                    *body = graph.into_body();
                }
                all += changed;
            }
        }
        self.nodes = nodes;
        Ok(all)
    }

    /// The names that the bodies of a node may have from around them.
    fn around(&self, node: &NodeProto) -> HashSet<Arc<str>> {
        captured(node).into_iter().filter(|name| !name.is_empty()).map(Arc::from).collect()
    }

    fn enter_body(&mut self, around: &HashSet<Arc<str>>, body: &GraphProto) -> Self {
        let rest = ModelProto {
            ir_version: self.rest.ir_version,
            opset_import: self.rest.opset_import.clone(),
            functions: self.rest.functions.clone(),
            graph: Some(body.clone()),
            ..Default::default()
        };
        let mut graph = Self::of_rest(rest);
        graph.names = std::mem::take(&mut self.names);
        let own = made(body);
        for name in around.iter().filter(|name| !own.contains(&***name)) {
            if let Some(tensor) = self.constant(name) {
                graph.weights.push(name.clone(), tensor.clone());
            } else if let Some((dtype, shape)) = self.values.get(name) {
                graph.set_spec(name, *dtype, shape.clone());
            }
            graph.given.insert(name.clone());
        }
        graph.names.extend(own.into_iter().map(Arc::from));
        for input in &body.input {
            graph.given.insert(input.name().into());
            if let Ok(spec) = onnx::spec_from_proto(input) {
                graph.set_spec(&spec.name, spec.dtype, spec.shape.clone());
                graph.inputs.push(spec);
            }
        }
        graph.read_nodes();
        graph.find_specs();
        graph
    }

    /// The body, with the weights that are read in it alone.
    fn into_body(self) -> GraphProto {
        let used = self.used();
        let own = self.weights.iter();
        let own = own.filter(|(name, _)| used.contains(&**name) && !self.given.contains(name));
        let weights: Vec<_> =
            own.map(|(name, tensor)| onnx::tensor_to_proto(name, tensor)).collect();
        let mut body = self.rest.graph.unwrap_or_default();
        body.initializer.extend(weights);
        body.node = self.nodes;
        body
    }
}

/// The names that a body makes itself.
pub(super) fn made(body: &GraphProto) -> HashSet<&str> {
    let inputs = body.input.iter().map(|input| input.name());
    let weights = body.initializer.iter().map(|weight| weight.name());
    let nodes = body.node.iter().flat_map(|node| &node.output).map(String::as_str);
    inputs.chain(weights).chain(nodes).collect()
}
