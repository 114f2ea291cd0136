//! Burn's element types and tensor data, to and from those of the host.

use ::burn::tensor::{BoolStore, Bytes, DType as BurnDType, Device, TensorData};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The type that ONNX has for Burn's.
pub(crate) fn dtype(dtype: BurnDType) -> Result<DType> {
    Ok(match dtype {
        BurnDType::F64 => DType::F64,
        // A 32-bit float that may be computed in less.
        BurnDType::F32 | BurnDType::Flex32 => DType::F32,
        BurnDType::F16 => DType::F16,
        BurnDType::BF16 => DType::BF16,
        BurnDType::I64 => DType::I64,
        BurnDType::I32 => DType::I32,
        BurnDType::I16 => DType::I16,
        BurnDType::I8 => DType::I8,
        BurnDType::U64 => DType::U64,
        BurnDType::U32 => DType::U32,
        BurnDType::U16 => DType::U16,
        BurnDType::U8 => DType::U8,
        BurnDType::Bool(_) => DType::Bool,
        BurnDType::QFloat(_) => {
            let text = "quantized Burn tensors have no ONNX form yet";
            return Err(Error::new(ErrorKind::DTypeMismatch, text));
        }
    })
}

pub(crate) fn burn_dtype(dtype: DType) -> BurnDType {
    match dtype {
        DType::F64 => BurnDType::F64,
        DType::F32 => BurnDType::F32,
        DType::F16 => BurnDType::F16,
        DType::BF16 => BurnDType::BF16,
        DType::I64 => BurnDType::I64,
        DType::I32 => BurnDType::I32,
        DType::I16 => BurnDType::I16,
        DType::I8 => BurnDType::I8,
        DType::U64 => BurnDType::U64,
        DType::U32 => BurnDType::U32,
        DType::U16 => BurnDType::U16,
        DType::U8 => BurnDType::U8,
        DType::Bool => BurnDType::Bool(BoolStore::Native),
    }
}

/// How a device stores elements of a type: devices differ in how they store bools.
pub(super) fn stored(dtype: DType, device: &Device) -> BurnDType {
    match burn_dtype(dtype) {
        BurnDType::Bool(_) => device.settings().bool_dtype.into(),
        stored => stored,
    }
}

/// Lets shared bytes own what Burn allocated.
struct Owner(Bytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the data over; bools stored in 32 bits are narrowed, all else is not copied.
pub(in super::super) fn to_host(data: TensorData) -> Result<HostTensor> {
    let (bytes, shape, stored) = data.into_parts();
    let shape: Vec<usize> = shape.iter().copied().collect();
    let bytes = match stored {
        BurnDType::Bool(BoolStore::U32) => {
            bytes.chunks_exact(4).map(|word| u8::from(word != [0; 4])).collect()
        }
        _ => bytes::Bytes::from_owner(Owner(bytes)),
    };
    HostTensor::from_bytes(dtype(stored)?, shape, bytes)
}

pub(super) fn to_data(tensor: &HostTensor) -> TensorData {
    TensorData::from_bytes_vec(tensor.bytes().to_vec(), tensor.shape(), burn_dtype(tensor.dtype()))
}
