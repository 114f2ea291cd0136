//! Operations on bools.

use ::burn::backend::ir::{BoolOperationIr as Op, ReduceDimOpIr, ReduceOpIr};

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::spec::DType;

impl Lowering<'_> {
    pub(super) fn bool(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            // `bind` casts to the type captured.
            Op::IntoFloat(op) | Op::IntoInt(op) => (&op.out, self.value(&op.input)?),
            Op::Not(op) => (&op.out, self.value(&op.input)?.not()?),
            Op::And(op) => (&op.out, self.value(&op.lhs)?.and(&self.value(&op.rhs)?)?),
            Op::Or(op) => (&op.out, self.value(&op.lhs)?.or(&self.value(&op.rhs)?)?),
            Op::Xor(op) => (&op.out, self.value(&op.lhs)?.xor(&self.value(&op.rhs)?)?),
        };
        self.bind(out, value)
    }

    /// Whether any (`ReduceMax`) or all (`ReduceMin`) values are set, as a tensor of one element.
    pub(super) fn test_all(&mut self, op: &ReduceOpIr, reduce: &'static str) -> Result<Value> {
        let x = set(&self.value(&op.input)?)?;
        let axes: Vec<i64> = (0..x.rank() as i64).collect();
        let found = x.reduced(reduce, &axes, false)?.unsqueeze(&[0])?;
        found.greater(&found.scalar_like(0.0)?)
    }

    /// As [`test_all`](Self::test_all), along an axis, which is kept.
    pub(super) fn test_dim(&mut self, op: &ReduceDimOpIr, reduce: &'static str) -> Result<Value> {
        let x = set(&self.value(&op.input)?)?;
        let found = x.reduced(reduce, &[op.axis as i64], true)?;
        found.greater(&found.scalar_like(0.0)?)
    }
}

/// 1 where a value is not zero, as i32, which every backend reduces.
fn set(x: &Value) -> Result<Value> {
    let set = match x.dtype() {
        DType::Bool => x.clone(),
        _ => x.equal(&x.scalar_like(0.0)?)?.not()?,
    };
    set.cast(DType::I32)
}
