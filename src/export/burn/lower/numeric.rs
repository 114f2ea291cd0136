//! Arithmetic and reductions of floats and integers.

use ::burn::backend::ir::NumericOperationIr as Op;
use ::burn::backend::ir::{ReduceDimOpIr, ReduceOpIr};

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::Value;

impl Lowering<'_> {
    pub(super) fn numeric(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Add(op) => (&op.out, self.value(&op.lhs)?.add(&self.value(&op.rhs)?)?),
            Op::Sub(op) => (&op.out, self.value(&op.lhs)?.sub(&self.value(&op.rhs)?)?),
            Op::Mul(op) => (&op.out, self.value(&op.lhs)?.mul(&self.value(&op.rhs)?)?),
            Op::Div(op) => (&op.out, self.value(&op.lhs)?.div(&self.value(&op.rhs)?)?),
            Op::AddScalar(op) => (&op.out, self.value(&op.lhs)?.affine(1.0, number(&op.rhs))?),
            Op::SubScalar(op) => (&op.out, self.value(&op.lhs)?.affine(1.0, -number(&op.rhs))?),
            Op::MulScalar(op) => (&op.out, self.value(&op.lhs)?.affine(number(&op.rhs), 0.0)?),
            Op::DivScalar(op) => {
                let x = self.value(&op.lhs)?;
                (&op.out, x.div(&x.scalar_like(number(&op.rhs))?)?)
            }
            Op::Neg(op) => (&op.out, self.value(&op.input)?.neg()?),
            Op::Abs(op) => (&op.out, self.value(&op.input)?.abs()?),
            Op::Sign(op) => (&op.out, self.value(&op.input)?.sign()?),
            Op::Clamp(op) => {
                let x = self.value(&op.tensor)?;
                (&op.out, x.clamp(Some(number(&op.min)), Some(number(&op.max)))?)
            }
            Op::ClampMin(op) => (&op.out, self.value(&op.lhs)?.clamp(Some(number(&op.rhs)), None)?),
            Op::ClampMax(op) => (&op.out, self.value(&op.lhs)?.clamp(None, Some(number(&op.rhs)))?),
            Op::SumDim(op) => (&op.out, self.reduce_dim(op, "ReduceSum")?),
            Op::MeanDim(op) => (&op.out, self.reduce_dim(op, "ReduceMean")?),
            Op::MaxDim(op) => (&op.out, self.reduce_dim(op, "ReduceMax")?),
            Op::MinDim(op) => (&op.out, self.reduce_dim(op, "ReduceMin")?),
            Op::Sum(op) => (&op.out, self.reduce_all(op, "ReduceSum")?),
            Op::Mean(op) => (&op.out, self.reduce_all(op, "ReduceMean")?),
            Op::Max(op) => (&op.out, self.reduce_all(op, "ReduceMax")?),
            Op::Min(op) => (&op.out, self.reduce_all(op, "ReduceMin")?),
            Op::SumDims(op) => {
                let axes: Vec<i64> = op.axes.iter().map(|&axis| axis as i64).collect();
                (&op.out, self.value(&op.input)?.reduce("ReduceSum", &axes, true)?)
            }
            _ => return Err(unsupported("this numeric operation has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    /// Burn keeps a reduced axis with size 1.
    fn reduce_dim(&mut self, op: &ReduceDimOpIr, onnx: &'static str) -> Result<Value> {
        self.value(&op.input)?.reduce(onnx, &[op.axis as i64], true)
    }

    /// Burn reduces to a tensor of rank 1 with one element.
    fn reduce_all(&mut self, op: &ReduceOpIr, onnx: &'static str) -> Result<Value> {
        let x = self.value(&op.input)?;
        let axes: Vec<i64> = (0..x.rank() as i64).collect();
        x.reduce(onnx, &axes, false)?.unsqueeze(&[0])
    }
}
