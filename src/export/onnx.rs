//! The protobuf side of ONNX: the generated messages, and how this crate's types map to them.
//! No graph logic.

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Dim, Shape, Symbol, TensorSpec};
use crate::tensor::HostTensor;

#[allow(missing_docs, unreachable_pub, rustdoc::all, clippy::all)]
#[path = "proto/onnx.rs"]
mod generated;

pub use generated::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    SparseTensorProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, attribute_proto, tensor_proto, tensor_shape_proto, type_proto,
};

use tensor_proto::DataType;

/// The ONNX name of an element type.
pub fn to_onnx(dtype: DType) -> DataType {
    match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::BF16 => DataType::Bfloat16,
        DType::F64 => DataType::Double,
        DType::I8 => DataType::Int8,
        DType::I16 => DataType::Int16,
        DType::I32 => DataType::Int32,
        DType::I64 => DataType::Int64,
        DType::U8 => DataType::Uint8,
        DType::U16 => DataType::Uint16,
        DType::U32 => DataType::Uint32,
        DType::U64 => DataType::Uint64,
        DType::Bool => DataType::Bool,
    }
}

/// The element type with an ONNX number.
///
/// # Errors
/// [`ErrorKind::UnsupportedOperation`] for strings, complex numbers and types narrower than a byte.
pub fn from_onnx(number: i32) -> Result<DType> {
    Ok(match DataType::try_from(number) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Bfloat16) => DType::BF16,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Int8) => DType::I8,
        Ok(DataType::Int16) => DType::I16,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Uint16) => DType::U16,
        Ok(DataType::Uint32) => DType::U32,
        Ok(DataType::Uint64) => DType::U64,
        Ok(DataType::Bool) => DType::Bool,
        Ok(other) => {
            let text = format!("tensors of ONNX type {} are not supported", other.as_str_name());
            return Err(Error::new(ErrorKind::UnsupportedOperation, text));
        }
        Err(_) => {
            let text = format!("{number} is no ONNX element type");
            return Err(Error::new(ErrorKind::InvalidModel, text));
        }
    })
}

/// A value of a node's attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A 32-bit float.
    Float(f32),
    /// A UTF-8 string.
    String(String),
    /// A list of integers.
    Ints(Vec<i64>),
    /// A list of 32-bit floats.
    Floats(Vec<f32>),
    /// A tensor.
    Tensor(HostTensor),
}

macro_rules! attribute_from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Attribute {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

attribute_from!(i64 => Int, f32 => Float, &str => String, Vec<i64> => Ints, &[i64] => Ints,
    Vec<f32> => Floats, HostTensor => Tensor);

impl Attribute {
    /// What a node states, where this crate has a word for it.
    pub(crate) fn from_proto(proto: &AttributeProto) -> Option<Self> {
        use attribute_proto::AttributeType;
        Some(match proto.r#type() {
            AttributeType::Int => Self::Int(proto.i()),
            AttributeType::Float => Self::Float(proto.f()),
            AttributeType::String => Self::String(String::from_utf8(proto.s().to_vec()).ok()?),
            AttributeType::Ints => Self::Ints(proto.ints.clone()),
            AttributeType::Floats => Self::Floats(proto.floats.clone()),
            AttributeType::Tensor => Self::Tensor(tensor_from_proto(proto.t.as_ref()?)?),
            _ => return None,
        })
    }

    pub(crate) fn to_proto(&self, name: &str) -> AttributeProto {
        use attribute_proto::AttributeType;
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
        let kind = match self {
            Self::Int(value) => {
                proto.i = Some(*value);
                AttributeType::Int
            }
            Self::Float(value) => {
                proto.f = Some(*value);
                AttributeType::Float
            }
            Self::String(value) => {
                proto.s = Some(Bytes::copy_from_slice(value.as_bytes()));
                AttributeType::String
            }
            Self::Ints(values) => {
                proto.ints = values.clone();
                AttributeType::Ints
            }
            Self::Floats(values) => {
                proto.floats = values.clone();
                AttributeType::Floats
            }
            Self::Tensor(tensor) => {
                proto.t = Some(tensor_to_proto("", tensor));
                AttributeType::Tensor
            }
        };
        proto.r#type = Some(kind as i32);
        proto
    }
}

