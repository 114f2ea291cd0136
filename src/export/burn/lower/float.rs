//! Float operations: elementwise functions and matrix products.

use std::f64::consts::{FRAC_PI_2, PI};

use ::burn::backend::ir::{BinaryOpIr, CrossOpIr, FloatOperationIr as Op, GridSample2dOpIr};
use ::burn::backend::ir::{GridSamplePaddingModeIr, InterpolateModeIr};

use super::{Lowering, NO_RANDOM, number, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn float(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Exp(op) => (&op.out, self.value(&op.input)?.exp()?),
            Op::Log(op) => (&op.out, self.value(&op.input)?.log()?),
            Op::Log1p(op) => (&op.out, self.value(&op.input)?.log1p()?),
            Op::Erf(op) => (&op.out, self.value(&op.input)?.erf()?),
            Op::Sqrt(op) => (&op.out, self.value(&op.input)?.sqrt()?),
            Op::Cos(op) => (&op.out, self.value(&op.input)?.cos()?),
            Op::Sin(op) => (&op.out, self.value(&op.input)?.sin()?),
            Op::Tan(op) => (&op.out, self.value(&op.input)?.tan()?),
            Op::Cosh(op) => (&op.out, self.value(&op.input)?.cosh()?),
            Op::Sinh(op) => (&op.out, self.value(&op.input)?.sinh()?),
            Op::Tanh(op) => (&op.out, self.value(&op.input)?.tanh()?),
            Op::ArcCos(op) => (&op.out, self.value(&op.input)?.acos()?),
            Op::ArcCosh(op) => (&op.out, self.value(&op.input)?.acosh()?),
            Op::ArcSin(op) => (&op.out, self.value(&op.input)?.asin()?),
            Op::ArcSinh(op) => (&op.out, self.value(&op.input)?.asinh()?),
            Op::ArcTan(op) => (&op.out, self.value(&op.input)?.atan()?),
            Op::ArcTanh(op) => (&op.out, self.value(&op.input)?.atanh()?),
            Op::ArcTan2(op) => (&op.out, self.atan2(op)?),
            Op::Hypot(op) => (&op.out, self.hypot(op)?),
            Op::IsNan(op) => (&op.out, self.value(&op.input)?.is_nan()?),
            Op::IsInf(op) => (&op.out, self.value(&op.input)?.is_inf()?),
            Op::Powf(op) => (&op.out, self.value(&op.lhs)?.pow(&self.value(&op.rhs)?)?),
            Op::PowfScalar(op) => (&op.out, power(&self.value(&op.lhs)?, number(&op.rhs)?)?),
            Op::Trunc(op) => {
                let x = self.value(&op.input)?;
                let negative = x.less(&x.scalar_like(0.0)?)?;
                (&op.out, negative.select(&x.ceil()?, &x.floor()?)?)
            }
            Op::Floor(op) => (&op.out, self.value(&op.input)?.floor()?),
            Op::Ceil(op) => (&op.out, self.value(&op.input)?.ceil()?),
            Op::Round(op) => (&op.out, self.value(&op.input)?.round()?),
            Op::Recip(op) => (&op.out, self.value(&op.input)?.reciprocal()?),
            // `bind` casts to the type captured.
            Op::IntoInt(op) => (&op.out, self.value(&op.input)?),
            Op::Matmul(op) => (&op.out, self.value(&op.lhs)?.matmul(&self.value(&op.rhs)?)?),
            Op::Cross(op) => (&op.out, self.cross(op)?),
            Op::GridSample2d(op) => (&op.out, self.grid_sample(op)?),
            Op::Random(_) => return Err(unsupported(NO_RANDOM)),
            Op::Quantize(_) | Op::Dequantize(_) => {
                return Err(unsupported("quantized tensors have no ONNX form yet"));
            }
        };
        self.bind(out, value)
    }

    /// The larger and the smaller of two magnitudes, and their ratio, 1 where they are equal.
    fn magnitudes(&mut self, x: &Value, y: &Value) -> Result<(Value, Value)> {
        let (x, y) = (x.abs()?, y.abs()?);
        let (larger, smaller) = (x.maximum(&y)?, x.minimum(&y)?);
        let equal = larger.equal(&smaller)?;
        let ratio = equal.select(&larger.scalar_like(1.0)?, &smaller.div(&larger)?)?;
        Ok((larger, ratio))
    }

    /// The root of x² + y², without overflow.
    fn hypot(&mut self, op: &BinaryOpIr) -> Result<Value> {
        let (x, y) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
        let (larger, ratio) = self.magnitudes(&x, &y)?;
        larger.mul(&ratio.mul(&ratio)?.affine(1.0, 1.0)?.sqrt()?)
    }

    /// The angle of the point (x, y), from the angle in the first octant. Zeros have a sign here.
    fn atan2(&mut self, op: &BinaryOpIr) -> Result<Value> {
        let (y, x) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
        let (larger, ratio) = self.magnitudes(&x, &y)?;
        let zero = larger.scalar_like(0.0)?;
        let ratio = larger.equal(&zero)?.select(&zero, &ratio)?;
        let angle = ratio.atan()?;
        let steep = y.abs()?.greater(&x.abs()?)?;
        let angle = steep.select(&angle.affine(-1.0, FRAC_PI_2)?, &angle)?;
        let angle = negative(&x)?.select(&angle.affine(-1.0, PI)?, &angle)?;
        negative(&y)?.select(&angle.neg()?, &angle)
    }

    /// a × b = roll(a, 1) roll(b, 2) - roll(a, 2) roll(b, 1) along an axis of size 3.
    fn cross(&mut self, op: &CrossOpIr) -> Result<Value> {
        let axis = op.dim as i64;
        let [a, b] = [&op.lhs, &op.rhs].map(|tensor| self.value(tensor));
        let [once, twice] = [vec![1i64, 2, 0], vec![2, 0, 1]].map(|order| {
            let order = HostTensor::from_vec([3], order)?;
            Ok::<_, crate::Error>(self.graph.constant("order", order))
        });
        let (a, b, once, twice) = (a?, b?, once?, twice?);
        let first = a.gather(&once, axis)?.mul(&b.gather(&twice, axis)?)?;
        first.sub(&a.gather(&twice, axis)?.mul(&b.gather(&once, axis)?)?)
    }

    fn grid_sample(&mut self, op: &GridSample2dOpIr) -> Result<Value> {
        let (x, grid) = (self.value(&op.tensor)?, self.value(&op.grid)?);
        let mode = match &op.options.mode {
            InterpolateModeIr::Nearest => "nearest",
            InterpolateModeIr::Bilinear => self.graph.target().linear_sampling(),
            mode => return Err(unsupported(format!("sampling by {mode:?} has no ONNX form yet"))),
        };
        let padding = match op.options.padding_mode {
            GridSamplePaddingModeIr::Zeros => "zeros",
            GridSamplePaddingModeIr::Border => "border",
            GridSamplePaddingModeIr::Reflection => "reflection",
        };
        let mut dims = x.dims()[..2].to_vec();
        dims.extend_from_slice(&grid.dims()[1..3]);
        let node = self.graph.node("GridSample").input(&x).input(&grid).attr("mode", mode);
        node.attr("padding_mode", padding)
            .attr("align_corners", i64::from(op.options.align_corners))
            .outputs([(x.dtype(), dims.into())])
            .build()
    }
}

