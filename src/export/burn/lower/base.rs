//! Operations on shapes, comparisons for equality, masks. Slices and indices have files of their own.

use ::burn::backend::ir::{BaseOperationIr as Op, BinaryOpIr, ScalarIr, TensorIr};

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::spec::DType;

impl Lowering<'_> {
    pub(super) fn base(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Reshape(op) => (&op.out, self.reshaped(&op.out, &op.input)?),
            Op::SwapDims(op) => {
                let x = self.value(&op.input)?;
                let mut order: Vec<usize> = (0..x.rank()).collect();
                order.swap(op.dim1, op.dim2);
                (&op.out, x.transpose(&order)?)
            }
            Op::Permute(op) => (&op.out, self.value(&op.input)?.transpose(&op.axes)?),
            Op::Flip(op) => (&op.out, self.flip(op)?),
            Op::Cat(op) => {
                let values =
                    op.tensors.iter().map(|t| self.value(t)).collect::<Result<Vec<_>>>()?;
                let values: Vec<&Value> = values.iter().collect();
                (&op.out, self.graph.concat(&values, op.dim as i64)?)
            }
            Op::Expand(op) => {
                let (dims, sources) = (self.all_dims(&op.out, &op.input)?, self.input_values());
                let sources: Vec<&Value> = sources.iter().collect();
                (&op.out, self.value(&op.input)?.expand(&dims, &sources)?)
            }
            Op::RepeatDim(op) => (&op.out, self.repeat(op)?),
            Op::Unfold(op) => (&op.out, self.unfold(op)?),
            Op::Slice(op) => (&op.out, self.slice(op)?),
            Op::SliceAssign(op) => (&op.out, self.slice_assign(op)?),
            Op::Select(op) => {
                let indices = self.indices(&op.indices)?;
                (&op.out, self.value(&op.tensor)?.gather(&indices, op.dim as i64)?)
            }
            Op::SelectAssign(op) => (&op.out, self.select_assign(op)?),
            Op::Gather(op) => (&op.out, self.gather(op)?),
            Op::GatherNd(op) => (&op.out, self.gather_nd(op)?),
            Op::Scatter(op) => (&op.out, self.scatter(op)?),
            Op::ScatterNd(op) => (&op.out, self.scatter_nd(op)?),
            Op::Equal(op) => (&op.out, self.equal(op)?),
            Op::NotEqual(op) => (&op.out, self.equal(op)?.not()?),
            Op::EqualElem(op) => (&op.out, self.with_scalar(op, equal)?),
            Op::NotEqualElem(op) => (&op.out, self.with_scalar(op, equal)?.not()?),
            Op::MaskWhere(op) => {
                let (x, value) = (self.value(&op.tensor)?, self.value(&op.value)?);
                (&op.out, select(&self.value(&op.mask)?, &value, &x)?)
            }
            Op::MaskFill(op) => {
                let x = self.value(&op.tensor)?;
                let value = self.scalar(&op.value, x.dtype())?;
                (&op.out, select(&self.value(&op.mask)?, &value, &x)?)
            }
            // What an empty tensor holds is nobody's to read; zeros are as good as anything.
            Op::Zeros(op) | Op::Empty(op) => (&op.out, self.filled(&op.out, &ScalarIr::Int(0))?),
            Op::Ones(op) => (&op.out, self.filled(&op.out, &ScalarIr::Int(1))?),
            Op::Any(op) => (&op.out, self.test_all(op, "ReduceMax")?),
            Op::All(op) => (&op.out, self.test_all(op, "ReduceMin")?),
            Op::AnyDim(op) => (&op.out, self.test_dim(op, "ReduceMax")?),
            Op::AllDim(op) => (&op.out, self.test_dim(op, "ReduceMin")?),
            // `bind` casts to the type captured.
            Op::Cast(op) => (&op.out, self.value(&op.input)?),
        };
        self.bind(out, value)
    }

    fn equal(&mut self, op: &BinaryOpIr) -> Result<Value> {
        equal(&self.value(&op.lhs)?, &self.value(&op.rhs)?)
    }

    /// A tensor of one value, with the sizes of `out`.
    pub(super) fn filled(&mut self, out: &TensorIr, value: &ScalarIr) -> Result<Value> {
        let scalar = self.scalar(value, self.dtype(out)?)?;
        let (dims, sources) = (self.all_dims(out, out)?, self.input_values());
        let sources: Vec<&Value> = sources.iter().collect();
        scalar.expand(&dims, &sources)
    }
}

/// Backends compare numbers for equality; two bools are equal unless they differ.
fn equal(x: &Value, y: &Value) -> Result<Value> {
    match x.dtype() {
        DType::Bool => x.xor(y)?.not(),
        _ => x.equal(y),
    }
}

/// Backends choose between numbers; between bools, by logic.
fn select(mask: &Value, yes: &Value, no: &Value) -> Result<Value> {
    match yes.dtype() {
        DType::Bool => mask.and(yes)?.or(&mask.not()?.and(no)?),
        _ => mask.select(yes, no),
    }
}
