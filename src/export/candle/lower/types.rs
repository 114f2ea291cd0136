//! Element types: in which one a tensor is computed, how it gets there and back, and how its values keep to the
//! range of candle's own.
//!
//! Consumers calculate in 32 and 64-bit integers. TensorRT takes bytes, which it casts to floats alone, and gives
//! none.

use candle_core::DType as CandleType;

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::export::candle::tape::{Binary, Op, Reduce};
use crate::export::candle::tensors::carried_dtype;
use crate::spec::{DType, TensorSpec};

/// The type in which tensors of a type of candle's are computed.
pub(super) fn computed(dtype: CandleType) -> Result<DType> {
    Ok(match carried_dtype(dtype)? {
        DType::U8 | DType::I16 => DType::I32,
        carried => carried,
    })
}

/// The type of ours with the range of candle's.
fn own(dtype: CandleType) -> Result<DType> {
    match dtype {
        CandleType::U32 => Ok(DType::U32),
        dtype => carried_dtype(dtype),
    }
}

/// A number as candle makes one of a type: whole for integers, and within their range.
pub(super) fn number(dtype: CandleType, value: f64) -> f64 {
    match dtype {
        CandleType::U8 => f64::from(value as u8),
        CandleType::U32 => f64::from(value as u32),
        CandleType::I16 => f64::from(value as i16),
        CandleType::I32 => f64::from(value as i32),
        CandleType::I64 => value.trunc(),
        _ => value,
    }
}

/// Candle's cast, which is Rust's: floats go to the nearest number there is, and integers keep their lowest bits.
pub(super) fn cast(x: &Value, from: CandleType, to: CandleType) -> Result<Value> {
    let computed = computed(to)?;
    if !to.is_int() || x.dtype() == DType::Bool {
        return x.cast(computed);
    }
    if x.dtype().is_float() {
        return x.saturated(own(to)?, computed);
    }
    let within = match to {
        CandleType::U8 => from == CandleType::U8,
        CandleType::I16 => matches!(from, CandleType::U8 | CandleType::I16),
        CandleType::U32 => matches!(from, CandleType::U8 | CandleType::U32),
        // A cast to these drops the other bits.
        _ => true,
    };
    if within { x.cast(computed) } else { wrapped(x, to)?.cast(computed) }
}

/// Integers with the bits alone that candle's own type has.
fn wrapped(x: &Value, to: CandleType) -> Result<Value> {
    let own = own(to)?;
    let wide = if own == DType::U32 { x.cast(DType::I64)? } else { x.clone() };
    wide.wrapped(own)
}

/// The result of a step, brought back into the range of candle's own type where it may lie beyond.
pub(super) fn fit(op: &Op, value: Value, dtype: CandleType) -> Result<Value> {
    let narrow = matches!(dtype, CandleType::U8 | CandleType::I16 | CandleType::U32);
    let leaves = match op {
        Op::Affine { .. } | Op::CumSum { .. } | Op::MatMul | Op::Scatter { add: true, .. } => true,
        Op::Binary(op) => matches!(op, Binary::Add | Binary::Mul | Binary::Sub),
        Op::Reduce { op, .. } => matches!(op, Reduce::Mean | Reduce::Sum),
        _ => false,
    };
    if narrow && leaves && value.dtype().is_int() { wrapped(&value, dtype) } else { Ok(value) }
}

impl Lowering<'_> {
    /// Adds an input in the type that the consumer takes, and gives it in the one it computes in; as it is where it
    /// is only cast to floats.
    pub(super) fn input(&self, spec: &TensorSpec, dtype: CandleType, cast: bool) -> Result<Value> {
        let target = self.graph.target();
        let narrow = spec.dtype == DType::I16 && !target.takes_any_type();
        let taken = if narrow { DType::I32 } else { spec.dtype };
        let value = self.graph.input(&spec.name, taken, spec.shape.clone())?;
        match taken {
            DType::U8 if cast => Ok(value),
            DType::U8 if !target.casts_bytes_to_integers() => {
                value.cast(DType::F32)?.cast(computed(dtype)?)
            }
            _ => value.cast(computed(dtype)?),
        }
    }

    /// Makes a value of candle's type `dtype` an output: a comparison as bool, and the narrow types in a wider one
    /// where the consumer does not give them.
    pub(super) fn output(&self, name: &str, value: &Value, dtype: CandleType) -> Result<()> {
        let own = carried_dtype(dtype)?;
        let wider = !self.graph.target().takes_any_type() && matches!(own, DType::U8 | DType::I16);
        if value.dtype() == DType::Bool || wider {
            return self.graph.output(name, value);
        }
        self.graph.output(name, &value.cast(own)?)
    }
}