/// Whether the sign is negative, that of a zero too.
fn negative(x: &Value) -> Result<Value> {
    let zero = x.scalar_like(0.0)?;
    x.less(&zero)?.or(&x.reciprocal()?.less(&zero)?)
}

/// x to a constant power. Products keep small whole powers exact where a backend's power goes
/// through logarithms.
pub(super) fn power(x: &Value, exponent: f64) -> Result<Value> {
    if !x.dtype().is_float() && exponent >= 0.0 {
        return whole_power(x, exponent as u64);
    }
    match exponent {
        1.0 => Ok(x.clone()),
        2.0 => x.mul(x),
        3.0 => x.mul(x)?.mul(x),
        4.0 => {
            let square = x.mul(x)?;
            square.mul(&square)
        }
        -1.0 => x.reciprocal(),
        -2.0 => x.mul(x)?.reciprocal(),
        _ => x.powf(exponent),
    }
}

/// By repeated squares, which wraps as Burn's integers do.
fn whole_power(x: &Value, mut exponent: u64) -> Result<Value> {
    let (mut square, mut result) = (x.clone(), None::<Value>);
    while exponent > 0 {
        if exponent % 2 == 1 {
            result = Some(match result {
                Some(result) => result.mul(&square)?,
                None => square.clone(),
            });
        }
        exponent /= 2;
        if exponent > 0 {
            square = square.mul(&square)?;
        }
    }
    match result {
        Some(result) => Ok(result),
        None => x.equal(x)?.cast(x.dtype()),
    }
}
