//! Tensors without elements, such as a cache before the first step: right where a backend takes them, else an error that
//! says so.

use accelerant::Registry;
use accelerant::backend::Backend;
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    AttributeProto, GraphProto, NodeProto, ValueInfoProto, attribute_proto,
};
use accelerant::{BackendKind, Error, HostTensor};

use crate::opening::{model, named, node, weight};

fn with(mut node: NodeProto, name: &str, value: i64) -> NodeProto {
    node.attribute.push(AttributeProto {
        name: Some(name.into()),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        i: Some(value),
        ..Default::default()
    });
    node
}

fn graph(inputs: Vec<ValueInfoProto>, nodes: Vec<NodeProto>) -> OnnxModel {
    let output = ValueInfoProto { name: Some("y".into()), ..Default::default() };
    let initializer = vec![weight("w", &[3, 2])];
    let graph = GraphProto {
        input: inputs,
        node: nodes,
        output: vec![output],
        initializer,
        ..Default::default()
    };
    OnnxModel::from_proto(model(graph)).unwrap()
}

fn run(
    backend: &dyn Backend,
    model: &OnnxModel,
    inputs: &[HostTensor],
) -> Result<HostTensor, Error> {
    let model = model.for_target(backend.target())?;
    let (_, executable) = backend.build_and_load(&model)?;
    Ok(executable.run(inputs)?.remove(0))
}

#[test]
fn empty_inputs_are_computed_or_refused() {
    let floats = |shape: &[usize]| {
        let values = (0..shape.iter().product::<usize>()).map(|i| i as f32 + 1.0).collect();
        HostTensor::from_vec(shape, values).unwrap()
    };
    let x = || named("x", &["n", "3"]);
    let cases = [
        (
            "a cache at step 0",
            graph(
                vec![named("past", &["b", "past", "3"]), named("x", &["b", "1", "3"])],
                vec![with(node("Concat", &["past", "x"], &["y"]), "axis", 1)],
            ),
            vec![floats(&[2, 0, 3]), floats(&[2, 1, 3])],
            floats(&[2, 1, 3]),
        ),
        (
            "a cache that is empty and stays so",
            graph(
                vec![named("past", &["b", "past", "3"]), named("x", &["b", "k", "3"])],
                vec![with(node("Concat", &["past", "x"], &["y"]), "axis", 1)],
            ),
            vec![floats(&[2, 0, 3]), floats(&[2, 0, 3])],
            floats(&[2, 0, 3]),
        ),
        (
            "elementwise",
            graph(vec![x()], vec![node("Relu", &["x"], &["y"])]),
            vec![floats(&[0, 3])],
            floats(&[0, 3]),
        ),
        (
            "a product of no rows",
            graph(vec![x()], vec![node("MatMul", &["x", "w"], &["y"])]),
            vec![floats(&[0, 3])],
            floats(&[0, 2]),
        ),
        (
            "a sum over nothing",
            graph(
                vec![named("a", &["3", "n"]), named("b", &["n", "2"])],
                vec![node("MatMul", &["a", "b"], &["y"])],
            ),
            vec![floats(&[3, 0]), floats(&[0, 2])],
            HostTensor::from_vec([3, 2], vec![0f32; 6]).unwrap(),
        ),
        (
            "a softmax of no rows",
            graph(vec![x()], vec![with(node("Softmax", &["x"], &["y"]), "axis", -1)]),
            vec![floats(&[0, 3])],
            floats(&[0, 3]),
        ),
        (
            "turned",
            graph(vec![x()], vec![node("Transpose", &["x"], &["y"])]),
            vec![floats(&[0, 3])],
            floats(&[3, 0]),
        ),
    ];
    let registry = Registry::default();
    let backends = registry.backends().iter();
    let portable = |kind: &BackendKind| matches!(kind, BackendKind::Tract | BackendKind::Ort);
    let mut found = Vec::new();
    for backend in backends.filter(|backend| portable(&backend.kind()) && backend.probe().is_ok()) {
        for (name, model, inputs, expected) in &cases {
            let place = format!("{name} on {}", backend.kind());
            match run(&**backend, model, inputs) {
                Ok(got) if got == *expected => {}
                Ok(got) => found.push(format!("{place}: {got:?} for {expected:?}")),
                Err(error) => {
                    eprintln!("{place}: {error}");
                    let text = error.to_string();
                    let clear =
                        text.contains("without elements") || text.contains("use ONNX Runtime");
                    // ONNX Runtime computes all of these.
                    if backend.kind() == BackendKind::Ort || !clear || text.contains("panicked") {
                        found.push(format!("{place}: {error}"));
                    }
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
