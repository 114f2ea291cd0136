//! Branches and loops: their bodies are in half precision too, and what goes in and out of them keeps its type. And files
//! as other exporters write them.

use accelerant::export::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, attribute_proto,
};
use accelerant::export::{OnnxModel, Target};
use accelerant::precision::Precision;
use accelerant::{DType, HostTensor, TensorSpec};

use crate::common::to_f64;
use crate::plan::Plan;
use crate::runs::{has_ort, near, numbers, run, tolerance};

pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        name: Some(format!("{operator}_{}", outputs[0])),
        input: inputs.iter().map(|&name| name.into()).collect(),
        output: outputs.iter().map(|&name| name.into()).collect(),
        ..Default::default()
    }
}

pub(crate) fn spec(name: &str, dtype: DType, dims: &[usize]) -> onnx::ValueInfoProto {
    onnx::spec_to_proto(&TensorSpec::new(name, dtype, dims.iter().copied()))
}

pub(crate) fn body(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        g: Some(graph),
        r#type: Some(attribute_proto::AttributeType::Graph as i32),
        ..Default::default()
    }
}

pub(crate) fn model(graph: GraphProto, opset: i64) -> OnnxModel {
    let set = OperatorSetIdProto { domain: Some(String::new()), version: Some(opset) };
    let model = ModelProto {
        ir_version: Some(8),
        opset_import: vec![set],
        graph: Some(graph),
        ..Default::default()
    };
    OnnxModel::from_proto(model).unwrap()
}

/// A product of what is outside and a weight within; in one branch its square is added up.
fn branches() -> OnnxModel {
    let weight = |name: &str, seed| onnx::tensor_to_proto(name, &numbers(&[8, 8], 0.5, seed));
    let then = GraphProto {
        name: Some("then".into()),
        node: vec![
            node("MatMul", &["outer", "w_then"], &["p_then"]),
            node("Relu", &["p_then"], &["y_then"]),
        ],
        initializer: vec![weight("w_then", 2)],
        output: vec![spec("y_then", DType::F32, &[4, 8])],
        ..Default::default()
    };
    let other = GraphProto {
        name: Some("else".into()),
        node: vec![
            node("MatMul", &["outer", "w_shared"], &["p_else"]),
            node("Mul", &["p_else", "p_else"], &["s_else"]),
            node("ReduceSum", &["s_else", "axis"], &["n_else"]),
            node("Div", &["p_else", "n_else"], &["y_else"]),
        ],
        initializer: vec![onnx::tensor_to_proto(
            "axis",
            &HostTensor::from_vec([1], vec![1i64]).unwrap(),
        )],
        output: vec![spec("y_else", DType::F32, &[4, 8])],
        ..Default::default()
    };
    let mut choice = node("If", &["which"], &["chosen"]);
    choice.attribute = vec![body("then_branch", then), body("else_branch", other)];
    model(
        GraphProto {
            name: Some("branches".into()),
            node: vec![
                node("MatMul", &["x", "w_shared"], &["outer"]),
                choice,
                node("MatMul", &["chosen", "w_shared"], &["y"]),
            ],
            initializer: vec![weight("w_shared", 1)],
            input: vec![spec("x", DType::F32, &[4, 8]), spec("which", DType::Bool, &[])],
            output: vec![spec("y", DType::F32, &[4, 8])],
            ..Default::default()
        },
        17,
    )
}

/// Three steps of `tanh(state W)`, and all of them.
fn repeated() -> OnnxModel {
    let step = GraphProto {
        name: Some("step".into()),
        node: vec![
            node("Identity", &["go"], &["on"]),
            node("MatMul", &["state", "w"], &["p"]),
            node("Tanh", &["p"], &["next"]),
            node("Identity", &["next"], &["seen"]),
        ],
        input: vec![
            spec("i", DType::I64, &[]),
            spec("go", DType::Bool, &[]),
            spec("state", DType::F32, &[4, 8]),
        ],
        output: vec![
            spec("on", DType::Bool, &[]),
            spec("next", DType::F32, &[4, 8]),
            spec("seen", DType::F32, &[4, 8]),
        ],
        ..Default::default()
    };
    let mut steps = node("Loop", &["trips", "", "first"], &["last", "all"]);
    steps.attribute = vec![body("body", step)];
    model(
        GraphProto {
            name: Some("repeated".into()),
            node: vec![
                node("MatMul", &["x", "w"], &["first"]),
                steps,
                node("Neg", &["last"], &["y"]),
                node("Relu", &["all"], &["z"]),
            ],
            initializer: vec![
                onnx::tensor_to_proto("w", &numbers(&[8, 8], 0.5, 3)),
                onnx::tensor_to_proto("trips", &HostTensor::scalar(3i64)),
            ],
            input: vec![spec("x", DType::F32, &[4, 8])],
            output: vec![spec("y", DType::F32, &[4, 8]), spec("z", DType::F32, &[3, 4, 8])],
            ..Default::default()
        },
        17,
    )
}

