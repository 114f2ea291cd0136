//! An operator of tract that keeps tensors unchanged and has an error for what the next operator loses. tract computes at
//! once what follows from constants, where no run looks at the values. So this operator stands between.

use std::collections::HashSet;

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_hir::infer::InferenceOp;
use tract_onnx::tract_hir::ops::expandable::inference_wrap;
use tract_onnx::{Onnx, pb};

use super::gaps::view::View;
use super::nan;
use super::rewrite::WRITTEN;
use crate::export::onnx::{Attribute, GraphProto, NodeProto};
use crate::spec::DType;

/// The name of the operator in a graph.
const CHECKED: &str = "AccelerantChecked";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Checked {
    /// What loses the values.
    node: String,
    /// The bits of the largest number that is not lost.
    most: u32,
}

impl Op for Checked {
    fn name(&self) -> StaticName {
        "Checked".into()
    }

    tract_onnx::tract_core::op_as_typed_op!();
}

impl EvalOp for Checked {
    tract_onnx::tract_core::op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let most = f32::from_bits(self.most);
        match inputs.iter().any(|value| nan::is_lost(value, most)) {
            true => Err(nan::lost(most, &self.node).into()),
            false => Ok(inputs),
        }
    }

    fn forwards_input(&self) -> Option<usize> {
        Some(0)
    }
}

impl TypedOp for Checked {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(inputs.iter().map(|&fact| fact.clone()).collect())
    }

    tract_onnx::tract_core::as_op!();
}

/// tract, with the operator.
pub(super) fn framework() -> Onnx {
    let mut framework = tract_onnx::onnx();
    framework.op_register.insert(CHECKED, |_, node| read(node));
    framework.with_ignore_value_info(true)
}

fn read(node: &pb::NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let most = node.get_attr::<f32>("most")?.to_bits();
    let op = Checked { node: node.get_attr("node")?, most };
    let wrapped = inference_wrap(op, 1, |_, solver, inputs, outputs| {
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    });
    Ok((wrapped, Vec::new()))
}

/// Puts the operator before each node that loses something of what follows from constants. `around` has the values outside
/// of the graph that do.
pub(super) fn insert(graph: &mut GraphProto, outer: &View<'_>, around: &HashSet<String>) {
    let mut constants = around.clone();
    constants.extend(graph.initializer.iter().map(|tensor| tensor.name().to_owned()));
    let known = graph.clone();
    let view = outer.with(&known);
    let mut nodes = Vec::with_capacity(graph.node.len());
    for mut node in std::mem::take(&mut graph.node) {
        let own = match (node.name(), node.output.first()) {
            ("", Some(output)) => output.clone(),
            (name, _) => name.to_owned(),
        };
        if is_computed_at_once(&node, &constants) {
            constants.extend(node.output.iter().cloned());
        }
        for at in 0..node.input.len() {
            let follows = constants.contains(&node.input[at]) && view.constant(&node, at).is_none();
            let floats = |dtype| matches!(dtype, DType::F32 | DType::F64);
            let floats = view.dtype(&node, at).is_none_or(floats);
            if !nan::loses_node(&node) || !follows || !floats {
                continue;
            }
            let most = nan::most_of(&node, &view);
            let checked = format!("{}.checked{at}.{own}", node.input[at]);
            let before = std::mem::replace(&mut node.input[at], checked.clone());
            nodes.push(NodeProto {
                op_type: Some(CHECKED.to_owned()),
                name: Some(format!("{own}{WRITTEN}checked{at}")),
                input: vec![before],
                output: vec![checked],
                attribute: vec![
                    Attribute::from(&*own).to_proto("node"),
                    Attribute::from(most).to_proto("most"),
                ],
                ..Default::default()
            });
        }
        for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            insert(body, &view, &constants);
        }
        nodes.push(node);
    }
    graph.node = nodes;
}

/// Whether a node follows from constants alone. What follows from sizes waits for these.
fn is_computed_at_once(node: &NodeProto, constants: &HashSet<String>) -> bool {
    let known = |name: &String| name.is_empty() || constants.contains(name);
    match node.op_type() {
        "Constant" => true,
        "If" | "Loop" | "Scan" | "Shape" | "Size" => false,
        _ => !node.input.is_empty() && node.input.iter().all(known),
    }
}
