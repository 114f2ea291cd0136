//! A model that gives all its 32-bit floats, for a calibration.

use std::collections::HashSet;

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::{OnnxModel, Target};
use crate::spec::DType;

impl OnnxModel {
    /// The same model, which also gives each 32-bit float value within it whose shape is known, behind its own
    /// outputs. Names of values are kept.
    ///
    /// # Errors
    /// What a change to the graph comes to.
    pub(crate) fn observed(&self) -> Result<Self> {
        let mut graph = Graph::of(self);
        let mut given: HashSet<String> =
            graph.outputs.iter().map(|output| output.name.clone()).collect();
        let names: Vec<String> = graph.nodes.iter().flat_map(|node| node.output.clone()).collect();
        for name in names {
            let spec = graph.spec(&name).filter(|spec| spec.dtype == DType::F32);
            let Some(spec) = spec.filter(|_| !name.is_empty()) else { continue };
            if given.insert(name) {
                graph.add_output(spec);
            }
        }
        Ok(self.in_form(graph.into_model(Target::portable())))
    }
}
