//! Runs on ONNX Runtime, and how near results are.

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

/// A model of bfloat16, which ONNX Runtime does not compute on the CPU, with what is cast or stored rounded to it, and
/// computed in 32 bits. Other models are as they were.
fn in_32_bits(model: &OnnxModel) -> OnnxModel {
    let mut proto: ModelProto = model.proto().clone();
    let bfloat16 = DataType::Bfloat16 as i32;
    let mut found = false;
    let mut graphs: Vec<&mut GraphProto> = proto.graph.iter_mut().collect();
    while let Some(graph) = graphs.pop() {
        for tensor in graph.initializer.iter_mut().filter(|t| t.data_type() == bfloat16) {
            found = true;
            let values = onnx::tensor_from_proto(tensor).unwrap();
            let wide: Vec<f32> = to_f64(&values).into_iter().map(|v| v as f32).collect();
            let wide = HostTensor::from_vec(values.shape(), wide).unwrap();
            *tensor = onnx::tensor_to_proto(tensor.name(), &wide);
        }
        graph.value_info.clear();
        let nodes = std::mem::take(&mut graph.node);
        for mut node in nodes {
            let to = node.attribute.iter().find(|a| a.name() == "to").map(AttributeProto::i);
            if node.op_type() == "Cast" && to == Some(i64::from(bfloat16)) {
                found = true;
                let narrow = format!("{}.narrow", node.output[0]);
                let mut back = NodeProto { name: Some(narrow.clone()), ..node.clone() };
                back.input = vec![narrow.clone()];
                back.attribute[0].i = Some(DataType::Float as i64);
                back.attribute[0].r#type = Some(attribute_proto::AttributeType::Int as i32);
                node.output = vec![narrow];
                graph.node.extend([node, back]);
            } else {
                graph.node.push(node);
            }
        }
        let attributes = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        graphs.extend(attributes.flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)));
    }
    if !found {
        return model.clone();
    }
    OnnxModel::from_proto(proto).unwrap_or_else(|e| panic!("{e}\n{model}"))
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
