//! What a builder has made so far: the graph, names, symbols and computed sizes.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use super::Value;
use crate::export::graph::{Graph, LONGEST_NAME};
use crate::export::onnx::{Attribute, NodeProto};
use crate::spec::{Dim, Symbol};

pub(super) struct State {
    pub(super) graph: Graph,
    /// Names of outputs to come, which no other value gets.
    pub(super) reserved: HashSet<String>,
    pub(super) symbols: BTreeMap<String, Symbol>,
    /// Sizes that are computed, as 1-D i64 tensors of one element.
    pub(super) sizes: Vec<(Dim, Arc<str>)>,
    pub(super) scope: Vec<String>,
}

impl State {
    pub(super) fn unique(&mut self, hint: &str) -> Arc<str> {
        let prefix = self.scope.iter().fold(String::new(), |path, part| path + part + "/");
        self.free(format!("{prefix}{hint}"))
    }

    /// A name that nothing has yet, which begins with another.
    pub(super) fn free(&mut self, base: String) -> Arc<str> {
        let mut base = base.replace('\0', "_");
        // With room for a number.
        base.truncate(base.floor_char_boundary(LONGEST_NAME - 32));
        let mut candidate = base.clone();
        let mut number = self.graph.nodes.len();
        while self.is_taken(&candidate) {
            candidate = format!("{base}_{number}");
            number += 1;
        }
        let name: Arc<str> = candidate.into();
        self.graph.names.insert(name.clone());
        name
    }

    pub(super) fn is_taken(&self, name: &str) -> bool {
        self.graph.names.contains(name) || self.reserved.contains(name)
    }

    pub(super) fn push_node(
        &mut self,
        op_type: &str,
        name: Option<String>,
        inputs: &[Option<&Value>],
        attributes: &[(&str, Attribute)],
        outputs: &[Arc<str>],
    ) {
        self.graph.nodes.push(NodeProto {
            name: Some(name.unwrap_or_else(|| outputs[0].to_string())),
            op_type: Some(op_type.to_owned()),
            input: inputs
                .iter()
                .map(|i| i.map_or_else(String::new, |v| v.name.to_string()))
                .collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..Default::default()
        });
    }
}
