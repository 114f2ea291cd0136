//! How TensorRT numbers and lists what this crate's signatures have: element types, inputs and outputs.

use super::bridge::TensorInfo;
use crate::spec::{DType, Dim, Signature, TensorSpec};

/// The element type with TensorRT's number (`nvinfer1::DataType`), if this crate has it.
pub(crate) fn dtype_from_tensorrt(number: i32) -> Option<DType> {
    Some(match number {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::I8,
        3 => DType::I32,
        4 => DType::Bool,
        5 => DType::U8,
        7 => DType::BF16,
        8 => DType::I64,
        _ => return None,
    })
}

/// The name of TensorRT's element type, for people.
pub(crate) fn dtype_name(number: i32) -> String {
    match (dtype_from_tensorrt(number), number) {
        (Some(dtype), _) => dtype.to_string(),
        (None, 6) => "fp8".into(),
        (None, 9) => "int4".into(),
        (None, 10) => "fp4".into(),
        (None, 11) => "e8m0".into(),
        (None, _) => format!("type {number}"),
    }
}

/// Inputs, then outputs; whether it is an input.
pub(crate) fn sides(signature: &Signature) -> impl Iterator<Item = (&TensorSpec, bool)> {
    let inputs = signature.inputs.iter().map(|spec| (spec, true));
    inputs.chain(signature.outputs.iter().map(|spec| (spec, false)))
}

/// Whether a tensor is what the signature says of it.
pub(crate) fn agrees(spec: &TensorSpec, tensor: &TensorInfo) -> bool {
    let size = |(dim, &size): (&Dim, &i64)| {
        size == -1 || dim.fixed().is_none_or(|fixed| fixed as i64 == size)
    };
    dtype_from_tensorrt(tensor.dtype) == Some(spec.dtype)
        && spec.shape.rank() == tensor.dims.len()
        && spec.shape.dims().iter().zip(&tensor.dims).all(size)
}
