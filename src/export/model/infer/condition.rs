//! Whether the condition of a loop can ever become false. Constants, the number of the repetition and logic are followed.

use std::collections::HashMap;

use super::fact::Fact;
use crate::export::onnx::{GraphProto, NodeProto, tensor_proto::DataType};

/// What is known of one element.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    Is(i64),
    /// The number of the repetition: 0 or more.
    Counter,
}

use Known::{Counter, Is};

/// Whether the condition that a body gives is true in every repetition. A repetition begins only where the condition was true.
/// `outer` gives the one integer or truth value that a name has around the body.
pub(in crate::export::model) fn always_goes_on(
    body: &GraphProto,
    outer: impl Fn(&str) -> Option<i64>,
) -> bool {
    let Some(given) = body.output.first() else { return false };
    // What the body makes hides what is around it, known or not.
    let mut own: HashMap<&str, Option<Known>> = HashMap::new();
    for (i, input) in body.input.iter().enumerate() {
        own.insert(input.name(), [Some(Counter), Some(Is(1))].get(i).copied().flatten());
    }
    for weight in &body.initializer {
        own.insert(weight.name(), one(&Fact::of_tensor(weight)));
    }
    for node in &body.node {
        let found = value(node, |name| match own.get(name) {
            Some(known) => *known,
            None => outer(name).map(Is),
        });
        for (i, name) in node.output.iter().enumerate() {
            own.insert(name, found.filter(|_| i == 0));
        }
    }
    match own.get(given.name()) {
        Some(known) => *known == Some(Is(1)),
        None => outer(given.name()) == Some(1),
    }
}

fn one(fact: &Fact) -> Option<Known> {
    match fact.ints()? {
        &[value] => Some(Is(value)),
        _ => None,
    }
}

/// What a node gives.
fn value<'n>(node: &'n NodeProto, known: impl Fn(&'n str) -> Option<Known>) -> Option<Known> {
    if !matches!(node.domain(), "" | "ai.onnx") {
        return None;
    }
    let input = |i: usize| known(node.input.get(i)?);
    let truth = |i: usize| match input(i)? {
        Is(value) => Some(value != 0),
        Counter => None,
    };
    let is = |truth: bool| Is(i64::from(truth));
    match node.op_type() {
        "Identity" => input(0),
        "Constant" => one(&Fact::of_tensor(node.attribute.iter().find_map(|a| a.t.as_ref())?)),
        "Cast" => cast(input(0)?, node.attribute.iter().find(|a| a.name() == "to")?.i()),
        "Not" => truth(0).map(|truth| is(!truth)),
        "And" | "Or" => {
            // This one decides alone.
            let strong = node.op_type() == "Or";
            match (truth(0), truth(1)) {
                (Some(a), _) | (_, Some(a)) if a == strong => Some(is(strong)),
                (Some(_), Some(_)) => Some(is(!strong)),
                _ => None,
            }
        }
        "Less" => less(input(0)?, input(1)?).map(is),
        "Greater" => less(input(1)?, input(0)?).map(is),
        "GreaterOrEqual" => less(input(0)?, input(1)?).map(|less| is(!less)),
        "LessOrEqual" => less(input(1)?, input(0)?).map(|less| is(!less)),
        _ => None,
    }
}

fn cast(from: Known, to: i64) -> Option<Known> {
    let to = DataType::try_from(i32::try_from(to).ok()?).ok()?;
    match (from, to) {
        (Is(value), DataType::Bool) => Some(Is(i64::from(value != 0))),
        (known, DataType::Int64) => Some(known),
        (Is(value), DataType::Int32) => i32::try_from(value).ok().map(|_| from),
        _ => None,
    }
}

