//! What a node leaves out. Files write an empty name where they could write nothing, and consumers take the two for different
//! things: some refuse the node, and ONNX Runtime ends the process.

use super::names::Names;
use crate::export::model::walk;
use crate::export::onnx::{AttributeProto, GraphProto, TensorProto};
use crate::export::onnx::{attribute_proto::AttributeType, tensor_proto::DataType};

/// Operators whose inputs and outputs have a meaning by their number.
const COUNTED: [&str; 3] = ["If", "Loop", "Scan"];

/// Takes empty names off the ends of inputs and outputs, names the parts of a `Split` that nothing reads, and writes the value
/// that a `ConstantOfShape` has by default.
pub(in crate::export::model) fn leave_out(graph: &mut GraphProto) {
    let mut names: Option<Names> = None;
    for i in 0..graph.node.len() {
        walk::bodies_mut(&mut graph.node[i]).for_each(leave_out);
        let node = &graph.node[i];
        if !matches!(node.domain(), "" | "ai.onnx") || COUNTED.contains(&node.op_type()) {
            continue;
        }
        let unread = node.op_type() == "Split" && node.output.iter().any(String::is_empty);
        if unread {
            let mut taken = names.take().unwrap_or_else(|| Names::of(graph));
            for output in graph.node[i].output.iter_mut().filter(|output| output.is_empty()) {
                *output = taken.unique("unread");
            }
            names = Some(taken);
        }
        let node = &mut graph.node[i];
        cut(&mut node.input, 0);
        cut(&mut node.output, 1);
        if node.op_type() == "ConstantOfShape" && node.attribute.is_empty() {
            node.attribute.push(zero());
        }
    }
}

/// Without empty names at the end, but with as many as `least`.
fn cut(names: &mut Vec<String>, least: usize) {
    while names.len() > least && names.last().is_some_and(String::is_empty) {
        names.pop();
    }
}

fn zero() -> AttributeProto {
    AttributeProto {
        name: Some("value".into()),
        r#type: Some(AttributeType::Tensor as i32),
        t: Some(TensorProto {
            dims: vec![1],
            data_type: Some(DataType::Float as i32),
            raw_data: Some(vec![0u8; 4].into()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::onnx::NodeProto;

    fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
        NodeProto {
            op_type: Some(operator.into()),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: outputs.iter().map(|&name| name.into()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn empty_names_go_where_they_mean_nothing() {
        let mut graph = GraphProto {
            node: vec![
                node("LayerNormalization", &["x", "w", ""], &["a", "", ""]),
                node("Clip", &["a", "", "most"], &["b"]),
                node("LSTM", &["b", "w", "r", "", ""], &["", "h", ""]),
                node("Split", &["h", "parts"], &["", "c", ""]),
                node("Loop", &["", "", "c", ""], &["d"]),
                node("ConstantOfShape", &["shape"], &["e"]),
            ],
            ..Default::default()
        };
        leave_out(&mut graph);
        let lists: Vec<_> =
            graph.node.iter().map(|n| (n.input.join(","), n.output.join(","))).collect();
        let expected = [
            ("x,w", "a"),
            ("a,,most", "b"),
            ("b,w,r", ",h"),
            ("h,parts", "unread,c,unread_1"),
            (",,c,", "d"),
            ("shape", "e"),
        ];
        let found: Vec<_> = lists.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(found, expected);
        assert_eq!(graph.node[5].attribute[0].t.as_ref().map(|t| t.dims.clone()), Some(vec![1]));
    }
}
