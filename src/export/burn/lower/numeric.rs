//! Arithmetic and comparisons of floats and integers. Reductions are in `reduce`, sorting in `order`.

use ::burn::backend::ir::NumericOperationIr as Op;
use ::burn::backend::ir::{BinaryOpIr, ClampOpIr, PadModeIr, PadOpIr, ScalarIr, ScalarOpIr};

use super::{Lowering, NO_RANDOM, float, number, unsupported, whole};
use crate::error::Result;
use crate::export::Value;
use crate::export::graph::Around;
use crate::spec::DType;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn numeric(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Add(op) => (&op.out, self.value(&op.lhs)?.add(&self.value(&op.rhs)?)?),
            Op::Sub(op) => (&op.out, self.value(&op.lhs)?.sub(&self.value(&op.rhs)?)?),
            Op::Mul(op) => (&op.out, self.value(&op.lhs)?.mul(&self.value(&op.rhs)?)?),
            Op::Div(op) => (&op.out, self.value(&op.lhs)?.div(&self.value(&op.rhs)?)?),
            Op::AddScalar(op) => (&op.out, self.with_number(op, Value::add)?),
            Op::SubScalar(op) => (&op.out, self.with_number(op, Value::sub)?),
            Op::MulScalar(op) => (&op.out, self.with_scalar(op, Value::mul)?),
            Op::DivScalar(op) => (&op.out, self.with_scalar(op, Value::div)?),
            Op::Rem(op) => (&op.out, remainder(&self.value(&op.lhs)?, &self.value(&op.rhs)?)?),
            Op::RemScalar(op) => (&op.out, self.with_scalar(op, remainder)?),
            Op::Neg(op) => (&op.out, self.value(&op.input)?.neg()?),
            Op::Abs(op) => (&op.out, self.value(&op.input)?.abs()?),
            Op::Sign(op) => (&op.out, self.value(&op.input)?.sign()?),
            Op::Clamp(op) => (&op.out, self.clamp(op)?),
            Op::ClampMin(op) => (&op.out, self.with_scalar(op, Value::maximum)?),
            Op::ClampMax(op) => (&op.out, self.with_scalar(op, Value::minimum)?),
            Op::Greater(op) => (&op.out, self.value(&op.lhs)?.greater(&self.value(&op.rhs)?)?),
            Op::GreaterEqual(op) => {
                (&op.out, self.value(&op.lhs)?.greater_equal(&self.value(&op.rhs)?)?)
            }
            Op::Lower(op) => (&op.out, self.value(&op.lhs)?.less(&self.value(&op.rhs)?)?),
            Op::LowerEqual(op) => {
                (&op.out, self.value(&op.lhs)?.less_equal(&self.value(&op.rhs)?)?)
            }
            Op::GreaterElem(op) => (&op.out, self.with_scalar(op, Value::greater)?),
            Op::GreaterEqualElem(op) => (&op.out, self.with_scalar(op, Value::greater_equal)?),
            Op::LowerElem(op) => (&op.out, self.with_scalar(op, Value::less)?),
            Op::LowerEqualElem(op) => (&op.out, self.with_scalar(op, Value::less_equal)?),
            Op::Powi(op) => (&op.out, self.powi(op)?),
            Op::PowiScalar(op) => (&op.out, float::power(&self.value(&op.lhs)?, number(&op.rhs)?)?),
            Op::Full(op) => (&op.out, self.filled(&op.out, &op.value)?),
            Op::Pad(op) => (&op.out, self.pad(op)?),
            Op::SumDim(op) => (&op.out, self.sum_dims(&op.input, &[op.axis])?),
            Op::MeanDim(op) => (&op.out, self.mean_dim(op)?),
            Op::MaxDim(op) => (&op.out, self.reduce_dim(op, "ReduceMax")?),
            Op::MinDim(op) => (&op.out, self.reduce_dim(op, "ReduceMin")?),
            Op::ProdDim(op) => (&op.out, self.reduce_dim(op, "ReduceProd")?),
            Op::MaxAbsDim(op) => {
                let x = self.value(&op.input)?.abs()?;
                (&op.out, x.reduced("ReduceMax", &[op.axis as i64], true)?)
            }
            Op::Sum(op) => (&op.out, self.sum_all(op)?),
            Op::Mean(op) => (&op.out, self.mean_all(op)?),
            Op::Max(op) => (&op.out, self.reduce_all(op, "ReduceMax")?),
            Op::Min(op) => (&op.out, self.reduce_all(op, "ReduceMin")?),
            Op::Prod(op) => (&op.out, self.reduce_all(op, "ReduceProd")?),
            Op::MaxAbs(op) => (&op.out, self.max_abs(op)?),
            Op::SumDims(op) => (&op.out, self.sum_dims(&op.input, &op.axes)?),
            Op::ArgMax(op) => (&op.out, self.value(&op.input)?.arg_max(op.axis as i64)?),
            Op::ArgMin(op) => (&op.out, self.value(&op.input)?.arg_min(op.axis as i64)?),
            Op::MaxDimWithIndices(op) => return self.dim_with_indices(op, "ReduceMax", "ArgMax"),
            Op::MinDimWithIndices(op) => return self.dim_with_indices(op, "ReduceMin", "ArgMin"),
            Op::CumSum(op) => (&op.out, self.cumulative_sum(op)?),
            Op::CumProd(op) => (&op.out, self.cumulative(op, Some(1.0), Value::mul)?),
            Op::CumMin(op) => (&op.out, self.cumulative(op, None, Value::minimum)?),
            Op::CumMax(op) => (&op.out, self.cumulative(op, None, Value::maximum)?),
            Op::Sort(op) => {
                return self.sort(&op.input, op.dim, op.descending, [Some(&op.out), None]);
            }
            Op::ArgSort(op) => {
                return self.sort(&op.input, op.dim, op.descending, [None, Some(&op.out)]);
            }
            Op::SortWithIndices(op) => {
                let outputs = [Some(&op.out), Some(&op.out_indices)];
                return self.sort(&op.input, op.dim, op.descending, outputs);
            }
            Op::TopK(op) => (&op.out, self.largest(&op.input, op.axis, &op.out)?.0),
            Op::ArgTopK(op) => (&op.out, self.largest(&op.input, op.axis, &op.out)?.1),
            Op::TopKWithIndices(op) => {
                let (values, indices) = self.largest(&op.tensor, op.dim, &op.out)?;
                self.bind(&op.out, values)?;
                (&op.out_indices, indices)
            }
            Op::IntRandom(_) => return Err(unsupported(NO_RANDOM)),
        };
        self.bind(out, value)
    }

    /// A constant scalar of a type, exact for every integer.
    pub(super) fn scalar(&mut self, scalar: &ScalarIr, dtype: DType) -> Result<Value> {
        let whole = || whole(scalar);
        let tensor = match dtype {
            DType::I8 => HostTensor::scalar(whole()? as i8),
            DType::I16 => HostTensor::scalar(whole()? as i16),
            DType::I32 => HostTensor::scalar(whole()? as i32),
            DType::I64 => HostTensor::scalar(whole()? as i64),
            DType::U8 => HostTensor::scalar(whole()? as u8),
            DType::U16 => HostTensor::scalar(whole()? as u16),
            DType::U32 => HostTensor::scalar(whole()? as u32),
            DType::U64 => HostTensor::scalar(whole()? as u64),
            DType::Bool => HostTensor::scalar(number(scalar)? != 0.0),
            dtype => crate::export::graph::scalar(dtype, number(scalar)?)?,
        };
        Ok(self.graph.constant("scalar", tensor))
    }

    /// An operation with a number on its right.
    pub(super) fn with_scalar(
        &mut self,
        op: &ScalarOpIr,
        apply: impl Fn(&Value, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let x = self.value(&op.lhs)?;
        apply(&x, &self.scalar(&op.rhs, x.dtype())?)
    }

    fn clamp(&mut self, op: &ClampOpIr) -> Result<Value> {
        let x = self.value(&op.tensor)?;
        let (min, max) = (self.scalar(&op.min, x.dtype())?, self.scalar(&op.max, x.dtype())?);
        x.graph().node("Clip").input(&x).input(&min).input(&max).build()
    }

    /// The exponents are whole numbers. Of integers, the power is taken bit by bit of the exponent,
    /// since backends take powers of floats.
    fn powi(&mut self, op: &BinaryOpIr) -> Result<Value> {
        let (x, exponent) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
        if x.dtype().is_float() {
            return x.pow(&exponent.cast(x.dtype())?);
        }
        let (mut square, mut rest) = (x.clone(), exponent);
        let (zero, two) = (rest.scalar_like(0.0)?, rest.scalar_like(2.0)?);
        let one = x.scalar_like(1.0)?;
        let mut result = one.clone();
        // Burn takes exponents as 32-bit numbers.
        for bit in 0..32 {
            let even = x.graph().node("Mod").input(&rest).input(&two).build()?.equal(&zero)?;
            result = result.mul(&even.select(&one, &square)?)?;
            if bit < 31 {
                square = square.mul(&square)?;
                rest = rest.div(&two)?;
            }
        }
        Ok(result)
    }

    fn pad(&mut self, op: &PadOpIr) -> Result<Value> {
        let x = self.value(&op.input)?;
        if op.padding.len() != x.rank() {
            return Err(unsupported(format!("{} pads for {}", op.padding.len(), x.shape())));
        }
        match &op.mode {
            PadModeIr::Constant(value) => {
                x.pad_with(&op.padding, Around::Of(&self.scalar(value, x.dtype())?))
            }
            PadModeIr::Reflect => x.pad_with(&op.padding, Around::Reflected),
            PadModeIr::Edge => x.pad_with(&op.padding, Around::Edge),
        }
    }
}

/// The remainder with the sign of the divisor.
fn remainder(x: &Value, y: &Value) -> Result<Value> {
    let node = x.graph().node("Mod").input(x).input(y);
    if !x.dtype().is_float() {
        return node.build();
    }
    let rest = node.attr("fmod", 1).build()?;
    let zero = rest.scalar_like(0.0)?;
    let other_sign = rest.less(&zero)?.xor(&y.less(&zero)?)?;
    let wrong = other_sign.and(&rest.equal(&zero)?.not()?)?;
    wrong.select(&rest.add(y)?, &rest)
}
