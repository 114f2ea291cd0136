//! A model that gives all its 32-bit floats, for a calibration.

use std::collections::HashSet;

use super::OnnxModel;
use super::infer::{self, Size};
use crate::error::Result;
use crate::export::onnx::{
    TensorShapeProto, TypeProto, ValueInfoProto,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use crate::spec::{DType, Dim};

impl OnnxModel {
    /// The same model, which also gives each wanted 32-bit float value within it whose rank is known, behind its own
    /// outputs. Names of values are kept.
    ///
    /// # Errors
    /// As [`from_proto`](Self::from_proto).
    pub(crate) fn observed(&self, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut proto = self.proto.clone();
        let facts = infer::facts(&proto)?;
        let graph = proto.graph.get_or_insert_default();
        let mut given: HashSet<&str> = graph.output.iter().map(|output| output.name()).collect();
        let mut more = Vec::new();
        for name in graph
            .node
            .iter()
            .filter(|node| node.op_type() != "Constant")
            .flat_map(|node| &node.output)
            .filter(|name| wanted(name))
        {
            let fact = facts.get(name).filter(|fact| fact.dtype == DataType::Float as i32);
            let inferred = fact.and_then(|fact| fact.shape.clone());
            let Some(shape) = inferred.or_else(|| self.known_shape(name)) else { continue };
            if given.insert(name) {
                more.push(stated(name, &shape));
            }
        }
        graph.output.extend(more);
        let observed = Self::from_proto(proto).map_err(|e| e.in_operation("observe"))?;
        // Ranges of sizes are no part of the protobuf.
        let mut signature = observed.signature.clone();
        signature.inputs.clone_from(&self.signature.inputs);
        Ok(Self { signature, ..observed })
    }

    /// The shape of a 32-bit float value, as the maker of the model knows the shape.
    fn known_shape(&self, name: &str) -> Option<Vec<Size>> {
        let (dtype, shape) = self.inner()?.get(name)?;
        let size = |dim: &Dim| dim.fixed().map_or(Size::Unknown, |size| Size::Known(size as i64));
        (*dtype == DType::F32).then(|| shape.dims().iter().map(size).collect())
    }
}

fn stated(name: &str, shape: &[Size]) -> ValueInfoProto {
    let dim = |size: &Size| Dimension {
        value: match size {
            Size::Known(size) => Some(Value::DimValue(*size)),
            Size::Named(symbol) => Some(Value::DimParam(symbol.to_string())),
            Size::Unknown => None,
        },
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(DataType::Float as i32),
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(name.to_owned()), r#type: Some(kind), ..Default::default() }
}
