//! Code that the tests of the forms for Hopper share: a model in these forms, and its operators.

use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::export::{OnnxModel, Target};
use crate::spec::DType;

/// A model of one input, whose outputs `body` gives. Passes that come after the export leave the same model.
pub(super) fn model(
    dtype: DType,
    dims: &[usize],
    body: impl Fn(&Value) -> Result<Vec<Value>>,
) -> OnnxModel {
    let written = |target| {
        let graph = GraphBuilder::for_target("model", target);
        let x = graph.input("x", dtype, dims.iter().copied()).unwrap();
        for (i, y) in body(&x).unwrap().iter().enumerate() {
            graph.output(&format!("y{i}"), y).unwrap();
        }
        graph.finish().unwrap()
    };
    let target = Target::tensorrt().for_compute_capability(Some(90));
    let model = written(target);
    let later = written(target.before_passes());
    assert!(!later.is_written_for(target));
    assert!(later.for_target(target).unwrap() == model, "{later}\n{model}");
    model
}

/// All but those that name the outputs.
pub(super) fn operators(model: &OnnxModel) -> Vec<&str> {
    let nodes = &model.proto().graph.as_ref().unwrap().node;
    nodes.iter().map(|node| node.op_type()).filter(|op| *op != "Identity").collect()
}
