//! The values of an output in JSON.

use accelerant::{DType, HostTensor};
use serde::Serialize;

/// The values of an output, for JSON.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Written {
    Bools(Vec<bool>),
    I8(Vec<i8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
    U8(Vec<u8>),
    U16(Vec<u16>),
    U32(Vec<u32>),
    U64(Vec<u64>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Written {
    /// # Errors
    /// For values that JSON has no form for.
    pub(crate) fn of(tensor: &HostTensor) -> Result<Self, String> {
        let failed = |e: accelerant::Error| e.to_string();
        let finite =
            "it has values that are not finite, which JSON has no form for: ask for binary data";
        Ok(match tensor.dtype() {
            DType::Bool => Self::Bools(tensor.to_vec().map_err(failed)?),
            DType::I8 => Self::I8(tensor.to_vec().map_err(failed)?),
            DType::I16 => Self::I16(tensor.to_vec().map_err(failed)?),
            DType::I32 => Self::I32(tensor.to_vec().map_err(failed)?),
            DType::I64 => Self::I64(tensor.to_vec().map_err(failed)?),
            DType::U8 => Self::U8(tensor.to_vec().map_err(failed)?),
            DType::U16 => Self::U16(tensor.to_vec().map_err(failed)?),
            DType::U32 => Self::U32(tensor.to_vec().map_err(failed)?),
            DType::U64 => Self::U64(tensor.to_vec().map_err(failed)?),
            DType::F32 => {
                let values = tensor.to_vec::<f32>().map_err(failed)?;
                if !values.iter().all(|value| value.is_finite()) {
                    return Err(finite.into());
                }
                Self::F32(values)
            }
            DType::F64 => {
                let values = tensor.to_vec::<f64>().map_err(failed)?;
                if !values.iter().all(|value| value.is_finite()) {
                    return Err(finite.into());
                }
                Self::F64(values)
            }
            _ => return Err("values of 16 bits have no form in JSON: ask for binary data".into()),
        })
    }
}