/// A named tensor, whose bytes are shared with `tensor`.
pub fn tensor_to_proto(name: &str, tensor: &HostTensor) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        data_type: Some(to_onnx(tensor.dtype()) as i32),
        dims: tensor.shape().iter().map(|&size| size as i64).collect(),
        raw_data: Some(tensor.bytes().clone()),
        ..Default::default()
    }
}

/// The tensor, whose bytes are shared where they are in one piece; `None` for types that this crate does not
/// have, for data in other files, and where data and shape do not fit.
pub fn tensor_from_proto(proto: &TensorProto) -> Option<HostTensor> {
    let dtype = from_onnx(proto.data_type()).ok()?;
    let sizes = proto.dims.iter().map(|&size| usize::try_from(size).ok());
    let shape = sizes.collect::<Option<Vec<_>>>()?;
    if proto.data_location() == tensor_proto::DataLocation::External {
        return None;
    }
    if let Some(data) = &proto.raw_data {
        return HostTensor::from_bytes(dtype, shape, data.clone()).ok();
    }
    let words = || proto.int32_data.iter();
    let bytes: Vec<u8> = match dtype {
        DType::F32 => proto.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::F64 => proto.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I64 => proto.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U64 => proto.uint64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        DType::U32 => proto.uint64_data.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect(),
        DType::I32 => words().flat_map(|v| v.to_le_bytes()).collect(),
        DType::I16 | DType::U16 | DType::F16 | DType::BF16 => {
            words().flat_map(|&v| (v as u16).to_le_bytes()).collect()
        }
        DType::I8 | DType::U8 | DType::Bool => words().map(|&v| v as u8).collect(),
    };
    HostTensor::from_bytes(dtype, shape, bytes).ok()
}

/// Name, type and shape as an ONNX value.
pub fn spec_to_proto(spec: &TensorSpec) -> ValueInfoProto {
    use tensor_shape_proto::{Dimension, dimension::Value};
    let dim = |dim: &Dim| Dimension {
        value: Some(match dim {
            Dim::Fixed(size) => Value::DimValue(*size as i64),
            Dim::Symbol(symbol) => Value::DimParam(symbol.name().to_owned()),
        }),
        ..Default::default()
    };
    let tensor = type_proto::Tensor {
        elem_type: Some(to_onnx(spec.dtype) as i32),
        shape: Some(TensorShapeProto { dim: spec.shape.dims().iter().map(dim).collect() }),
    };
    let kind =
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
    ValueInfoProto { name: Some(spec.name.clone()), r#type: Some(kind), ..Default::default() }
}

/// Name, type and shape of an ONNX value. A dimension without a size becomes a symbol named as
/// in the model, or after tensor and axis, unbounded above.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] when the value is no tensor or its shape is missing.
pub fn spec_from_proto(value: &ValueInfoProto) -> Result<TensorSpec> {
    use tensor_shape_proto::dimension::Value;
    let name = value.name().to_owned();
    let invalid = |text: &str| Error::new(ErrorKind::InvalidModel, text).on_tensor(&name);
    let Some(type_proto::Value::TensorType(tensor)) =
        value.r#type.as_ref().and_then(|t| t.value.as_ref())
    else {
        return Err(invalid("not a tensor"));
    };
    let dtype = from_onnx(tensor.elem_type()).map_err(|e| e.on_tensor(&name))?;
    let shape = tensor.shape.as_ref().ok_or_else(|| invalid("the shape is missing"))?;
    let mut dims = Vec::with_capacity(shape.dim.len());
    for (axis, dim) in shape.dim.iter().enumerate() {
        dims.push(match &dim.value {
            Some(Value::DimValue(size)) => match usize::try_from(*size) {
                Ok(size) => Dim::Fixed(size),
                Err(_) => return Err(invalid(&format!("size {size} is negative")).at_axis(axis)),
            },
            Some(Value::DimParam(symbol)) if !symbol.is_empty() => unbounded(symbol)?,
            _ => unbounded(&format!("{name}_{axis}"))?,
        });
    }
    Ok(TensorSpec::new(name, dtype, Shape::from(dims)))
}

fn unbounded(name: &str) -> Result<Dim> {
    Symbol::new(name, 0, 1, Symbol::UNBOUNDED).map(Dim::from)
}
