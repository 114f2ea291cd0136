//! Operations on the bits of integers, and what else only integers have.
//!
//! TensorRT has no operators for bits, and ONNX shifts unsigned integers only, so that all of
//! these are written in arithmetic, in two's complement.

use ::burn::backend::ir::{BinaryOpIr, IntOperationIr as Op, ScalarOpIr};

use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// What two bits become.
#[derive(Clone, Copy)]
enum Bits {
    And,
    Or,
    Xor,
}

impl Lowering<'_> {
    pub(super) fn int(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            // `bind` casts to the type captured.
            Op::IntoFloat(op) => (&op.out, self.value(&op.input)?),
            Op::BitwiseAnd(op) => (&op.out, self.bitwise(op, Bits::And)?),
            Op::BitwiseOr(op) => (&op.out, self.bitwise(op, Bits::Or)?),
            Op::BitwiseXor(op) => (&op.out, self.bitwise(op, Bits::Xor)?),
            Op::BitwiseAndScalar(op) => (&op.out, self.bitwise_scalar(op, Bits::And)?),
            Op::BitwiseOrScalar(op) => (&op.out, self.bitwise_scalar(op, Bits::Or)?),
            Op::BitwiseXorScalar(op) => (&op.out, self.bitwise_scalar(op, Bits::Xor)?),
            Op::BitwiseNot(op) => {
                // !x = -1 - x; of unsigned integers, the largest less x.
                let x = self.value(&op.input)?;
                let ones = self.graph.constant("ones", all_ones(x.dtype())?);
                (&op.out, ones.sub(&x)?)
            }
            Op::BitwiseLeftShift(op) => {
                let (x, by) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
                (&op.out, x.mul(&self.power_of_two(&by)?)?)
            }
            Op::BitwiseRightShift(op) => {
                let (x, by) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
                (&op.out, floor_div(&x, &self.power_of_two(&by)?)?)
            }
            Op::BitwiseLeftShiftScalar(op) => {
                let x = self.value(&op.lhs)?;
                (&op.out, x.mul(&self.shift_factor(op, x.dtype())?)?)
            }
            Op::BitwiseRightShiftScalar(op) => {
                let x = self.value(&op.lhs)?;
                (&op.out, floor_div(&x, &self.shift_factor(op, x.dtype())?)?)
            }
            Op::Matmul(op) => {
                // Backends multiply matrices of floats; products and a sum are exact for integers.
                let (a, b) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
                let products = a.unsqueeze(&[-1])?.mul(&b.unsqueeze(&[-3])?)?;
                (&op.out, products.sum(&[-2], false)?)
            }
        };
        self.bind(out, value)
    }

    fn bitwise(&mut self, op: &BinaryOpIr, bits: Bits) -> Result<Value> {
        let (x, y) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
        self.combine_bits(&x, &y, bits)
    }

    fn bitwise_scalar(&mut self, op: &ScalarOpIr, bits: Bits) -> Result<Value> {
        let x = self.value(&op.lhs)?;
        let y = self.scalar(&op.rhs, x.dtype())?;
        self.combine_bits(&x, &y, bits)
    }

    /// Both numbers as bits, and back. Sixteen bits at a time, since backends sum in floats.
    fn combine_bits(&mut self, x: &Value, y: &Value, bits: Bits) -> Result<Value> {
        let dtype = x.dtype();
        if !matches!(dtype, DType::I32 | DType::I64) {
            return Err(unsupported(format!("bits of {dtype} have no ONNX form yet")));
        }
        let mut parts = Vec::new();
        for (x, y) in parts_of_16(x)?.iter().zip(&parts_of_16(y)?) {
            let (x, y) = (self.bits(x)?, self.bits(y)?);
            let both = x.mul(&y)?;
            let result = match bits {
                Bits::And => both,
                Bits::Or => x.add(&y)?.sub(&both)?,
                Bits::Xor => x.add(&y)?.sub(&both)?.sub(&both)?,
            };
            let weights = self.graph.constant("weights", powers(dtype)?);
            parts.push(result.mul(&weights)?.reduced("ReduceSum", &[-1], false)?);
        }
        // The highest part overflows into the sign, as it should.
        let factor = parts[0].scalar_like(65536.0)?;
        let mut whole = parts.pop().ok_or_else(|| unsupported("no bits"))?;
        for part in parts.into_iter().rev() {
            whole = whole.mul(&factor)?.add(&part)?;
        }
        Ok(whole)
    }

    /// `[..]` under 65536 to `[.., 16]`, each 0 or 1: the rests of floored halves.
    fn bits(&mut self, x: &Value) -> Result<Value> {
        let powers = self.graph.constant("powers", powers(x.dtype())?);
        let halves = x.unsqueeze(&[-1])?.div(&powers)?;
        halves.graph().node("Mod").input(&halves).input(&x.scalar_like(2.0)?).build()
    }

    /// 2 to the power of `by`, from a table.
    fn power_of_two(&mut self, by: &Value) -> Result<Value> {
        let table = self.graph.constant("powers", bit_weights(by.dtype())?);
        table.gather(by, 0)
    }

    fn shift_factor(&mut self, op: &ScalarOpIr, dtype: DType) -> Result<Value> {
        let by = super::whole(&op.rhs)?;
        let last = dtype.size() as i128 * 8 - 1;
        if !matches!(dtype, DType::I32 | DType::I64) || !(0..last).contains(&by) {
            return Err(unsupported(format!("{dtype} shifted by {by} has no ONNX form yet")));
        }
        Ok(self.graph.constant("factor", ints(dtype, vec![1 << by])?))
    }
}

