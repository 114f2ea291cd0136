//! Arithmetic and reductions of floats and integers.

use ::burn::backend::ir::NumericOperationIr as Op;
use ::burn::backend::ir::{
    PadModeIr, PadOpIr, ReduceDimOpIr, ReduceDimWithIndicesOpIr, ReduceOpIr, ScalarOpIr,
};

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    pub(super) fn numeric(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Add(op) => (&op.out, self.value(&op.lhs)?.add(&self.value(&op.rhs)?)?),
            Op::Sub(op) => (&op.out, self.value(&op.lhs)?.sub(&self.value(&op.rhs)?)?),
            Op::Mul(op) => (&op.out, self.value(&op.lhs)?.mul(&self.value(&op.rhs)?)?),
            Op::Div(op) => (&op.out, self.value(&op.lhs)?.div(&self.value(&op.rhs)?)?),
            Op::AddScalar(op) => (&op.out, self.value(&op.lhs)?.affine(1.0, number(&op.rhs)?)?),
            Op::SubScalar(op) => (&op.out, self.value(&op.lhs)?.affine(1.0, -number(&op.rhs)?)?),
            Op::MulScalar(op) => (&op.out, self.value(&op.lhs)?.affine(number(&op.rhs)?, 0.0)?),
            Op::DivScalar(op) => {
                let x = self.value(&op.lhs)?;
                (&op.out, x.div(&x.scalar_like(number(&op.rhs)?)?)?)
            }
            Op::Neg(op) => (&op.out, self.value(&op.input)?.neg()?),
            Op::Abs(op) => (&op.out, self.value(&op.input)?.abs()?),
            Op::Sign(op) => (&op.out, self.value(&op.input)?.sign()?),
            Op::Clamp(op) => {
                let x = self.value(&op.tensor)?;
                (&op.out, x.clamp(Some(number(&op.min)?), Some(number(&op.max)?))?)
            }
            Op::ClampMin(op) => {
                (&op.out, self.value(&op.lhs)?.clamp(Some(number(&op.rhs)?), None)?)
            }
            Op::ClampMax(op) => {
                (&op.out, self.value(&op.lhs)?.clamp(None, Some(number(&op.rhs)?))?)
            }
            Op::SumDim(op) => (&op.out, self.reduce_dim(op, "ReduceSum")?),
            Op::MeanDim(op) => (&op.out, self.reduce_dim(op, "ReduceMean")?),
            Op::MaxDim(op) => (&op.out, self.reduce_dim(op, "ReduceMax")?),
            Op::MinDim(op) => (&op.out, self.reduce_dim(op, "ReduceMin")?),
            Op::Sum(op) => (&op.out, self.reduce_all(op, "ReduceSum")?),
            Op::Mean(op) => (&op.out, self.reduce_all(op, "ReduceMean")?),
            Op::Max(op) => (&op.out, self.reduce_all(op, "ReduceMax")?),
            Op::Min(op) => (&op.out, self.reduce_all(op, "ReduceMin")?),
            Op::ProdDim(op) => (&op.out, self.reduce_dim(op, "ReduceProd")?),
            Op::Prod(op) => (&op.out, self.reduce_all(op, "ReduceProd")?),
            Op::MaxAbsDim(op) => {
                let x = self.value(&op.input)?.abs()?;
                (&op.out, x.reduce("ReduceMax", &[op.axis as i64], true)?)
            }
            Op::ArgMax(op) => (&op.out, self.value(&op.input)?.arg("ArgMax", op.axis as i64)?),
            Op::ArgMin(op) => (&op.out, self.value(&op.input)?.arg("ArgMin", op.axis as i64)?),
            Op::MaxDimWithIndices(op) => return self.dim_with_indices(op, "ReduceMax", "ArgMax"),
            Op::MinDimWithIndices(op) => return self.dim_with_indices(op, "ReduceMin", "ArgMin"),
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
            Op::PowiScalar(op) => (&op.out, self.with_scalar(op, Value::pow)?),
            Op::Full(op) => (&op.out, self.filled(&op.out, number(&op.value)?)?),
            Op::Pad(op) => (&op.out, self.pad(op)?),
            Op::SumDims(op) => {
                let axes: Vec<i64> = op.axes.iter().map(|&axis| axis as i64).collect();
                (&op.out, self.value(&op.input)?.reduce("ReduceSum", &axes, true)?)
            }
            _ => return Err(unsupported("this numeric operation has no ONNX form yet")),
        };
        self.bind(out, value)
    }

    /// An operation with a number on its right.
    pub(super) fn with_scalar(
        &mut self,
        op: &ScalarOpIr,
        apply: impl Fn(&Value, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let x = self.value(&op.lhs)?;
        apply(&x, &x.scalar_like(number(&op.rhs)?)?)
    }

    fn dim_with_indices(
        &mut self,
        op: &ReduceDimWithIndicesOpIr,
        reduce: &'static str,
        arg: &'static str,
    ) -> Result<()> {
        let (x, axis) = (self.value(&op.tensor)?, op.dim as i64);
        self.bind(&op.out, x.reduce(reduce, &[axis], true)?)?;
        self.bind(&op.out_indices, x.arg(arg, axis)?)
    }

    fn pad(&mut self, op: &PadOpIr) -> Result<Value> {
        let x = self.value(&op.input)?;
        let (before, after): (Vec<i64>, Vec<i64>) =
            op.padding.iter().map(|&(b, a)| (b as i64, a as i64)).unzip();
        let pads = [before, after].concat();
        if pads.len() != 2 * x.rank() {
            return Err(unsupported(format!("{} pads for {}", pads.len(), x.shape())));
        }
        let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        let node = self.graph.node("Pad").input(&x).input(&pads);
        match &op.mode {
            PadModeIr::Constant(value) => node.input(&x.scalar_like(number(value)?)?).build(),
            PadModeIr::Reflect => node.attr("mode", "reflect").build(),
            PadModeIr::Edge => node.attr("mode", "edge").build(),
        }
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
