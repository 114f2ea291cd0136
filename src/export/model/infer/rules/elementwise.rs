//! Element by element, also with broadcasting.

use super::{Shapes, one, same};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Abs" | "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "BitwiseNot" | "Cast"
        | "CastLike" | "Ceil" | "Celu" | "Cos" | "Cosh" | "Elu" | "Erf" | "Exp" | "Floor"
        | "Gelu" | "HardSigmoid" | "HardSwish" | "Identity" | "IsInf" | "IsNaN" | "LeakyRelu"
        | "Log" | "Mish" | "Neg" | "Not" | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink"
        | "Sigmoid" | "Sign" | "Sin" | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Swish"
        | "Tan" | "Tanh" | "ThresholdedRelu" | "Bernoulli" | "ImageScaler" => same(call),
        "Clip" => {
            // From operator set 11 on the limits are inputs.
            for i in 1..call.node.input.len() {
                call.expect_one(i)?;
            }
            same(call)
        }
        "Dropout" => {
            let shape = call.shape(0).map(<[Size]>::to_vec);
            Ok(Some(vec![shape.clone(), shape]))
        }
        "Add" | "Sub" | "Mul" | "Div" | "Pow" | "PRelu" | "And" | "Or" | "Xor" | "Equal"
        | "Greater" | "Less"
            if call.opset < 7 =>
        {
            // With rules of their own, on an axis that an attribute names.
            same(call)
        }
        "Add" | "And" | "BitShift" | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Div"
        | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Max" | "Mean"
        | "Min" | "Mod" | "Mul" | "Or" | "Pow" | "Sub" | "Sum" | "Where" | "Xor" => {
            integer_divisor(call)?;
            if call.node.op_type() == "BitShift"
                && !matches!(call.text("direction"), Some(b"LEFT" | b"RIGHT"))
            {
                return call.fail("`direction` is not LEFT or RIGHT");
            }
            one(broadcast(call, call.node.input.len())?)
        }
        "PRelu" => {
            broadcast(call, 2)?;
            same(call)
        }
        _ => Ok(None),
    }
}

/// Division of integers by 0 ends processes.
fn integer_divisor(call: &Call<'_>) -> Result<()> {
    if !matches!(call.node.op_type(), "Div" | "Mod") {
        return Ok(());
    }
    match call.ints(1) {
        Some(divisor) if divisor.contains(&0) => {
            call.wrong(1, "integers are divided by this, and it holds a 0")
        }
        _ => Ok(()),
    }
}

fn broadcast(call: &Call<'_>, inputs: usize) -> Result<Option<Dims>> {
    let mut result: Dims = Vec::new();
    for i in 0..inputs {
        let Some(shape) = call.shape(i) else { return Ok(None) };
        while result.len() < shape.len() {
            result.insert(0, Size::Known(1));
        }
        let skipped = result.len() - shape.len();
        for (axis, size) in shape.iter().enumerate() {
            let before = &mut result[skipped + axis];
            match merged(before, size) {
                Some(size) => *before = size,
                None => {
                    let before = match before {
                        Size::Known(size) => size.to_string(),
                        Size::Named(name) => format!("`{name}`"),
                        Size::Unknown => "what is known".to_owned(),
                    };
                    let text = format!(
                        "axis {axis} of input {i} does not fit the size {before} of an input before"
                    );
                    return call.wrong(i, text);
                }
            }
        }
    }
    Ok(Some(result))
}

/// The size that two broadcast to; `None` when they do not fit.
pub(super) fn merged(a: &Size, b: &Size) -> Option<Size> {
    Some(match (a, b) {
        (Size::Known(1), other) | (other, Size::Known(1)) => other.clone(),
        (Size::Known(a), Size::Known(b)) if a != b => return None,
        // What is not 1 is the result.
        (Size::Known(size), _) | (_, Size::Known(size)) => Size::Known(*size),
        (a, b) if a == b => a.clone(),
        _ => Size::Unknown,
    })
}
