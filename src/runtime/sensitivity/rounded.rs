//! A model of 16-bit floats, computed in 32 bits with each result rounded. ONNX Runtime on the CPU multiplies halves one
//! by one, hundreds of times slower than floats, and has no bfloat16. The results are those of 16 bits but for sums
//! within an operator, which devices have in 32 bits as well.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::export::onnx::{
    self, AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto,
    tensor_proto::DataType,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

const NARROW: [i64; 2] = [DataType::Float16 as i64, DataType::Bfloat16 as i64];
/// Operators of narrow inputs whose results are none.
const COUNTS: [&str; 9] = [
    "Shape",
    "Size",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Equal",
    "IsNaN",
    "QuantizeLinear",
];

/// A model of 16-bit floats, computed in 32 bits with each result rounded. Gives the model itself where nothing has 16 bits,
/// and where an input has.
///
/// ONNX Runtime on a CPU takes hundreds of times as long for products of halves as for floats, and has no `bf16`. The
/// written model gives the values of 16 bits there, but for sums within an operator, which have 32 bits as on devices.
///
/// ```
/// use accelerant::export::{GraphBuilder, Target};
/// use accelerant::precision::{Precision, PrecisionOptions, in_32_bits};
/// use accelerant::{DType, HostTensor};
///
/// let graph = GraphBuilder::new("scaled");
/// let x = graph.input("x", DType::F32, [1, 64])?;
/// let w = graph.weight("w", HostTensor::from(ndarray::Array2::<f32>::ones((64, 10))))?;
/// graph.output("y", &x.matmul(&w)?)?;
/// let options = PrecisionOptions::new(Precision::Fp16);
/// let half = graph.finish()?.with_precision(Target::tensorrt(), options)?;
/// let same = in_32_bits(&half)?;
/// assert_eq!(same.signature(), half.signature());
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// # Errors
/// [`ErrorKind::InvalidModel`] for a weight whose bytes are not those of its type and sizes.
pub fn in_32_bits(model: &OnnxModel) -> Result<OnnxModel> {
    let mut inputs = model.signature().inputs.iter();
    if inputs.any(|input| matches!(input.dtype, DType::F16 | DType::BF16)) {
        return Ok(model.clone());
    }
    let mut proto = model.proto().clone();
    let mut narrow = HashMap::new();
    if let Some(graph) = &mut proto.graph {
        rounded(graph, &mut narrow)?;
    }
    match narrow.is_empty() {
        true => Ok(model.clone()),
        false => OnnxModel::from_proto(proto),
    }
}

/// Rounds in a graph; `narrow` has the values of 16 bits, with their types.
fn rounded(graph: &mut GraphProto, narrow: &mut HashMap<String, i64>) -> Result<()> {
    for tensor in &mut graph.initializer {
        if let Some(own) = widen(tensor)? {
            narrow.insert(tensor.name().to_owned(), own);
        }
    }
    graph.value_info.clear();
    for mut node in std::mem::take(&mut graph.node) {
        let mut stated = None;
        for attribute in &mut node.attribute {
            for body in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                rounded(body, narrow)?;
            }
            if let Some(tensor) = &mut attribute.t {
                stated = widen(tensor)?.or(stated);
            }
        }
        let to = node.attribute.iter().find(|a| a.name() == "to").map(AttributeProto::i);
        let is_cast = node.op_type() == "Cast";
        let own = match is_cast {
            true => to.filter(|to| NARROW.contains(to)),
            false if COUNTS.contains(&node.op_type()) => None,
            false => stated.or(node.input.iter().find_map(|name| narrow.get(name)).copied()),
        };
        let Some(own) = own else {
            graph.node.push(node);
            continue;
        };
        // The first output of an operator is of the type of its inputs, and all parts of a `Split`.
        let count = if node.op_type() == "Split" { node.output.len() } else { 1 };
        let mut after = Vec::new();
        for output in node.output.iter_mut().take(count).filter(|name| !name.is_empty()) {
            let [whole, half] = ["whole", "half"].map(|what| format!("{output}.{what}"));
            let given = std::mem::replace(output, whole.clone());
            after.push(cast(whole, half.clone(), own));
            after.push(cast(half, given.clone(), DataType::Float as i64));
            narrow.insert(given, own);
        }
        if is_cast {
            node.attribute = vec![integer("to", DataType::Float as i64)];
        }
        graph.node.push(node);
        graph.node.extend(after);
    }
    Ok(())
}

/// A tensor of 16 bits in 32, and the type that it had.
fn widen(tensor: &mut TensorProto) -> Result<Option<i64>> {
    let own = i64::from(tensor.data_type());
    if !NARROW.contains(&own) {
        return Ok(None);
    }
    let values = onnx::tensor_from_proto(tensor).ok_or_else(|| {
        let text = "its bytes are not those of its type and sizes";
        Error::new(ErrorKind::InvalidModel, text).on_tensor(tensor.name())
    })?;
    let wide: Vec<f32> = match values.dtype() {
        DType::F16 => values.to_vec::<half::f16>()?.into_iter().map(half::f16::to_f32).collect(),
        _ => values.to_vec::<half::bf16>()?.into_iter().map(half::bf16::to_f32).collect(),
    };
    let name = tensor.name().to_owned();
    *tensor = onnx::tensor_to_proto(&name, &HostTensor::from_vec(values.shape(), wide)?);
    Ok(Some(own))
}

fn cast(from: String, to: String, kind: i64) -> NodeProto {
    NodeProto {
        name: Some(format!("{to}.rounded")),
        op_type: Some("Cast".into()),
        input: vec![from],
        output: vec![to],
        attribute: vec![integer("to", kind)],
        ..Default::default()
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
