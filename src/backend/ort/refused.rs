//! Models that end the process inside ONNX Runtime, or that ONNX Runtime never finishes: refused before, by the constants of
//! the model. The inputs of a run are not looked at here.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{
    self, AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto,
    attribute_proto::AttributeType,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// A model has at most as many nodes after its functions are written out.
const MOST_NODES: u64 = 1 << 20;
/// A model has at most as many functions, which may be inside each other.
const MOST_FUNCTIONS: usize = 1 << 12;
/// A loop that nothing but its count ends has at most as many turns.
const MOST_TURNS: i64 = 1 << 31;

/// Refuses a model that ONNX Runtime does not survive.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] with the node.
pub(super) fn check(model: &ModelProto) -> Result<()> {
    if model.functions.len() > MOST_FUNCTIONS {
        let text = format!("there are more than {MOST_FUNCTIONS} functions");
        return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("build"));
    }
    let functions: HashMap<(&str, &str), &FunctionProto> =
        model.functions.iter().map(|f| ((f.domain(), f.name()), f)).collect();
    let mut sizes = HashMap::new();
    let whole = model.graph.iter().flat_map(|graph| &graph.node);
    let nodes =
        whole.fold(0u64, |sum, node| sum.saturating_add(size(node, &functions, &mut sizes)));
    if nodes > MOST_NODES {
        let text =
            format!("its functions make more than {MOST_NODES} nodes when they are written out");
        return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("build"));
    }
    model.graph.as_ref().map_or(Ok(()), |graph| in_graph(graph, &HashMap::new()))
}

/// How many nodes a node is when functions are written out. A function that calls itself is endless.
fn size<'m>(
    node: &'m NodeProto,
    functions: &HashMap<(&'m str, &'m str), &'m FunctionProto>,
    known: &mut HashMap<(&'m str, &'m str), u64>,
) -> u64 {
    let key = (node.domain(), node.op_type());
    let Some(function) = functions.get(&key) else { return 1 };
    if let Some(&size) = known.get(&key) {
        return size;
    }
    // For itself, should it call itself.
    known.insert(key, u64::MAX);
    let inside = function.node.iter();
    let sum = inside.fold(1u64, |sum, node| sum.saturating_add(size(node, functions, known)));
    known.insert(key, sum);
    sum
}

fn in_graph<'m>(graph: &'m GraphProto, outer: &HashMap<&'m str, &'m TensorProto>) -> Result<()> {
    let mut constants = outer.clone();
    constants.extend(graph.initializer.iter().map(|tensor| (tensor.name(), tensor)));
    for node in graph.node.iter().filter(|node| node.op_type() == "Constant") {
        let value = attribute(node, "value").and_then(|value| value.t.as_ref());
        constants.extend(node.output.iter().zip(value).map(|(name, value)| (name.as_str(), value)));
    }
    for (i, node) in graph.node.iter().enumerate() {
        if let Some(reason) = reason(node, &constants) {
            let place = format!("node {i}, {} `{}`", node.op_type(), node.name());
            return Err(Error::new(ErrorKind::InvalidModel, reason).in_operation(place));
        }
        for body in node.attribute.iter().filter_map(|attribute| attribute.g.as_ref()) {
            in_graph(body, &constants)?;
        }
    }
    Ok(())
}

fn reason(node: &NodeProto, constants: &HashMap<&str, &TensorProto>) -> Option<&'static str> {
    let ints = |input: usize| integers(constants.get(node.input.get(input)?.as_str())?);
    let below_one = |name: &str| {
        attribute(node, name).is_some_and(|a| a.r#type() == AttributeType::Int && a.i() < 1)
    };
    match node.op_type() {
        "Attention" | "GroupQueryAttention" | "MultiHeadAttention"
            if ["q_num_heads", "kv_num_heads", "num_heads"].into_iter().any(below_one) =>
        {
            Some("the number of heads is below 1")
        }
        "Conv" | "ConvTranspose" | "ConvInteger" | "QLinearConv" if below_one("group") => {
            Some("the number of groups is below 1")
        }
        "Div" | "Mod" => {
            let (divisor, least) = ints(1)?;
            let dividend = ints(0).map(|(values, _)| values);
            if divisor.contains(&0) {
                return Some("an integer is divided by a constant 0");
            }
            let overflows =
                divisor.contains(&-1) && dividend.is_some_and(|all| all.contains(&least));
            overflows.then_some("the least integer is divided by -1")
        }
        "Loop" => {
            let turns = ints(0).and_then(|(turns, _)| turns.first().copied())?;
            let body = attribute(node, "body")?.g.as_ref()?;
            let (condition, result) = (body.input.get(1)?.name(), body.output.first()?.name());
            let maker = body.node.iter().find(|node| node.output.iter().any(|name| name == result));
            let ends = match maker {
                Some(maker) if maker.op_type() == "Identity" => {
                    maker.input.first().is_none_or(|name| name != condition)
                }
                Some(maker) => maker.op_type() != "Constant",
                None => {
                    result != condition
                        && body.initializer.iter().all(|tensor| tensor.name() != result)
                }
            };
            (turns > MOST_TURNS && !ends).then_some("the loop has no end but its count")
        }
        _ => None,
    }
}

fn attribute<'n>(node: &'n NodeProto, name: &str) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

/// Constant integers, with the least that their type has.
fn integers(proto: &TensorProto) -> Option<(Vec<i64>, i64)> {
    let dtype = onnx::from_onnx(proto.data_type()).ok()?;
    let shape = proto
        .dims
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<std::result::Result<Vec<_>, _>>()
        .ok()?;
    let bytes = proto.raw_data.clone().filter(|bytes| !bytes.is_empty());
    let raw = bytes.and_then(|bytes| HostTensor::from_bytes(dtype, shape, bytes).ok());
    match dtype {
        DType::I64 => {
            let values =
                raw.map_or_else(|| Some(proto.int64_data.clone()), |raw| raw.to_vec().ok())?;
            Some((values, i64::MIN))
        }
        DType::I32 => {
            let values =
                raw.map_or_else(|| Some(proto.int32_data.clone()), |raw| raw.to_vec().ok())?;
            Some((values.into_iter().map(i64::from).collect(), i32::MIN.into()))
        }
        _ => None,
    }
}
