//! Host tensors to and from `ort`'s values. No sessions.

use half::{bf16, f16};
use ort::value::{DynValue, Tensor, ValueType};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

macro_rules! by_dtype {
    ($dtype:expr, $call:ident ! ($($argument:expr),*)) => {
        match $dtype {
            DType::F32 => $call!(f32, $($argument),*),
            DType::F64 => $call!(f64, $($argument),*),
            DType::F16 => $call!(f16, $($argument),*),
            DType::BF16 => $call!(bf16, $($argument),*),
            DType::I8 => $call!(i8, $($argument),*),
            DType::I16 => $call!(i16, $($argument),*),
            DType::I32 => $call!(i32, $($argument),*),
            DType::I64 => $call!(i64, $($argument),*),
            DType::U8 => $call!(u8, $($argument),*),
            DType::U16 => $call!(u16, $($argument),*),
            DType::U32 => $call!(u32, $($argument),*),
            DType::U64 => $call!(u64, $($argument),*),
            DType::Bool => $call!(bool, $($argument),*),
        }
    };
}

pub(super) fn to_ort(tensor: &HostTensor) -> Result<DynValue> {
    if tensor.is_empty() {
        let axis = tensor.shape().iter().position(|&size| size == 0).unwrap_or(0);
        let error =
            Error::new(ErrorKind::ShapeMismatch, format!("{:?} has no elements", tensor.shape()));
        return Err(error.at_axis(axis));
    }
    macro_rules! convert {
        ($type:ty, $tensor:expr) => {
            Tensor::<$type>::from_array(($tensor.shape().to_vec(), $tensor.to_vec::<$type>()?))
                .map(Tensor::into_dyn)
        };
    }
    by_dtype!(tensor.dtype(), convert!(tensor)).map_err(failed)
}

pub(super) fn from_ort(value: &DynValue, dtype: DType) -> Result<HostTensor> {
    let ValueType::Tensor { shape, .. } = value.dtype() else {
        return Err(Error::new(ErrorKind::Execution, "the backend returned no tensor"));
    };
    let shape: Vec<usize> = shape.iter().map(|&size| size.max(0) as usize).collect();
    macro_rules! convert {
        ($type:ty, $value:expr, $shape:expr) => {
            HostTensor::from_vec(
                $shape,
                $value.try_extract_tensor::<$type>().map_err(failed)?.1.to_vec(),
            )
        };
    }
    by_dtype!(dtype, convert!(value, shape))
}

fn failed(error: ort::Error) -> Error {
    Error::new(ErrorKind::Execution, error.to_string()).with_source(error)
}
