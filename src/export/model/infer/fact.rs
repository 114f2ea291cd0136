//! Everything that is known of one value.

use std::rc::Rc;

use crate::export::onnx::{TensorProto, tensor_proto::DataType};

/// Weights with more integers are not looked into.
const MOST_INTS: usize = 1 << 16;
/// Floats are looked into where they are scales or limits.
const MOST_FLOATS: usize = 64;

/// A size of a shape.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::export::model) enum Size {
    Known(i64),
    /// A symbol of the inputs.
    Named(Rc<str>),
    Unknown,
}

impl Size {
    pub(in crate::export::model) fn known(&self) -> Option<i64> {
        match self {
            Self::Known(size) => Some(*size),
            _ => None,
        }
    }
}

/// Elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::export::model) enum Values {
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

/// Type, shape and perhaps elements of a value.
#[derive(Clone, Debug, Default)]
pub(in crate::export::model) struct Fact {
    /// The number of an ONNX element type; 0 when it is not known.
    pub(in crate::export::model) dtype: i32,
    /// It is a sequence, a map or optional.
    pub(in crate::export::model) other: bool,
    pub(in crate::export::model) shape: Option<Vec<Size>>,
    pub(super) values: Option<Rc<Values>>,
}

impl Fact {
    pub(super) fn of_tensor(tensor: &TensorProto) -> Self {
        let shape = tensor.dims.iter().map(|&size| Size::Known(size)).collect();
        Self {
            dtype: tensor.data_type(),
            other: false,
            shape: Some(shape),
            values: read(tensor).map(Rc::new),
        }
    }

    pub(in crate::export::model) fn ints(&self) -> Option<&[i64]> {
        match self.values.as_deref() {
            Some(Values::Ints(values)) => Some(values),
            _ => None,
        }
    }

    pub(super) fn floats(&self) -> Option<&[f64]> {
        match self.values.as_deref() {
            Some(Values::Floats(values)) => Some(values),
            _ => None,
        }
    }

    pub(in crate::export::model) fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The number of elements.
    pub(super) fn count(&self) -> Option<i64> {
        let sizes: Option<Vec<i64>> = self.shape.as_ref()?.iter().map(Size::known).collect();
        sizes?.iter().try_fold(1i64, |count, size| count.checked_mul(*size))
    }
}

/// A shape for people.
pub(super) fn list(shape: &[Size]) -> String {
    let sizes = shape.iter().map(|size| match size {
        Size::Known(size) => size.to_string(),
        Size::Named(name) => name.to_string(),
        Size::Unknown => "?".into(),
    });
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}

/// The elements of a small tensor whose data are raw bytes.
fn read(tensor: &TensorProto) -> Option<Values> {
    let raw = tensor.raw_data.as_ref()?;
    let kind = DataType::try_from(tensor.data_type()).ok()?;
    let size = match kind {
        DataType::Int64 | DataType::Uint64 | DataType::Double => 8,
        DataType::Int32 | DataType::Uint32 | DataType::Float => 4,
        DataType::Int16 | DataType::Uint16 => 2,
        DataType::Int8 | DataType::Uint8 | DataType::Bool => 1,
        _ => return None,
    };
    let most = match kind {
        DataType::Float | DataType::Double => MOST_FLOATS,
        _ => MOST_INTS,
    };
    if raw.len() / size > most {
        return None;
    }
    let wide = |chunk: &[u8]| {
        let mut bytes = [0u8; 8];
        bytes[..chunk.len()].copy_from_slice(chunk);
        bytes
    };
    let chunks = raw.chunks_exact(size).map(wide);
    Some(match kind {
        DataType::Double => Values::Floats(chunks.map(f64::from_le_bytes).collect()),
        DataType::Float => {
            let single = |b: [u8; 8]| f64::from(f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Values::Floats(chunks.map(single).collect())
        }
        DataType::Int32 => {
            Values::Ints(chunks.map(|b| i64::from_le_bytes(b) as i32 as i64).collect())
        }
        DataType::Int16 => {
            Values::Ints(chunks.map(|b| i64::from_le_bytes(b) as i16 as i64).collect())
        }
        DataType::Int8 => {
            Values::Ints(chunks.map(|b| i64::from_le_bytes(b) as i8 as i64).collect())
        }
        _ => Values::Ints(chunks.map(i64::from_le_bytes).collect()),
    })
}