/// Whether `a` is always, or never, less than `b`.
fn less(a: Known, b: Known) -> Option<bool> {
    match (a, b) {
        (Is(a), Is(b)) => Some(a < b),
        (Counter, Is(b)) if b <= 0 => Some(false),
        (Is(a), Counter) if a < 0 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::onnx::{TensorProto, ValueInfoProto};

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        NodeProto {
            op_type: Some(op.into()),
            input: inputs.iter().map(|&name| name.into()).collect(),
            output: vec![output.into()],
            ..NodeProto::default()
        }
    }

    fn goes_on(nodes: &[NodeProto], own: &[(&str, u8)]) -> bool {
        let value = |name: &str| ValueInfoProto { name: Some(name.into()), ..Default::default() };
        let weight = |&(name, value): &(&str, u8)| TensorProto {
            name: Some(name.into()),
            data_type: Some(DataType::Bool as i32),
            raw_data: Some(vec![value].into()),
            ..Default::default()
        };
        let body = GraphProto {
            input: ["i", "c", "v"].map(value).into(),
            output: vec![value("goes")],
            initializer: own.iter().map(weight).collect(),
            node: nodes.to_vec(),
            ..Default::default()
        };
        let around = [("yes", 1), ("no", 0), ("zero", 0), ("below", -1), ("ten", 10)];
        always_goes_on(&body, |name| around.iter().find(|row| row.0 == name).map(|row| row.1))
    }

    #[test]
    fn a_condition_that_stays_true_is_told_from_one_that_may_end() {
        let not = |from, to| node("Not", &[from], to);
        type Row<'r> = (&'r [NodeProto], &'r [(&'r str, u8)], bool);
        let rows: [Row<'_>; 22] = [
            (&[node("Identity", &["c"], "goes")], &[], true),
            (&[node("Identity", &["yes"], "goes")], &[], true),
            (&[node("Identity", &["no"], "goes")], &[], false),
            // What the body has under the name hides what is around it.
            (&[node("Identity", &["yes"], "goes")], &[("yes", 0)], false),
            (&[node("Identity", &["no"], "goes")], &[("no", 1)], true),
            (&[node("Erf", &["v"], "yes"), node("Identity", &["yes"], "goes")], &[], false),
            (&[not("c", "n"), not("n", "goes")], &[], true),
            (&[not("c", "goes")], &[], false),
            (&[not("no", "goes")], &[], true),
            (&[node("Or", &["v", "yes"], "goes")], &[], true),
            (&[node("Or", &["v", "no"], "goes")], &[], false),
            (&[node("And", &["c", "yes"], "goes")], &[], true),
            (&[node("And", &["v", "yes"], "goes")], &[], false),
            (&[node("And", &["v", "no"], "n"), not("n", "goes")], &[], true),
            (&[node("GreaterOrEqual", &["i", "zero"], "goes")], &[], true),
            (&[node("Greater", &["i", "below"], "goes")], &[], true),
            (&[node("Greater", &["i", "zero"], "goes")], &[], false),
            (&[node("Less", &["i", "ten"], "goes")], &[], false),
            (&[node("LessOrEqual", &["zero", "i"], "goes")], &[], true),
            (&[node("Less", &["zero", "ten"], "goes")], &[], true),
            (&[], &[("goes", 1)], true),
            (&[], &[], false),
        ];
        for (nodes, own, expected) in rows {
            assert_eq!(goes_on(nodes, own), expected, "{nodes:?} {own:?}");
        }
    }

    /// What is around a body is what the graph of the loop has.
    #[test]
    fn a_loop_without_end_by_a_constant_outside_is_refused() {
        use crate::export::OnnxModel;
        use crate::export::onnx::{
            AttributeProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
            attribute_proto, type_proto,
        };

        let value = |name: &str, kind: DataType| ValueInfoProto {
            name: Some(name.into()),
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                    elem_type: Some(kind as i32),
                    shape: Some(TensorShapeProto::default()),
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        let constant = |name: &str, kind: DataType, bytes: Vec<u8>| TensorProto {
            name: Some(name.into()),
            data_type: Some(kind as i32),
            raw_data: Some(bytes.into()),
            ..Default::default()
        };
        let open = |trips: i64, goes: u8| {
            let body = GraphProto {
                name: Some("body".into()),
                input: vec![
                    value("i", DataType::Int64),
                    value("c", DataType::Bool),
                    value("v", DataType::Float),
                ],
                output: vec![value("goes", DataType::Bool), value("next", DataType::Float)],
                node: vec![node("Or", &["around", "around"], "goes"), node("Sqrt", &["v"], "next")],
                ..Default::default()
            };
            let body = AttributeProto {
                name: Some("body".into()),
                r#type: Some(attribute_proto::AttributeType::Graph as i32),
                g: Some(body),
                ..Default::default()
            };
            let repeat =
                NodeProto { attribute: vec![body], ..node("Loop", &["trips", "yes", "x"], "y") };
            let graph = GraphProto {
                name: Some("main".into()),
                input: vec![value("x", DataType::Float)],
                output: vec![value("y", DataType::Float)],
                initializer: vec![
                    constant("trips", DataType::Int64, trips.to_le_bytes().into()),
                    constant("yes", DataType::Bool, vec![1]),
                    constant("around", DataType::Bool, vec![goes]),
                ],
                node: vec![repeat],
                ..Default::default()
            };
            let opset = OperatorSetIdProto { version: Some(19), ..Default::default() };
            OnnxModel::from_proto(ModelProto {
                ir_version: Some(9),
                opset_import: vec![opset],
                graph: Some(graph),
                ..Default::default()
            })
        };
        let error = open(1 << 40, 1).unwrap_err();
        assert!(error.to_string().contains("condition never changes"), "{error}");
        open(5, 1).unwrap();
        open(1 << 40, 0).unwrap();
    }
}
