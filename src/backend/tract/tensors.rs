//! Host tensors to and from tract's. No models.

use std::borrow::Cow;

use half::f16;
use tract_onnx::prelude::{Datum, DatumType, Tensor, TractResult};

use crate::backend::portable::copied as copied_values;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// tract's name of an element type. 16-bit floats are 32-bit ones there, as `rewrite` makes them.
///
/// # Errors
/// [`ErrorKind::Build`] for bfloat16, which tract does not have.
pub(super) fn datum_type(dtype: DType) -> Result<DatumType> {
    Ok(match dtype {
        DType::F32 | DType::F16 => DatumType::F32,
        DType::F64 => DatumType::F64,
        DType::BF16 => {
            let text = "tract has no bfloat16; use ONNX Runtime";
            return Err(Error::new(ErrorKind::Build, text));
        }
        DType::I8 => DatumType::I8,
        DType::I16 => DatumType::I16,
        DType::I32 => DatumType::I32,
        DType::I64 => DatumType::I64,
        DType::U8 => DatumType::U8,
        DType::U16 => DatumType::U16,
        DType::U32 => DatumType::U32,
        DType::U64 => DatumType::U64,
        DType::Bool => DatumType::Bool,
    })
}

pub(super) fn to_tract(tensor: &HostTensor) -> Result<Tensor> {
    fn copied<T: Datum + Element>(tensor: &HostTensor) -> Result<Tensor> {
        let values = tensor.view::<T>()?;
        let values = values.as_slice().unwrap_or_default();
        Tensor::from_shape(tensor.shape(), values).map_err(failed)
    }
    match tensor.dtype() {
        DType::F32 => copied::<f32>(tensor),
        DType::F64 => copied::<f64>(tensor),
        DType::F16 => {
            let values = tensor.view::<f16>()?;
            let wide: Vec<f32> = values.iter().copied().map(f32::from).collect();
            Tensor::from_shape(tensor.shape(), &wide).map_err(failed)
        }
        DType::BF16 => datum_type(DType::BF16)
            .and_then(|_| Err(Error::new(ErrorKind::Build, "tract has no bfloat16"))),
        DType::I8 => copied::<i8>(tensor),
        DType::I16 => copied::<i16>(tensor),
        DType::I32 => copied::<i32>(tensor),
        DType::I64 => copied::<i64>(tensor),
        DType::U8 => copied::<u8>(tensor),
        DType::U16 => copied::<u16>(tensor),
        DType::U32 => copied::<u32>(tensor),
        DType::U64 => copied::<u64>(tensor),
        DType::Bool => copied::<bool>(tensor),
    }
}

/// The 32-bit floats of a result where they are.
pub(super) fn floats(tensor: &Tensor) -> Result<&[f32]> {
    tensor.try_as_plain_ram().and_then(|ram| ram.as_slice::<f32>()).map_err(failed)
}

/// The host tensor of a result that the model says is of `dtype`.
pub(super) fn from_tract(tensor: &Tensor, dtype: DType) -> Result<HostTensor> {
    let found = tensor.datum_type();
    // Sizes of axes are a type of their own in tract, and 64-bit integers in ONNX.
    let sizes = found == DatumType::TDim && dtype == DType::I64;
    if found != datum_type(dtype)? && !sizes {
        let text = format!("the model says {dtype}, and tract returned {found:?}");
        return Err(Error::new(ErrorKind::Execution, text));
    }
    let read = || -> TractResult<Result<HostTensor>> {
        let tensor = if sizes { tensor.cast_to::<i64>()? } else { Cow::Borrowed(tensor) };
        fn copied<T: Datum + Element>(tensor: &Tensor) -> TractResult<Result<HostTensor>> {
            let values = copied_values(tensor.try_as_plain_ram()?.as_slice::<T>()?);
            Ok(values.and_then(|values| HostTensor::from_vec(tensor.shape(), values)))
        }
        match dtype {
            DType::F32 => copied::<f32>(&tensor),
            DType::F64 => copied::<f64>(&tensor),
            DType::F16 | DType::BF16 => {
                let wide = tensor.try_as_plain_ram()?.as_slice::<f32>()?;
                let values: Vec<f16> = wide.iter().copied().map(f16::from_f32).collect();
                Ok(HostTensor::from_vec(tensor.shape(), values))
            }
            DType::I8 => copied::<i8>(&tensor),
            DType::I16 => copied::<i16>(&tensor),
            DType::I32 => copied::<i32>(&tensor),
            DType::I64 => copied::<i64>(&tensor),
            DType::U8 => copied::<u8>(&tensor),
            DType::U16 => copied::<u16>(&tensor),
            DType::U32 => copied::<u32>(&tensor),
            DType::U64 => copied::<u64>(&tensor),
            DType::Bool => copied::<bool>(&tensor),
        }
    };
    read().map_err(failed)?
}

fn failed(cause: impl Into<tract_onnx::prelude::TractError>) -> Error {
    let cause = cause.into();
    Error::new(ErrorKind::Execution, format!("{cause:#}")).with_source(cause)
}
