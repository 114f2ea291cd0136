//! The sizes of inputs in a model's protobuf: names for those that have none, plain names for
//! consumers, and single sizes that were stated.

use std::collections::{HashMap, HashSet};

use super::names::Names;
use crate::error::{Error, ErrorKind, Result};
use crate::export::model::walk;
use crate::export::onnx::{
    GraphProto, ModelProto, TensorShapeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};

/// What files write where a size has no name. Equal ones are no equal sizes.
const NO_NAMES: [&str; 6] = ["", "?", "-1", "*", "None", "unknown"];

fn is_name(text: &str) -> bool {
    !NO_NAMES.contains(&text.trim())
}

/// The dimensions of a value, if it is a tensor with a shape.
pub(in crate::export::model) fn shape_mut(
    value: &mut ValueInfoProto,
) -> Option<&mut TensorShapeProto> {
    match value.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_mut(),
        _ => None,
    }
}

fn dims_mut<'g>(
    values: impl Iterator<Item = &'g mut ValueInfoProto>,
) -> impl Iterator<Item = &'g mut Dimension> {
    values.filter_map(shape_mut).flat_map(|shape| &mut shape.dim)
}

/// Names the sizes of inputs that have no name, after tensor and axis. Gives these names, each with
/// what the file wrote.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] for a negative size other than -1.
pub(in crate::export::model) fn name_sizes(
    graph: &mut GraphProto,
) -> Result<Vec<(String, String)>> {
    let param = |dim: &mut Dimension| match &dim.value {
        Some(Value::DimParam(name)) => Some(name.clone()),
        _ => None,
    };
    let taken: HashSet<String> = dims_mut(graph.input.iter_mut()).filter_map(param).collect();
    let mut taken = Names::from(taken);
    let mut named = Vec::new();
    for input in &mut graph.input {
        let name = input.name().to_owned();
        let Some(shape) = shape_mut(input) else { continue };
        for (axis, dim) in shape.dim.iter_mut().enumerate() {
            let written = match &dim.value {
                Some(Value::DimValue(0..)) => continue,
                Some(Value::DimValue(-1)) => "-1".to_owned(),
                Some(Value::DimValue(size)) => {
                    let text = format!("size {size} is negative");
                    return Err(Error::new(ErrorKind::InvalidModel, text)
                        .on_tensor(walk::short(&name))
                        .at_axis(axis));
                }
                Some(Value::DimParam(param)) if is_name(param) => continue,
                Some(Value::DimParam(param)) => param.clone(),
                None => String::new(),
            };
            let symbol = taken.unique(&format!("{name}_{axis}"));
            named.push((symbol.clone(), written));
            dim.value = Some(Value::DimParam(symbol));
        }
    }
    for dim in dims_mut(graph.output.iter_mut().chain(&mut graph.value_info)) {
        match &dim.value {
            Some(Value::DimValue(..0)) => dim.value = None,
            Some(Value::DimParam(name)) if !is_name(name) => dim.value = None,
            _ => {}
        }
    }
    Ok(named)
}

/// Leaves all sizes of inputs and outputs open. Their ranks stay.
#[cfg(feature = "ort")]
pub(in crate::export::model) fn open(graph: &mut GraphProto) {
    dims_mut(graph.input.iter_mut().chain(&mut graph.output)).for_each(|dim| dim.value = None);
}

/// The model with a plain name for each size that every consumer reads; `None` when all are.
pub(in crate::export::model) fn plain_names(model: &ModelProto) -> Option<ModelProto> {
    let graph = model.graph.as_ref()?;
    let mut all: Vec<&str> = Vec::new();
    for input in &graph.input {
        let Some(type_proto::Value::TensorType(tensor)) =
            input.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        else {
            continue;
        };
        for dim in tensor.shape.iter().flat_map(|shape| &shape.dim) {
            if let Some(Value::DimParam(name)) = &dim.value {
                all.push(name);
            }
        }
    }
    let taken: HashSet<&str> = all.iter().copied().collect();
    let mut plain: HashMap<String, String> = HashMap::new();
    let mut number = 0;
    for name in all.iter().filter(|name| !is_plain(name)) {
        if plain.contains_key(*name) {
            continue;
        }
        while taken.contains(format!("size_{number}").as_str()) {
            number += 1;
        }
        plain.insert((*name).to_owned(), format!("size_{number}"));
        number += 1;
    }
    if plain.is_empty() {
        return None;
    }
    let mut renamed = model.clone();
    if let Some(graph) = &mut renamed.graph {
        change(graph, &|value| match value {
            Value::DimParam(name) => plain.get(name).cloned().map(Value::DimParam),
            Value::DimValue(_) => None,
        });
    }
    Some(renamed)
}

/// Whether tract, which reads names of sizes as formulas, takes a name as one.
fn is_plain(name: &str) -> bool {
    let mut letters = name.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && letters.all(|c| c.is_ascii_alphanumeric() || c == '_') && name.len() <= 256
}

/// Writes the size of a symbol into a graph. What a file says of inner values in other symbols fits no
/// more, and goes.
pub(in crate::export::model) fn fix(graph: &mut GraphProto, symbol: &str, size: usize) {
    change(graph, &|value| match value {
        Value::DimParam(name) if name == symbol => Some(Value::DimValue(size as i64)),
        _ => None,
    });
    forget_open_sizes(graph);
}

fn forget_open_sizes(graph: &mut GraphProto) {
    let fixed = |dim: &Dimension| matches!(dim.value, Some(Value::DimValue(_)));
    graph
        .value_info
        .retain_mut(|value| shape_mut(value).is_some_and(|shape| shape.dim.iter().all(fixed)));
    for node in &mut graph.node {
        walk::bodies_mut(node).for_each(forget_open_sizes);
    }
}

fn change(graph: &mut GraphProto, f: &dyn Fn(&Value) -> Option<Value>) {
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for dim in dims_mut(values) {
        if let Some(new) = dim.value.as_ref().and_then(f) {
            dim.value = Some(new);
        }
    }
    for node in &mut graph.node {
        walk::bodies_mut(node).for_each(|body| change(body, f));
    }
}
