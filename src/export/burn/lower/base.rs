//! Operations on shapes and positions.

use ::burn::backend::ir::BaseOperationIr as Op;
use ::burn::backend::ir::SliceOpIr;

use super::{Lowering, unsupported};
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;

impl Lowering<'_> {
    pub(super) fn base(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Reshape(op) => {
                let dims = self.dims(&op.out, &op.input)?;
                (&op.out, self.value(&op.input)?.reshape(&dims)?)
            }
            Op::SwapDims(op) => {
                let x = self.value(&op.input)?;
                let mut order: Vec<usize> = (0..x.rank()).collect();
                order.swap(op.dim1, op.dim2);
                (&op.out, x.transpose(&order)?)
            }
            Op::Permute(op) => (&op.out, self.value(&op.input)?.transpose(&op.axes)?),
            Op::Cat(op) => {
                let values =
                    op.tensors.iter().map(|t| self.value(t)).collect::<Result<Vec<_>>>()?;
                let values: Vec<&Value> = values.iter().collect();
                (&op.out, self.graph.concat(&values, op.dim as i64)?)
            }
            Op::Slice(op) => (&op.out, self.slice(op)?),
            // `bind` casts to the type captured.
            Op::Cast(op) => (&op.out, self.value(&op.input)?),
            _ => return Err(unsupported("this operation has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    fn slice(&mut self, op: &SliceOpIr) -> Result<Value> {
        let mut value = self.value(&op.tensor)?;
        for (axis, range) in op.ranges.iter().enumerate() {
            let (kept, whole) = (self.pair(&op.out, axis), self.pair(&op.tensor, axis));
            if kept == whole && range.step == 1 {
                continue;
            }
            if range.step != 1 {
                return Err(unsupported("slices with a step have no ONNX form yet").at_axis(axis));
            }
            if whole.0 != whole.1 && kept.0 != kept.1 {
                let text = "the bounds of a slice depend on a dynamic size";
                return Err(Error::new(ErrorKind::UnsupportedOperation, text).at_axis(axis));
            }
            value =
                value.slice(axis as i64, range.start as i64, range.end.map(|end| end as i64))?;
        }
        Ok(value)
    }
}
