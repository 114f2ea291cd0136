//! Inputs and outputs of a model as callers see them. Inference adds what a file does not say of an output, and corrects what
//! a file says wrongly.

use std::collections::HashMap;

use super::sizes::shape_mut;
use crate::error::{Error, ErrorKind, Result};
use crate::export::model::infer::{Fact, Size};
use crate::export::model::{tensors, walk};
use crate::export::onnx::{
    self, ModelProto, TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use crate::spec::{Claim, Dim, Shape, Signature, TensorSpec};

pub(in crate::export::model) type Facts = HashMap<String, Fact>;

/// Completes what the model says of its outputs, forgets what it says wrongly of inner values, and
/// reads the signature.
///
/// # Errors
/// [`ErrorKind::UnsupportedOperation`] for inputs and outputs that are no tensors or of a type
/// without a [`DType`](crate::DType); [`ErrorKind::InvalidModel`] for those whose type or rank is unknown.
pub(in crate::export::model) fn settle(model: &mut ModelProto, facts: &Facts) -> Result<Signature> {
    let graph = model.graph.get_or_insert_default();
    let mut signature = Signature::default();
    for input in &graph.input {
        let named = |e: Error| e.in_operation("inputs");
        tensor_type(input).map_err(named)?;
        signature.inputs.push(onnx::spec_from_proto(input).map_err(named)?);
    }
    for output in &mut graph.output {
        let named = |e: Error| e.in_operation("outputs");
        let fact = facts.get(output.name());
        complete(output, fact).map_err(named)?;
        let mut spec = onnx::spec_from_proto(output).map_err(named)?;
        spec.claim = Claim::of(claimed(&spec, fact));
        signature.outputs.push(spec);
    }
    graph.value_info.retain_mut(|value| match facts.get(value.name()) {
        Some(fact) => fits(value, fact),
        None => true,
    });
    Ok(signature)
}

/// Brings sizes of outputs up to date that are known now.
pub(in crate::export::model) fn refine(
    signature: &mut Signature,
    model: &mut ModelProto,
    facts: &Facts,
) {
    for spec in &mut signature.outputs {
        let Some(shape) = facts.get(&spec.name).and_then(|fact| fact.shape.as_ref()) else {
            continue;
        };
        if shape.len() == spec.shape.rank() {
            let dims = spec.shape.dims().iter().zip(shape).map(|(dim, size)| match size {
                Size::Known(size) if dim.fixed().is_none() => Dim::Fixed(*size as usize),
                _ => dim.clone(),
            });
            spec.shape = Shape::from(dims);
        }
    }
    let outputs = model.graph.iter_mut().flat_map(|graph| &mut graph.output);
    for (output, spec) in outputs.zip(&signature.outputs) {
        let Some(shape) = shape_mut(output) else { continue };
        for (dim, known) in shape.dim.iter_mut().zip(spec.shape.dims()) {
            if let Some(size) = known.fixed() {
                dim.value = Some(Value::DimValue(size as i64));
            }
        }
    }
}

/// The kind of a value that is no tensor.
fn other_kind(kind: &type_proto::Value) -> Option<&'static str> {
    match kind {
        type_proto::Value::TensorType(_) => None,
        type_proto::Value::SequenceType(_) => Some("a sequence"),
        type_proto::Value::MapType(_) => Some("a map"),
        type_proto::Value::OptionalType(_) => Some("an optional value"),
        type_proto::Value::SparseTensorType(_) => Some("a sparse tensor"),
        type_proto::Value::OpaqueType(_) => Some("a value of a kind of its own"),
    }
}

fn tensor_type(value: &ValueInfoProto) -> Result<()> {
    let unsupported = |text: String| {
        Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(walk::short(value.name())))
    };
    let Some(kind) = value.r#type.as_ref().and_then(|kind| kind.value.as_ref()) else {
        return Err(Error::new(ErrorKind::InvalidModel, "the type is missing")
            .on_tensor(walk::short(value.name())));
    };
    if let Some(kind) = other_kind(kind) {
        return unsupported(format!("{kind} is no tensor, and only tensors go in and out"));
    }
    let type_proto::Value::TensorType(tensor) = kind else { return Ok(()) };
    match onnx::from_onnx(tensor.elem_type()) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::UnsupportedOperation => {
            let kind = tensors::type_name(tensor.elem_type());
            unsupported(format!("tensors of ONNX type {kind} cannot go in and out"))
        }
        Err(e) => Err(e.on_tensor(walk::short(value.name()))),
    }
}

