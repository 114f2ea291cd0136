//! Loops that only count get the condition that they may leave out: TensorRT's parser does not find it
//! when the body reads it.

use super::names::Names;
use crate::export::model::infer::condition::always_goes_on;
use crate::export::model::walk;
use crate::export::onnx::{GraphProto, NodeProto, TensorProto, tensor_proto::DataType};

/// Adds the condition, which is true, to loops whose body never changes it.
pub(in crate::export::model) fn give_conditions(graph: &mut GraphProto) {
    let mut condition: Option<String> = None;
    for i in 0..graph.node.len() {
        walk::bodies_mut(&mut graph.node[i]).for_each(give_conditions);
        if !counts_only(&graph.node[i]) {
            continue;
        }
        let name = match &condition {
            Some(name) => name.clone(),
            None => condition.insert(Names::of(graph).unique("loop_condition")).clone(),
        };
        let inputs = &mut graph.node[i].input;
        inputs.resize(inputs.len().max(2), String::new());
        inputs[1] = name;
    }
    graph.initializer.extend(condition.map(|name| TensorProto {
        name: Some(name),
        data_type: Some(DataType::Bool as i32),
        raw_data: Some(vec![1u8].into()),
        ..Default::default()
    }));
}

fn counts_only(node: &NodeProto) -> bool {
    let body = node.attribute.iter().find(|a| a.name() == "body").and_then(|a| a.g.as_ref());
    node.op_type() == "Loop"
        && matches!(node.domain(), "" | "ai.onnx")
        && node.input.first().is_some_and(|trips| !trips.is_empty())
        && node.input.get(1).is_none_or(String::is_empty)
        && body.is_some_and(|body| always_goes_on(body, |_| None))
}
