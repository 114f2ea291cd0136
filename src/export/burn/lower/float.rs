//! Float operations: elementwise functions and matrix products.

use ::burn::backend::ir::FloatOperationIr as Op;

use super::{Lowering, number, unsupported};
use crate::error::Result;

impl Lowering<'_> {
    pub(super) fn float(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Exp(op) => (&op.out, self.value(&op.input)?.exp()?),
            Op::Log(op) => (&op.out, self.value(&op.input)?.log()?),
            Op::Log1p(op) => (&op.out, self.value(&op.input)?.affine(1.0, 1.0)?.log()?),
            Op::Erf(op) => (&op.out, self.value(&op.input)?.erf()?),
            Op::Sqrt(op) => (&op.out, self.value(&op.input)?.sqrt()?),
            Op::Cos(op) => (&op.out, self.value(&op.input)?.cos()?),
            Op::Sin(op) => (&op.out, self.value(&op.input)?.sin()?),
            Op::Tan(op) => (&op.out, self.value(&op.input)?.tan()?),
            Op::Cosh(op) => (&op.out, self.value(&op.input)?.cosh()?),
            Op::Sinh(op) => (&op.out, self.value(&op.input)?.sinh()?),
            Op::ArcCos(op) => (&op.out, self.value(&op.input)?.acos()?),
            Op::ArcCosh(op) => (&op.out, self.value(&op.input)?.acosh()?),
            Op::ArcSin(op) => (&op.out, self.value(&op.input)?.asin()?),
            Op::ArcSinh(op) => (&op.out, self.value(&op.input)?.asinh()?),
            Op::ArcTan(op) => (&op.out, self.value(&op.input)?.atan()?),
            Op::ArcTanh(op) => (&op.out, self.value(&op.input)?.atanh()?),
            Op::IsNan(op) => (&op.out, self.value(&op.input)?.is_nan()?),
            Op::IsInf(op) => (&op.out, self.value(&op.input)?.is_inf()?),
            Op::Powf(op) => (&op.out, self.value(&op.lhs)?.pow(&self.value(&op.rhs)?)?),
            Op::Trunc(op) => {
                let x = self.value(&op.input)?;
                (&op.out, x.abs()?.floor()?.mul(&x.sign()?)?)
            }
            Op::Tanh(op) => (&op.out, self.value(&op.input)?.tanh()?),
            Op::Floor(op) => (&op.out, self.value(&op.input)?.floor()?),
            Op::Ceil(op) => (&op.out, self.value(&op.input)?.ceil()?),
            Op::Round(op) => (&op.out, self.value(&op.input)?.round()?),
            Op::Recip(op) => (&op.out, self.value(&op.input)?.reciprocal()?),
            Op::PowfScalar(op) => (&op.out, self.value(&op.lhs)?.powf(number(&op.rhs)?)?),
            // `bind` casts to the type captured.
            Op::IntoInt(op) => (&op.out, self.value(&op.input)?),
            Op::Matmul(op) => (&op.out, self.value(&op.lhs)?.matmul(&self.value(&op.rhs)?)?),
            _ => return Err(unsupported("this float operation has no ONNX form yet")),
        };
        self.bind(out, value)
    }
}
