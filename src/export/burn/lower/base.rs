//! Operations on shapes and positions.

use ::burn::backend::ir::BaseOperationIr as Op;
use ::burn::backend::ir::TensorIr;

use super::{Lowering, number, tensors, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::graph::scalar;
use crate::spec::DType;
use crate::tensor::HostTensor;

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
            Op::Cat(op) => {
                let values =
                    op.tensors.iter().map(|t| self.value(t)).collect::<Result<Vec<_>>>()?;
                let values: Vec<&Value> = values.iter().collect();
                (&op.out, self.graph.concat(&values, op.dim as i64)?)
            }
            Op::Slice(op) => (&op.out, self.slice(op)?),
            Op::Expand(op) => {
                let (dims, sources) = (self.all_dims(&op.out, &op.input)?, self.input_values());
                let sources: Vec<&Value> = sources.iter().collect();
                (&op.out, self.value(&op.input)?.expand(&dims, &sources)?)
            }
            Op::Equal(op) => (&op.out, self.value(&op.lhs)?.equal(&self.value(&op.rhs)?)?),
            Op::NotEqual(op) => {
                (&op.out, self.value(&op.lhs)?.equal(&self.value(&op.rhs)?)?.not()?)
            }
            Op::EqualElem(op) => (&op.out, self.with_scalar(op, Value::equal)?),
            Op::NotEqualElem(op) => (&op.out, self.with_scalar(op, Value::equal)?.not()?),
            Op::MaskWhere(op) => {
                let (x, value) = (self.value(&op.tensor)?, self.value(&op.value)?);
                (&op.out, self.value(&op.mask)?.select(&value, &x)?)
            }
            Op::MaskFill(op) => {
                let x = self.value(&op.tensor)?;
                let value = x.scalar_like(number(&op.value)?)?;
                (&op.out, self.value(&op.mask)?.select(&value, &x)?)
            }
            Op::Select(op) => {
                let indices = self.indices(&op.indices)?;
                (&op.out, self.value(&op.tensor)?.gather(&indices, op.dim as i64)?)
            }
            Op::Gather(op) => {
                let (x, indices) = (self.value(&op.tensor)?, self.indices(&op.indices)?);
                let output = (x.dtype(), indices.shape().clone());
                let node = self.graph.node("GatherElements").input(&x).input(&indices);
                (&op.out, node.attr("axis", op.dim as i64).outputs([output]).build()?)
            }
            Op::RepeatDim(op) => (&op.out, self.repeat(op)?),
            Op::Zeros(op) => (&op.out, self.filled(&op.out, 0.0)?),
            Op::Ones(op) => (&op.out, self.filled(&op.out, 1.0)?),
            // `bind` casts to the type captured.
            Op::Cast(op) => (&op.out, self.value(&op.input)?),
            _ => return Err(unsupported("this operation has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    /// Indices in a type that ONNX takes.
    pub(super) fn indices(&mut self, indices: &TensorIr) -> Result<Value> {
        let value = self.value(indices)?;
        match value.dtype() {
            DType::I32 | DType::I64 => Ok(value),
            _ => value.cast(DType::I64),
        }
    }

    /// A tensor of one value, with the sizes of `out`.
    pub(super) fn filled(&mut self, out: &TensorIr, value: f64) -> Result<Value> {
        let dtype = tensors::dtype(out.dtype)?;
        let scalar = match dtype {
            DType::Bool => HostTensor::scalar(value != 0.0),
            dtype => scalar(dtype, value)?,
        };
        let (dims, sources) = (self.all_dims(out, out)?, self.input_values());
        let sources: Vec<&Value> = sources.iter().collect();
        self.graph.constant("fill", scalar).expand(&dims, &sources)
    }
}
