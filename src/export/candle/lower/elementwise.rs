//! Elementwise operators, from the steps of a trace to ONNX.

use candle_core::DType as CandleType;

use crate::error::Result;
use crate::export::Value;
use crate::export::candle::tape::{Binary, Compare, Unary};
use crate::spec::DType;

/// Integers are whole, and those of candle's unsigned types not negative.
fn of_integers(op: Unary, x: &Value, dtype: CandleType) -> Option<Result<Value>> {
    let unsigned = matches!(dtype, CandleType::U8 | CandleType::U32);
    match op {
        Unary::Ceil | Unary::Floor | Unary::Round => Some(Ok(x.clone())),
        Unary::Abs | Unary::Relu if unsigned => Some(Ok(x.clone())),
        Unary::Relu => {
            let positive = |zero: Value| x.greater(&zero)?.select(x, &zero);
            Some(x.scalar_like(0.0).and_then(positive))
        }
        _ => None,
    }
}

pub(super) fn unary(op: Unary, x: &Value, dtype: CandleType) -> Result<Value> {
    if dtype.is_int()
        && let Some(value) = of_integers(op, x, dtype)
    {
        return value;
    }
    let node = |op_type| x.graph().node(op_type).input(x).build();
    match op {
        Unary::Abs => x.abs(),
        Unary::Ceil => x.ceil(),
        Unary::Cos => x.cos(),
        Unary::Erf => x.erf(),
        Unary::Exp => x.exp(),
        Unary::Floor => x.floor(),
        Unary::Gelu => x.gelu_tanh(),
        Unary::GeluErf => x.gelu(),
        Unary::HardSigmoid => {
            let node = x.graph().node("HardSigmoid").input(x);
            node.attr("alpha", 1.0 / 6.0).attr("beta", 0.5).build()
        }
        Unary::HardSwish => node("HardSwish"),
        Unary::Log => x.log(),
        Unary::Mish => node("Mish"),
        Unary::Neg => x.neg(),
        Unary::Recip => x.reciprocal(),
        Unary::Relu => x.relu(),
        Unary::Round => round(x),
        Unary::Sigmoid => x.sigmoid(),
        Unary::Sign => x.sign(),
        Unary::Silu => x.silu(),
        Unary::Sin => x.sin(),
        Unary::Sqr => x.mul(x),
        Unary::Sqrt => x.sqrt(),
        Unary::Tanh => x.tanh(),
    }
}

/// Candle rounds halves away from zero, ONNX's Round to even. Every step here is exact, and infinite values stay:
/// sign(x) * (floor|x|, or 1 more where |x| - floor|x| is a half at least).
fn round(x: &Value) -> Result<Value> {
    let size = x.abs()?;
    let whole = size.floor()?;
    let up = size.sub(&whole)?.greater_equal(&x.scalar_like(0.5)?)?;
    up.select(&whole.affine(1.0, 1.0)?, &whole)?.mul(&x.sign()?)
}

pub(super) fn binary(op: Binary, x: &Value, y: &Value) -> Result<Value> {
    let logical = |op_type| x.graph().node(op_type).input(x).input(y).build();
    match op {
        Binary::Mul | Binary::Minimum if x.dtype() == DType::Bool => logical("And"),
        Binary::Maximum if x.dtype() == DType::Bool => logical("Or"),
        Binary::Add => x.add(y),
        Binary::Div => x.div(y),
        Binary::Maximum => x.maximum(y),
        Binary::Minimum => x.minimum(y),
        Binary::Mul => x.mul(y),
        Binary::Sub => x.sub(y),
    }
}

/// Candle's comparisons give u8, ONNX's bool, which is kept as long as it can be.
pub(super) fn compare(op: Compare, x: &Value, y: &Value) -> Result<Value> {
    let node = |op_type| x.graph().node(op_type).input(x).input(y).build();
    match op {
        Compare::Eq => node("Equal"),
        Compare::Ge => node("GreaterOrEqual"),
        Compare::Gt => node("Greater"),
        Compare::Le => node("LessOrEqual"),
        Compare::Lt => node("Less"),
        Compare::Ne => x.graph().node("Not").input(&node("Equal")?).build(),
    }
}
