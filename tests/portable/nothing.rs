//! Tensors without elements: the right result, or an error that names the node and says why in words of its own.

use accelerant::backend::{Backend, tract::Tract};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{GraphProto, NodeProto, tensor_proto::DataType, tensor_to_proto};
use accelerant::{ErrorKind, HostTensor};

use super::guards::{built, int};
use super::{node, value};

fn floats(sizes: &[usize]) -> HostTensor {
    HostTensor::from_vec(sizes.to_vec(), vec![1f32; sizes.iter().product()]).unwrap()
}

fn along(operator: &str, axis: i64) -> NodeProto {
    let mut made = node(operator, &["x"], "y");
    made.attribute = vec![int("axis", axis)];
    made
}

/// A model of one node, over `x` of these sizes; one that is not known is of the run.
fn alone(node: NodeProto, sizes: &[Option<i64>], weights: &[(&str, HostTensor)]) -> OnnxModel {
    let rank = sizes.len();
    let initializer = weights.iter().map(|(name, weight)| tensor_to_proto(name, weight));
    let opset = if node.op_type() == "RMSNormalization" { 23 } else { 18 };
    built(
        opset,
        GraphProto {
            name: Some("g".into()),
            node: vec![node],
            input: vec![value("x", DataType::Float, sizes)],
            output: vec![value("y", DataType::Float, &vec![None; rank])],
            initializer: initializer.collect(),
            ..GraphProto::default()
        },
    )
}

#[test]
fn as_many_as_nothing_is_nothing() {
    for operator in ["Hardmax", "Softmax", "LogSoftmax", "LpNormalization"] {
        for sizes in [[2usize, 0], [0, 3]] {
            for axis in [0, 1, -1] {
                let stated = sizes.map(|size| Some(size as i64));
                let model = alone(along(operator, axis), &stated, &[]);
                let built = Tract.build_and_load(&model);
                let place = format!("{operator} along {axis} of {sizes:?}");
                let executable = built.unwrap_or_else(|e| panic!("{place}: {e}")).1;
                let given = executable.run(&[floats(&sizes)]);
                let given = given.unwrap_or_else(|e| panic!("{place}: {e}"));
                assert_eq!(given, [floats(&sizes)], "{place}");
            }
        }
    }
}

#[test]
fn what_tract_ends_in_is_told_in_words() {
    let ones = |size: usize| ("s", floats(&[size]));
    let scales = HostTensor::from_vec([4], vec![1f32, 1.0, 2.0, 2.0]).unwrap();
    let normalized = |operator: &str| node(operator, &["x", "s"], "y");
    let mut pool = node("MaxPool", &["x"], "y");
    pool.attribute = vec![super::scans::ints("kernel_shape", &[1, 1])];
    let image = [Some(1), Some(2), Some(0), Some(2)];
    let cases = [
        alone(normalized("LayerNormalization"), &[Some(2), Some(0)], &[ones(0)]),
        alone(normalized("RMSNormalization"), &[Some(2), Some(0)], &[ones(0)]),
        alone(node("Resize", &["x", "", "s"], "y"), &image, &[("s", scales)]),
        alone(pool, &image, &[]),
    ];
    for model in cases {
        let error = Tract.build_and_load(&model).map(drop).unwrap_err().to_string();
        assert!(error.contains("without elements") && !error.contains("panicked"), "{error}");
    }
}

/// Only a run knows the size.
#[test]
fn sums_of_nothing_are_named() {
    let axes = HostTensor::from_vec([1], vec![1i64]).unwrap();
    let names = ["ReduceSum", "ReduceMean", "ReduceL2", "LogSoftmax", "LpNormalization"];
    for name in names {
        let (made, weights) = match name.starts_with("Reduce") {
            true => (node(name, &["x", "axes"], "y"), vec![("axes", axes.clone())]),
            false => (along(name, 1), Vec::new()),
        };
        let model = alone(made, &[Some(2), None], &weights);
        let executable = Tract.build_and_load(&model).unwrap_or_else(|e| panic!("{name}: {e}")).1;
        assert!(executable.run(&[floats(&[2, 3])]).is_ok(), "{name}");
        match executable.run(&[floats(&[2, 0])]) {
            Ok(given) => assert!(given[0].shape()[0] == 2, "{name}"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Execution, "{name}: {error}");
                let text = error.to_string();
                assert!(text.contains("a summed axis has 0 elements"), "{name}: {text}");
                assert!(text.contains(name), "{name}: {text}");
            }
        }
        // The next run is not harmed.
        assert!(executable.run(&[floats(&[2, 3])]).is_ok(), "{name}");
    }
}
