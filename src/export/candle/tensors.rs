//! Candle's tensors and types to ours and back, through host memory.

use candle_core::{DType as CandleType, Device, Tensor};

use super::error::from_candle;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The element type under which a candle tensor travels: its own, but i64 for u32, which ONNX
/// and TensorRT have no indices of.
pub(crate) fn carried_dtype(dtype: CandleType) -> Result<DType> {
    Ok(match dtype {
        CandleType::U8 => DType::U8,
        CandleType::U32 | CandleType::I64 => DType::I64,
        CandleType::I16 => DType::I16,
        CandleType::I32 => DType::I32,
        CandleType::BF16 => DType::BF16,
        CandleType::F16 => DType::F16,
        CandleType::F32 => DType::F32,
        CandleType::F64 => DType::F64,
        other => return Err(unsupported(other)),
    })
}

fn unsupported(dtype: CandleType) -> Error {
    let text = format!("tensors of type {} cannot be exported", dtype.as_str());
    Error::new(ErrorKind::UnsupportedOperation, text)
}

/// The values in row-major order, copied once from the device they are on.
pub(crate) fn to_host(tensor: &Tensor) -> Result<HostTensor> {
    let copy = || -> candle_core::Result<Result<HostTensor>> {
        let flat = tensor.to_device(&Device::Cpu)?.flatten_all()?;
        let shape = tensor.dims();
        Ok(match tensor.dtype() {
            CandleType::U8 => HostTensor::from_vec(shape, flat.to_vec1::<u8>()?),
            CandleType::U32 => {
                let values = flat.to_vec1::<u32>()?.into_iter().map(i64::from).collect();
                HostTensor::from_vec(shape, values)
            }
            CandleType::I16 => HostTensor::from_vec(shape, flat.to_vec1::<i16>()?),
            CandleType::I32 => HostTensor::from_vec(shape, flat.to_vec1::<i32>()?),
            CandleType::I64 => HostTensor::from_vec(shape, flat.to_vec1::<i64>()?),
            CandleType::BF16 => HostTensor::from_vec(shape, flat.to_vec1::<half::bf16>()?),
            CandleType::F16 => HostTensor::from_vec(shape, flat.to_vec1::<half::f16>()?),
            CandleType::F32 => HostTensor::from_vec(shape, flat.to_vec1::<f32>()?),
            CandleType::F64 => HostTensor::from_vec(shape, flat.to_vec1::<f64>()?),
            other => Err(unsupported(other)),
        })
    };
    copy().map_err(from_candle)?
}

/// Candle's type for elements of this type.
pub(crate) fn candle_dtype(dtype: DType) -> Result<CandleType> {
    Ok(match dtype {
        DType::U8 | DType::Bool => CandleType::U8,
        DType::U32 => CandleType::U32,
        DType::I16 => CandleType::I16,
        DType::I32 => CandleType::I32,
        DType::I64 => CandleType::I64,
        DType::BF16 => CandleType::BF16,
        DType::F16 => CandleType::F16,
        DType::F32 => CandleType::F32,
        DType::F64 => CandleType::F64,
        other => {
            let text = format!("candle has no tensors of type {other}");
            return Err(Error::new(ErrorKind::DTypeMismatch, text));
        }
    })
}

/// A candle tensor of type `dtype` with these values, on `device`.
pub(crate) fn from_host(tensor: &HostTensor, dtype: CandleType, device: &Device) -> Result<Tensor> {
    let carried = candle_dtype(tensor.dtype())?;
    let copy = || {
        Tensor::from_raw_buffer(tensor.bytes(), carried, tensor.shape(), device)?.to_dtype(dtype)
    };
    copy().map_err(from_candle)
}
