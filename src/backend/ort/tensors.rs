//! Host tensors to and from `ort`'s values. No sessions.

use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{DynValue, Tensor, TensorRef, ValueType};

use crate::backend::portable::copied;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

macro_rules! by_dtype {
    ($dtype:expr, $call:ident, $bools:expr) => {
        match $dtype {
            DType::F32 => $call!(f32),
            DType::F64 => $call!(f64),
            DType::F16 => $call!(f16),
            DType::BF16 => $call!(bf16),
            DType::I8 => $call!(i8),
            DType::I16 => $call!(i16),
            DType::I32 => $call!(i32),
            DType::I64 => $call!(i64),
            DType::U8 => $call!(u8),
            DType::U16 => $call!(u16),
            DType::U32 => $call!(u32),
            DType::U64 => $call!(u64),
            DType::Bool => $bools,
        }
    };
}

/// A value that reads the tensor's own bytes where they are aligned. It must live until the outputs have been read: an
/// output that is an input is the very same memory.
pub(super) fn to_ort(tensor: &HostTensor) -> Result<SessionInputValue<'_>> {
    let shape = tensor.shape();
    macro_rules! value {
        ($type:ty) => {
            match bytemuck::try_cast_slice::<u8, $type>(tensor.bytes()) {
                Ok(values) => {
                    TensorRef::from_array_view((shape, values)).map(SessionInputValue::from)
                }
                Err(_) => owned!($type),
            }
        };
    }
    macro_rules! owned {
        ($type:ty) => {
            Tensor::<$type>::from_array((shape, tensor.to_vec::<$type>()?))
                .map(SessionInputValue::from)
        };
    }
    by_dtype!(tensor.dtype(), value, owned!(bool)).map_err(failed)
}

/// The host tensor of an output.
pub(super) fn from_ort(value: &DynValue, spec: &TensorSpec) -> Result<HostTensor> {
    let ValueType::Tensor { shape, .. } = value.dtype() else {
        return Err(Error::new(ErrorKind::Execution, "the backend returned no tensor"));
    };
    let shape: Vec<usize> = shape.iter().map(|&size| size.max(0) as usize).collect();
    spec.check_unless_claimed(&shape)?;
    let dtype = spec.dtype;
    // There may be no memory behind no elements.
    if shape.contains(&0) {
        return HostTensor::from_bytes(dtype, shape, Vec::new());
    }
    macro_rules! read {
        ($type:ty) => {{
            let (_, values) = value.try_extract_tensor::<$type>().map_err(failed)?;
            HostTensor::from_vec(shape, copied(values)?)
        }};
    }
    by_dtype!(dtype, read, read!(bool))
}

/// The 32-bit floats of an output where they are.
pub(super) fn floats<'v>(value: &'v DynValue, spec: &TensorSpec) -> Result<Option<&'v [f32]>> {
    let (shape, values) = value.try_extract_tensor::<f32>().map_err(failed)?;
    let sizes: Vec<usize> = shape.iter().map(|&size| size.max(0) as usize).collect();
    spec.check_result(&sizes)?;
    // There may be no memory behind no elements.
    Ok(Some(if shape.contains(&0) { &[] } else { values }))
}

fn failed(error: ort::Error) -> Error {
    Error::new(ErrorKind::Execution, error.to_string()).with_source(error)
}
