//! A model that also gives what its nodes compute on the way, for whoever looks for the layer that is wrong.

use std::collections::HashSet;

use super::{OnnxModel, infer};
use crate::error::Result;
use crate::export::onnx::{self, ValueInfoProto};
use crate::spec::Symbol;

/// An output of the model that a node computes.
pub(crate) struct ComputedOutput {
    /// Its place among the outputs.
    pub(crate) output: usize,
    pub(crate) tensor: String,
    pub(crate) node_index: usize,
    pub(crate) node: String,
    pub(crate) operator: String,
}

impl OnnxModel {
    /// The same model with each value of the main graph as an output, behind its own, or each of floats alone. Left out
    /// are values of which type or rank is not known, sequences, and what has a type that no tensor has.
    ///
    /// # Errors
    /// [`InvalidModel`](crate::ErrorKind::InvalidModel) where the model does not fit together.
    pub(crate) fn with_inner_outputs(&self, floats_alone: bool) -> Result<Self> {
        let mut proto = self.proto().clone();
        let facts = infer::facts(&proto)?;
        let mut added = Vec::new();
        if let Some(graph) = &mut proto.graph {
            let given = graph.output.iter().map(|output| output.name().to_owned());
            let mut given: HashSet<String> = given.collect();
            for name in graph.node.iter().flat_map(|node| &node.output) {
                let known = facts.get(name).is_some_and(|fact| {
                    let dtype = onnx::from_onnx(fact.dtype).ok();
                    let wanted = dtype.is_some_and(|dtype| dtype.is_float() || !floats_alone);
                    !fact.other && fact.rank().is_some() && wanted
                });
                if known && !name.is_empty() && given.insert(name.clone()) {
                    added.push(ValueInfoProto { name: Some(name.clone()), ..Default::default() });
                }
            }
            graph.output.extend(added);
        }
        let mut whole = Self::from_proto(proto)?;
        // Ranges are in no protobuf.
        let stated = |symbol: &Symbol| {
            let inputs = self.signature.inputs.iter().flat_map(|spec| spec.shape.dims());
            let mut known = inputs.filter_map(|dim| dim.symbol());
            known.find(|known| known.name() == symbol.name()).cloned()
        };
        whole.signature = whole.signature.with_symbols(stated);
        Ok(whole)
    }

    /// The outputs that nodes of the main graph compute.
    pub(crate) fn computed_outputs(&self) -> Vec<ComputedOutput> {
        let Some(graph) = &self.proto().graph else { return Vec::new() };
        let computed = graph.output.iter().enumerate().filter_map(|(output, value)| {
            let is_of = |node: &&onnx::NodeProto| node.output.iter().any(|o| o == value.name());
            let node_index = graph.node.iter().position(|node| is_of(&node))?;
            let node = &graph.node[node_index];
            Some(ComputedOutput {
                output,
                tensor: value.name().to_owned(),
                node_index,
                node: node.name().to_owned(),
                operator: node.op_type().to_owned(),
            })
        });
        computed.collect()
    }
}