/// Writes type and shape of an output: inferred sizes before stated ones, which consumers do not check.
fn complete(output: &mut ValueInfoProto, fact: Option<&Fact>) -> Result<()> {
    let name = output.name().to_owned();
    let unknown = Fact::default();
    let fact = fact.unwrap_or(&unknown);
    let fail = |kind, text: String| Err(Error::new(kind, text).on_tensor(walk::short(&name)));
    if let Some(kind) = output.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        && other_kind(kind).is_some()
    {
        return tensor_type(output);
    }
    if fact.other {
        let text = "a sequence or optional value is no tensor, and only tensors go in and out";
        return fail(ErrorKind::UnsupportedOperation, text.into());
    }
    let (stated, stated_shape) = match output.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(type_proto::Value::TensorType(tensor)) => {
            (tensor.elem_type(), tensor.shape.as_ref().map(|shape| shape.dim.clone()))
        }
        _ => (0, None),
    };
    if stated != 0 && fact.dtype != 0 && stated != fact.dtype {
        let (stated, found) = (tensors::type_name(stated), tensors::type_name(fact.dtype));
        let text = format!("the output is said to be {stated}, and computed as {found}");
        return fail(ErrorKind::InvalidModel, text);
    }
    let dtype = if fact.dtype != 0 { fact.dtype } else { stated };
    if dtype == 0 {
        let text =
            "the type of this output is missing, and is not known from the node that makes it";
        return fail(ErrorKind::InvalidModel, text.into());
    }
    let dims = match (&fact.shape, stated_shape) {
        (Some(found), stated) => {
            if let Some(stated) = stated.as_ref().filter(|stated| stated.len() != found.len()) {
                tracing::warn!(
                    target: "accelerant::export",
                    "output `{}` is said to have rank {}, and has {}",
                    walk::short(&name),
                    stated.len(),
                    found.len()
                );
            }
            let stated = stated.filter(|stated| stated.len() == found.len());
            let dims = found.iter().enumerate().map(|(axis, size)| match size {
                Size::Known(size) => dimension(Some(Value::DimValue(*size))),
                Size::Named(name) => dimension(Some(Value::DimParam(name.to_string()))),
                Size::Unknown => match &stated {
                    Some(stated) => stated[axis].clone(),
                    None => dimension(None),
                },
            });
            dims.collect()
        }
        (None, Some(stated)) => stated,
        (None, None) => {
            let text =
                "the shape is missing, and its rank is not known from the node that makes it";
            return fail(ErrorKind::InvalidModel, text.into());
        }
    };
    let tensor =
        type_proto::Tensor { elem_type: Some(dtype), shape: Some(TensorShapeProto { dim: dims }) };
    let kind = output.r#type.get_or_insert_with(TypeProto::default);
    kind.value = Some(type_proto::Value::TensorType(tensor));
    tensor_type(output)
}

/// The axes of an output whose sizes the file alone states.
fn claimed(spec: &TensorSpec, fact: Option<&Fact>) -> Vec<usize> {
    let found = fact.and_then(|fact| fact.shape.as_ref());
    let is_known = |axis: usize| {
        found.and_then(|shape| shape.get(axis)).is_some_and(|size| size.known().is_some())
    };
    let dims = spec.shape.dims().iter().enumerate();
    let alone = dims.filter(|(axis, dim)| dim.fixed().is_some() && !is_known(*axis));
    alone.map(|(axis, _)| axis).collect()
}

fn dimension(value: Option<Value>) -> Dimension {
    Dimension { value, ..Default::default() }
}

/// Whether what a file says of an inner value agrees with what is known.
fn fits(value: &mut ValueInfoProto, fact: &Fact) -> bool {
    if let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|kind| kind.value.as_ref())
        && tensor.elem_type() != 0
        && fact.dtype != 0
        && tensor.elem_type() != fact.dtype
    {
        return false;
    }
    let (Some(stated), Some(found)) = (shape_mut(value), &fact.shape) else { return true };
    stated.dim.len() == found.len()
        && stated.dim.iter().zip(found).all(|(stated, found)| match (&stated.value, found) {
            (Some(Value::DimValue(stated)), Size::Known(found)) => stated == found,
            (Some(Value::DimValue(_)), Size::Named(_)) => false,
            _ => true,
        })
}
