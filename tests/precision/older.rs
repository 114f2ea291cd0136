//! Files of older operator sets in precisions that need newer ones.

use accelerant::Registry;
use accelerant::backend::ort::Ort;
use accelerant::export::onnx::{self, Attribute, GraphProto, NodeProto};
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::{Calibration, Method, Precision, PrecisionOptions};
use accelerant::{DType, ErrorKind, HostTensor};

use crate::bodies::{model, node, spec};
use crate::plan::Plan;
use crate::runs::{cosine, has_ort, numbers, run};

fn attributed(
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    all: &[(&str, Attribute)],
) -> NodeProto {
    let mut made = node(operator, inputs, outputs);
    made.attribute = all.iter().map(|(name, value)| attribute(name, value)).collect();
    made
}

fn attribute(name: &str, value: &Attribute) -> onnx::AttributeProto {
    use onnx::attribute_proto::AttributeType;
    let mut proto = onnx::AttributeProto { name: Some(name.into()), ..Default::default() };
    let kind = match value {
        Attribute::Int(value) => {
            proto.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Ints(values) => {
            proto.ints.clone_from(values);
            AttributeType::Ints
        }
        Attribute::String(value) => {
            proto.s = Some(value.clone().into_bytes().into());
            AttributeType::String
        }
        other => panic!("{other:?}"),
    };
    proto.r#type = Some(kind as i32);
    proto
}

fn file(
    opset: i64,
    nodes: Vec<NodeProto>,
    weights: &[(&str, HostTensor)],
    given: &[usize],
) -> OnnxModel {
    let graph = GraphProto {
        name: Some("older".into()),
        node: nodes,
        initializer: weights
            .iter()
            .map(|(name, value)| onnx::tensor_to_proto(name, value))
            .collect(),
        input: vec![spec("x", DType::F32, &[4, 8, 32])],
        output: vec![spec("y", DType::F32, given)],
        ..Default::default()
    };
    model(graph, opset)
}

/// Parts without their sizes, and a mean along axes that the node states.
fn sums() -> Vec<NodeProto> {
    vec![
        node("MatMul", &["x", "w"], &["p"]),
        attributed("Split", &["p"], &["a", "b"], &[("axis", Attribute::Int(-1))]),
        node("Mul", &["a", "b"], &["ab"]),
        attributed(
            "ReduceMean",
            &["ab"],
            &["m"],
            &[("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(0))],
        ),
        node("MatMul", &["m", "v"], &["y"]),
    ]
}

#[test]
fn a_file_of_operator_set_13_is_quantized() {
    let weights = [("w", numbers(&[32, 64], 0.3, 1)), ("v", numbers(&[32, 32], 0.3, 2))];
    let plain = file(13, sums(), &weights, &[4, 32]);
    let input = [numbers(&[4, 8, 32], 1.0, 3)];
    if !has_ort("operator set 13") {
        return;
    }
    let batches = (0..3).map(|i| vec![numbers(&[4, 8, 32], 1.0, 10 + i)]);
    let registry = Registry::empty().with(Ort);
    let ranges = Calibration::new(Method::MinMax).run(&plain, &registry, batches).unwrap();
    let expected = run("operator set 13", &plain, &input);
    let forms = [
        (Precision::Int8, 19, 0.999),
        (Precision::Fp8, 19, 0.995),
        (Precision::Int4Weights, 21, 0.97),
        (Precision::Bf16, 22, 0.999),
    ];
    for (precision, opset, least) in forms {
        let options = PrecisionOptions::new(precision).ranges(ranges.clone());
        let written = plain.with_precision(Target::tensorrt(), options).unwrap();
        assert_eq!(written.proto().opset_import[0].version(), opset, "{precision}");
        let report = written.precision_report().unwrap();
        let few = report.layers.iter().filter(|layer| layer.is_quantized()).count();
        assert_eq!(few, if precision.is_quantized() { 2 } else { 0 }, "{report}");
        Plan::of(precision.name(), &written);
        let cosine = cosine(&run(precision.name(), &written, &input)[0], &expected[0]);
        assert!(cosine > least, "{precision}: {cosine}");
    }
}

#[test]
fn operators_that_mean_something_else_are_written_anew_or_refused() {
    let bf16 = |opset, nodes, weights: &[(&str, HostTensor)], given: &[usize]| {
        file(opset, nodes, weights, given).with_precision(Target::tensorrt(), Precision::Bf16)
    };
    let factor = |size| numbers(&[size], 1.0, 4);
    // A factor of each group becomes one of each channel.
    let groups = [("num_groups", Attribute::Int(2))];
    let norm = || {
        let norm = attributed("GroupNormalization", &["x", "f", "t"], &["n"], &groups);
        vec![norm, attributed("Relu", &["n"], &["y"], &[])]
    };
    let weights = [("f", factor(2)), ("t", factor(2))];
    let written = bf16(18, norm(), &weights, &[4, 8, 32]).unwrap();
    let graph = written.proto().graph.as_ref().unwrap();
    let sizes = graph.initializer.iter().map(|tensor| tensor.dims.clone());
    assert!(sizes.filter(|dims| dims[..] == [8]).count() >= 2, "{written}");
    if has_ort("groups of operator set 18") {
        let input = [numbers(&[4, 8, 32], 1.0, 5)];
        let expected = run("groups", &file(18, norm(), &weights, &[4, 8, 32]), &input);
        let cosine = cosine(&run("groups in bf16", &written, &input)[0], &expected[0]);
        assert!(cosine > 0.999, "{cosine}");
    }

    let old = bf16(
        12,
        sums(),
        &[("w", numbers(&[32, 64], 0.3, 1)), ("v", numbers(&[32, 32], 0.3, 2))],
        &[4, 32],
    );
    let error = old.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("of 12"), "{error}");
}
