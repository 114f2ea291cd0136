//! Models on which a consumer was seen to end its process, or never to end: an error or a result here, in time that
//! is bounded.

use std::{path::Path, time::Duration};

use accelerant::export::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use prost::Message as _;

use crate::child::{Outcome, backends, data, in_child};

/// For one model of a few kilobytes, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A model over 32-bit floats of shape `[2, 8]`.
fn model(nodes: Vec<NodeProto>) -> Vec<u8> {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let size = |size| Dimension { value: Some(Value::DimValue(size)), ..Default::default() };
    let shape = TensorShapeProto { dim: vec![size(2), size(8)] };
    let tensor = type_proto::Tensor { elem_type: Some(1), shape: Some(shape) };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    let value = |name: &str| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(kind.clone()),
        ..Default::default()
    };
    let graph = GraphProto {
        name: Some("g".into()),
        node: nodes,
        input: vec![value("x")],
        output: vec![value("y")],
        ..Default::default()
    };
    let opset = OperatorSetIdProto { version: Some(17), ..Default::default() };
    let model = ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![opset],
        ..Default::default()
    };
    model.encode_to_vec()
}

fn node(operator: &str, input: Vec<String>, output: String) -> NodeProto {
    NodeProto { op_type: Some(operator.into()), input, output: vec![output], ..Default::default() }
}

/// A node with 20,000 inputs, and 3,000 nodes in a row.
fn long_models(folder: &Path) -> [String; 2] {
    let sum = node("Sum", vec!["x".into(); 20_000], "y".into());
    let name = |i: usize| match i {
        0 => "x".into(),
        3000 => "y".into(),
        i => format!("a{i}"),
    };
    let row = (0..3000).map(|i| node("Relu", vec![name(i)], name(i + 1))).collect();
    [("many_inputs", vec![sum]), ("relu_3000", row)].map(|(name, nodes)| {
        let path = folder.join(name).with_extension("onnx");
        std::fs::write(&path, model(nodes)).unwrap();
        path.into_os_string().into_string().unwrap()
    })
}

#[test]
fn hostile_models_end_no_process() {
    let made = tempfile::tempdir().unwrap();
    let files = std::fs::read_dir(data().join("hostile")).unwrap();
    let mut models: Vec<String> = files
        .map(|file| format!("hostile/{}", file.unwrap().file_name().into_string().unwrap()))
        .chain(long_models(made.path()))
        .collect();
    models.sort();
    assert!(models.len() > 60);
    let mut problems = Vec::new();
    for (backend, _) in backends() {
        for model in &models {
            let outcome = in_child(model, backend, LIMIT);
            println!("{backend:14} {model:50} {outcome:?}");
            if matches!(outcome, Outcome::Ended(_)) {
                problems.push(format!("{backend} {model}: {outcome:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
