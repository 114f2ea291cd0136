//! 16-bit floats, which tract computes slowly and adds up wrongly.

use half::f16;

use crate::backend::tract::gaps::view::{View, attribute};
use crate::export::onnx::{
    self, Attribute, GraphProto, NodeProto, TensorProto, ValueInfoProto, tensor_proto::DataType,
    type_proto,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Makes 32-bit floats of 16-bit ones everywhere: tract computes those one by one, hundreds of times slower, and lets
/// sums of them overflow. What is cast to 16 bits is rounded to them.
pub(in crate::backend::tract) fn widen(graph: &mut GraphProto, outer: &View<'_>) {
    let known = graph.clone();
    let view = outer.with(&known);
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for value in values {
        widen_value(value);
    }
    graph.initializer.iter_mut().for_each(widen_tensor);
    for mut node in std::mem::take(&mut graph.node) {
        if casts_to_half(&node, &view) {
            graph.node.extend(rounded(node));
            continue;
        }
        let names_type = matches!(node.op_type(), "EyeLike" | "RandomNormal" | "RandomUniform");
        for attribute in &mut node.attribute {
            if names_type
                && attribute.name() == "dtype"
                && attribute.i() == DataType::Float16 as i64
            {
                attribute.i = Some(DataType::Float as i64);
            }
            attribute.t.iter_mut().for_each(widen_tensor);
            attribute.g.iter_mut().for_each(|body| widen(body, &view));
        }
        graph.node.push(node);
    }
}

fn casts_to_half(node: &NodeProto, view: &View<'_>) -> bool {
    match node.op_type() {
        "Cast" => attribute(node, "to").is_some_and(|to| to.i() == DataType::Float16 as i64),
        "CastLike" => view.dtype(node, 1) == Some(DType::F16),
        _ => false,
    }
}

/// A cast to 16-bit floats, and from there to 32 bits.
fn rounded(node: NodeProto) -> [NodeProto; 2] {
    let half = format!("{}.half", node.output.first().map_or("", String::as_str));
    let cast = |input: String, output: Vec<String>, to: DataType| NodeProto {
        op_type: Some("Cast".to_owned()),
        input: vec![input],
        output,
        attribute: vec![Attribute::from(to as i64).to_proto("to")],
        ..Default::default()
    };
    let input = node.input.into_iter().next().unwrap_or_default();
    let first = cast(input, vec![half.clone()], DataType::Float16);
    let second = cast(half, node.output, DataType::Float);
    [first, NodeProto { name: node.name, ..second }]
}

fn widen_value(value: &mut ValueInfoProto) {
    let kind = value.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = kind
        && tensor.elem_type() == DataType::Float16 as i32
    {
        tensor.elem_type = Some(DataType::Float as i32);
    }
}

fn widen_tensor(tensor: &mut TensorProto) {
    if tensor.data_type() != DataType::Float16 as i32 {
        return;
    }
    let halves: Vec<f16> = match tensor.raw_data.as_ref().filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => {
            bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect()
        }
        None => tensor.int32_data.iter().map(|&bits| f16::from_bits(bits as u16)).collect(),
    };
    let shape: Option<Vec<usize>> =
        tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    let wide: Vec<f32> = halves.into_iter().map(f32::from).collect();
    if let Some(wide) = shape.and_then(|shape| HostTensor::from_vec(shape, wide).ok()) {
        *tensor = onnx::tensor_to_proto(tensor.name(), &wide);
    }
}
