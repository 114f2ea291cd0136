//! The data of a tensor: how many bytes a shape needs, and one form, raw bytes, for all that a file
//! may write in lists of numbers. Checked before anything is allocated for it.

use bytes::Bytes;

use super::external;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{TensorProto, tensor_proto::DataType};

/// The largest rank of a tensor.
pub(super) const MAX_RANK: usize = 64;

/// Bits of an element in raw data; `None` for strings and what is no type.
pub(super) fn bits(data_type: i32) -> Option<u64> {
    use DataType::*;
    Some(match DataType::try_from(data_type).ok()? {
        Uint2 | Int2 => 2,
        Uint4 | Int4 | Float4e2m1 => 4,
        Float6e2m3 | Float6e3m2 => 6,
        Bool | Uint8 | Int8 => 8,
        Float8e4m3fn | Float8e4m3fnuz | Float8e5m2 | Float8e5m2fnuz | Float8e8m0 => 8,
        Float16 | Bfloat16 | Uint16 | Int16 => 16,
        Float | Int32 | Uint32 => 32,
        Double | Int64 | Uint64 | Complex64 => 64,
        Complex128 => 128,
        Undefined | String => return None,
    })
}

/// The ONNX name of an element type, for errors.
pub(super) fn type_name(data_type: i32) -> String {
    match DataType::try_from(data_type) {
        Ok(known) => known.as_str_name().to_lowercase(),
        Err(_) => format!("of unknown number {data_type}"),
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidModel, text)
}

/// The number of elements.
pub(super) fn elements(dims: &[i64]) -> Result<u64> {
    if dims.len() > MAX_RANK {
        return Err(invalid(format!("rank {}, more than {MAX_RANK}", dims.len())));
    }
    let mut count = 1u64;
    let mut empty = false;
    for (axis, &size) in dims.iter().enumerate() {
        let Ok(size) = u64::try_from(size) else {
            return Err(invalid(format!("size {size} along axis {axis} is negative")).at_axis(axis));
        };
        empty |= size == 0;
        count = count.saturating_mul(size.max(1));
    }
    match (empty, count) {
        (true, _) => Ok(0),
        (_, u64::MAX) => Err(invalid(format!("the shape {dims:?} makes no sense"))),
        (_, count) => Ok(count),
    }
}

/// The bytes of a tensor's raw data by its type and shape.
pub(super) fn bytes_needed(tensor: &TensorProto) -> Result<u64> {
    let count = elements(&tensor.dims)?;
    let Some(bits) = bits(tensor.data_type()) else {
        let kind = type_name(tensor.data_type());
        return Err(Error::new(
            ErrorKind::UnsupportedOperation,
            format!("tensors of ONNX type {kind} have no data that can be read"),
        ));
    };
    let bytes = count.checked_mul(bits).map(|bits| bits.div_ceil(8));
    bytes.ok_or_else(|| invalid(format!("the shape {:?} makes no sense", tensor.dims)))
}

/// Brings the data of a tensor into raw bytes, and checks that there are as many as the shape needs.
pub(super) fn settle(tensor: &mut TensorProto) -> Result<()> {
    if external::is_external(tensor) {
        let text = "its data lies in another file; open the model from its own file";
        return Err(invalid(text.into()));
    }
    if tensor.segment.is_some() {
        return Err(Error::new(
            ErrorKind::UnsupportedOperation,
            "a tensor in segments, which no consumer reads",
        ));
    }
    let misfit = |found: usize, what: &str, needed: u64, tensor: &TensorProto| {
        let kind = type_name(tensor.data_type());
        let dims = &tensor.dims;
        Err(invalid(format!(
            "its data does not fit: {found} {what} for {kind} {dims:?}, which needs {needed}"
        )))
    };
    if tensor.data_type() == DataType::String as i32 {
        let needed = elements(&tensor.dims)?;
        return match tensor.string_data.len() as u64 == needed {
            true => Ok(()),
            false => misfit(tensor.string_data.len(), "strings", needed, tensor),
        };
    }
    let needed = bytes_needed(tensor)?;
    if let Some(raw) = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty()) {
        let found = raw.len();
        if found as u64 != needed {
            return misfit(found, "bytes", needed, tensor);
        }
    } else if tensor.raw_data.is_none() || needed > 0 {
        let (found, raw) = from_numbers(tensor);
        if raw.len() as u64 != needed {
            return misfit(
                found,
                "numbers",
                needed * 8 / bits(tensor.data_type()).unwrap_or(8),
                tensor,
            );
        }
        tensor.raw_data = Some(raw);
    }
    // Some readers look at these first.
    tensor.float_data = Vec::new();
    tensor.int32_data = Vec::new();
    tensor.int64_data = Vec::new();
    tensor.double_data = Vec::new();
    tensor.uint64_data = Vec::new();
    Ok(())
}

/// How many numbers a tensor lists in the field of its type, and their bytes.
fn from_numbers(tensor: &TensorProto) -> (usize, Bytes) {
    use DataType::*;
    let kind = DataType::try_from(tensor.data_type()).unwrap_or(Undefined);
    let (ints, longs) = (&tensor.int32_data, &tensor.uint64_data);
    match kind {
        Float | Complex64 => {
            let values = &tensor.float_data;
            (values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        Double | Complex128 => {
            let values = &tensor.double_data;
            (values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        Int64 => {
            let values = &tensor.int64_data;
            (values.len(), values.iter().flat_map(|v| v.to_le_bytes()).collect())
        }
        Uint64 => (longs.len(), longs.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Uint32 => (longs.len(), longs.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect()),
        Int32 => (ints.len(), ints.iter().flat_map(|v| v.to_le_bytes()).collect()),
        Int16 | Uint16 | Float16 | Bfloat16 => {
            (ints.len(), ints.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect())
        }
        // Types narrower than a byte are packed already.
        _ => (ints.len(), ints.iter().map(|&v| v as u8).collect()),
    }
}