/// The quotient rounded down, where division rounds towards zero.
pub(super) fn floor_div(x: &Value, y: &Value) -> Result<Value> {
    let rest = x.graph().node("Mod").input(x).input(y).build()?;
    x.sub(&rest)?.div(y)
}

/// Sixteen bits at a time, the lowest first, each not negative.
fn parts_of_16(x: &Value) -> Result<Vec<Value>> {
    let factor = x.scalar_like(65536.0)?;
    let (mut rest, mut parts) = (x.clone(), Vec::new());
    for left in (0..x.dtype().size() / 2).rev() {
        let part = rest.graph().node("Mod").input(&rest).input(&factor).build()?;
        if left > 0 {
            rest = rest.sub(&part)?.div(&factor)?;
        }
        parts.push(part);
    }
    Ok(parts)
}

/// 1, 2, 4, .. for sixteen bits.
fn powers(dtype: DType) -> Result<HostTensor> {
    ints(dtype, (0..16).map(|bit| 1 << bit).collect())
}

fn all_ones(dtype: DType) -> Result<HostTensor> {
    Ok(match dtype {
        DType::I8 => HostTensor::scalar(-1i8),
        DType::I16 => HostTensor::scalar(-1i16),
        DType::I32 => HostTensor::scalar(-1i32),
        DType::I64 => HostTensor::scalar(-1i64),
        DType::U8 => HostTensor::scalar(u8::MAX),
        DType::U16 => HostTensor::scalar(u16::MAX),
        DType::U32 => HostTensor::scalar(u32::MAX),
        DType::U64 => HostTensor::scalar(u64::MAX),
        _ => return Err(unsupported(format!("{dtype} has no bits"))),
    })
}

/// What each bit is worth in two's complement.
fn bit_weights(dtype: DType) -> Result<HostTensor> {
    match dtype {
        DType::I32 => ints(dtype, (0..32).map(|bit| i64::from(1i32 << bit)).collect()),
        _ => ints(dtype, (0..64).map(|bit| 1i64 << bit).collect()),
    }
}

fn ints(dtype: DType, values: Vec<i64>) -> Result<HostTensor> {
    match dtype {
        DType::I32 => {
            let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
            HostTensor::from_vec([values.len()], values)
        }
        DType::I64 => HostTensor::from_vec([values.len()], values),
        _ => Err(unsupported(format!("bits of {dtype} have no ONNX form yet"))),
    }
}