fn check(name: &str, plain: &OnnxModel, inputs: &[HostTensor]) {
    for (precision, low) in [(Precision::Fp16, DType::F16), (Precision::Bf16, DType::BF16)] {
        let name = &format!("{name} in {precision}");
        let half = plain.with_precision(Target::tensorrt(), precision).unwrap();
        let report = half.precision_report().unwrap();
        let within = report.layers.iter().filter(|layer| layer.operator == "MatMul");
        assert!(within.clone().count() >= 2, "{report}");
        assert!(within.clone().all(|layer| layer.precision == low.to_string()), "{report}");
        Plan::of(name, &half);
        if has_ort(name) {
            let expected = run(name, plain, inputs);
            assert!(to_f64(&expected[0]).iter().any(|v| v.abs() > 1e-3));
            for (got, expected) in run(name, &half, inputs).iter().zip(&expected) {
                near(name, got, expected, tolerance(low));
            }
        }
    }
}

#[test]
fn branches_are_in_half_precision_and_their_outputs_are_not() {
    for which in [true, false] {
        let inputs = [numbers(&[4, 8], 1.0, 4), HostTensor::scalar(which)];
        check(&format!("branch {which}"), &branches(), &inputs);
    }
}

#[test]
fn loops_are_in_half_precision_and_their_states_are_not() {
    check("loop", &repeated(), &[numbers(&[4, 8], 1.0, 4)]);
}

/// Attention as torch exports it: scales on both factors, and rows without any key set to 0.
#[test]
fn attention_as_torch_writes_it() {
    let half = |name: &str, seed| onnx::tensor_to_proto(name, &numbers(&[64, 64], 0.3, seed));
    let mut turned = node("Transpose", &["k4"], &["kt"]);
    let order = AttributeProto {
        name: Some("perm".into()),
        ints: vec![0, 2, 3, 1],
        r#type: Some(attribute_proto::AttributeType::Ints as i32),
        ..Default::default()
    };
    turned.attribute = vec![order.clone()];
    let heads = |from: &str, to: &str| {
        let mut node = node("Transpose", &[from], &[to]);
        node.attribute = vec![AttributeProto { ints: vec![0, 2, 1, 3], ..order.clone() }];
        node
    };
    let ints = |name: &str, values: &[i64]| {
        let tensor = HostTensor::from_vec([values.len()], values.to_vec()).unwrap();
        onnx::tensor_to_proto(name, &tensor)
    };
    let scalar = |name: &str, value: f32| onnx::tensor_to_proto(name, &HostTensor::scalar(value));
    let plain = model(
        GraphProto {
            name: Some("torch".into()),
            node: vec![
                node("MatMul", &["x", "wq"], &["q3"]),
                node("MatMul", &["x", "wk"], &["k3"]),
                node("MatMul", &["x", "wv"], &["v3"]),
                node("Reshape", &["q3", "heads"], &["q4"]),
                node("Reshape", &["k3", "heads"], &["k4"]),
                node("Reshape", &["v3", "heads"], &["v4"]),
                heads("q4", "q"),
                turned,
                heads("v4", "v"),
                node("Mul", &["q", "root"], &["qs"]),
                node("Mul", &["kt", "root"], &["ks"]),
                node("MatMul", &["qs", "ks"], &["scores"]),
                node("Add", &["scores", "mask"], &["masked"]),
                node("Softmax", &["masked"], &["weights"]),
                node("IsNaN", &["weights"], &["none"]),
                node("Where", &["none", "zero", "weights"], &["safe"]),
                node("MatMul", &["safe", "v"], &["joined"]),
                heads("joined", "back"),
                node("Reshape", &["back", "whole"], &["y"]),
            ],
            initializer: vec![
                half("wq", 1),
                half("wk", 2),
                half("wv", 3),
                ints("heads", &[0, 0, 2, 32]),
                ints("whole", &[0, 0, 64]),
                scalar("root", 0.42),
                scalar("zero", 0.0),
                {
                    let mask = (0..32).map(|i| if i < 25 { 0.0 } else { f32::NEG_INFINITY });
                    let mask = HostTensor::from_vec([2, 1, 1, 16], mask.collect::<Vec<_>>());
                    onnx::tensor_to_proto("mask", &mask.unwrap())
                },
            ],
            input: vec![spec("x", DType::F32, &[2, 16, 64])],
            output: vec![spec("y", DType::F32, &[2, 16, 64])],
            ..Default::default()
        },
        18,
    );
    for precision in [Precision::Mixed, Precision::Fp16] {
        let half = plain.with_precision(Target::tensorrt(), precision).unwrap();
        let report = half.precision_report().unwrap();
        // What tests the weights stands between them and their product, which is no attention to TensorRT then.
        assert_eq!(report.layer("MatMul_joined").unwrap().precision, "f32", "{report}");
        let first = report.layer("MatMul_q3").unwrap();
        assert_eq!(first.precision == "f16", precision == Precision::Fp16, "{report}");
        Plan::of("torch", &half);
        if has_ort("torch") {
            let inputs = [numbers(&[2, 16, 64], 1.0, 7)];
            let expected = run("torch", &plain, &inputs);
            near("torch", &run("torch", &half, &inputs)[0], &expected[0], 5e-3);
        }
    }
}
