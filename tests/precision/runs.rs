//! Runs on ONNX Runtime, and how near results are.

use std::collections::HashMap;

use accelerant::backend::{Backend, ort::Ort};
use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, attribute_proto,
    tensor_proto::DataType,
};
use accelerant::{DType, HostTensor};

use crate::common::{self, to_f64};

/// Whether ONNX Runtime is here.
pub(crate) fn has_ort(test: &str) -> bool {
    match Ort.probe() {
        Ok(()) => true,
        Err(reason) => {
            common::skipped(test, reason);
            false
        }
    }
}

/// What ONNX Runtime makes of a model.
pub(crate) fn run(name: &str, model: &OnnxModel, inputs: &[HostTensor]) -> Vec<HostTensor> {
    let model = &in_32_bits(model);
    let engine = Ort.build(model).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
    let executable = Ort.load(&engine).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"));
    executable.run(inputs).unwrap_or_else(|e| panic!("{name}: {e}\n{model}"))
}

/// A model of 16-bit floats, computed in 32 bits with each result rounded: ONNX Runtime computes no bfloat16 on the CPU,
/// and keeps 32 bits between those operators that it has not in half precision. Other models are as they were.
fn in_32_bits(model: &OnnxModel) -> OnnxModel {
    let mut proto: ModelProto = model.proto().clone();
    let inputs = model.signature().inputs.iter();
    if inputs.clone().any(|input| matches!(input.dtype, DType::F16 | DType::BF16)) {
        return model.clone();
    }
    let mut narrow = HashMap::new();
    if let Some(graph) = &mut proto.graph {
        rounded(graph, &mut narrow);
    }
    match narrow.is_empty() {
        true => model.clone(),
        false => OnnxModel::from_proto(proto).unwrap_or_else(|e| panic!("{e}\n{model}")),
    }
}

/// Rounds in a graph; `narrow` are the values that are of 16 bits, and of which type.
fn rounded(graph: &mut GraphProto, narrow: &mut HashMap<String, i64>) {
    let types = [DataType::Float16 as i64, DataType::Bfloat16 as i64];
    for tensor in &mut graph.initializer {
        let own = i64::from(tensor.data_type());
        if types.contains(&own) {
            let values = onnx::tensor_from_proto(tensor).unwrap();
            let wide: Vec<f32> = to_f64(&values).into_iter().map(|v| v as f32).collect();
            let wide = HostTensor::from_vec(values.shape(), wide).unwrap();
            *tensor = onnx::tensor_to_proto(tensor.name(), &wide);
            narrow.insert(tensor.name().to_owned(), own);
        }
    }
    graph.value_info.clear();
    for mut node in std::mem::take(&mut graph.node) {
        for attribute in &mut node.attribute {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                rounded(body, narrow);
            }
        }
        let counts = ["Shape", "Size", "Greater", "Less", "Equal", "IsNaN", "QuantizeLinear"];
        let to = node.attribute.iter().find(|a| a.name() == "to").map(AttributeProto::i);
        let is_cast = node.op_type() == "Cast";
        let own = match is_cast {
            true => to.filter(|to| types.contains(to)),
            false if counts.contains(&node.op_type()) => None,
            false => node.input.iter().find_map(|name| narrow.get(name)).copied(),
        };
        let Some(own) = own else {
            graph.node.push(node);
            continue;
        };
        let cast = |from: String, to: String, kind: i64| NodeProto {
            name: Some(format!("{to}.rounded")),
            op_type: Some("Cast".into()),
            input: vec![from],
            output: vec![to],
            attribute: vec![integer("to", kind)],
            ..Default::default()
        };
        let outputs: Vec<String> =
            node.output.iter().filter(|name| !name.is_empty()).cloned().collect();
        let mut after = Vec::new();
        for output in outputs.into_iter().take(if node.op_type() == "Split" { 9 } else { 1 }) {
            let [whole, half] = ["whole", "half"].map(|what| format!("{output}.{what}"));
            let place = node.output.iter().position(|name| *name == output).unwrap();
            node.output[place] = whole.clone();
            after.push(cast(whole, half.clone(), own));
            after.push(cast(half, output.clone(), DataType::Float as i64));
            narrow.insert(output, own);
        }
        if is_cast {
            node.attribute = vec![integer("to", DataType::Float as i64)];
        }
        graph.node.push(node);
        graph.node.extend(after);
    }
}

fn integer(name: &str, value: i64) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        i: Some(value),
        r#type: Some(attribute_proto::AttributeType::Int as i32),
        ..Default::default()
    }
}

/// The cosine between two tensors.
pub(crate) fn cosine(one: &HostTensor, other: &HostTensor) -> f64 {
    let (a, b) = (to_f64(one), to_f64(other));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
}

/// Checks that each element differs by no more than a part of the largest.
pub(crate) fn near(name: &str, got: &HostTensor, expected: &HostTensor, part: f64) {
    assert_eq!((got.dtype(), got.shape()), (expected.dtype(), expected.shape()), "{name}");
    let (got, expected) = (to_f64(got), to_f64(expected));
    let scale = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
    for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
        let same = got == expected || (got - expected).abs() <= part * scale;
        assert!(same, "{name}: element {i} is {got}, and must be {expected} ± {part} of {scale}");
    }
}

/// Reproducible numbers.
pub(crate) fn numbers(shape: &[usize], scale: f32, seed: u64) -> HostTensor {
    HostTensor::from(common::random(shape, seed).mapv(|value| value * scale))
}

/// What a part of the largest value two types may differ by.
pub(crate) fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 3e-2,
        _ => 4e-3,
    }
}
