//! Operations on bools.

use ::burn::backend::ir::BoolOperationIr as Op;

use super::Lowering;
use crate::error::Result;

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
}
