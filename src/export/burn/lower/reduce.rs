//! Reductions: sums, products, extremes and their positions.

use ::burn::backend::ir::{ReduceDimOpIr, ReduceDimWithIndicesOpIr, ReduceOpIr, TensorIr};

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::spec::Dim;

impl Lowering<'_> {
    /// Burn keeps a reduced axis with size 1.
    pub(super) fn reduce_dim(&mut self, op: &ReduceDimOpIr, onnx: &'static str) -> Result<Value> {
        self.value(&op.input)?.reduced(onnx, &[op.axis as i64], true)
    }

    pub(super) fn sum_dims(&mut self, input: &TensorIr, axes: &[usize]) -> Result<Value> {
        let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
        self.value(input)?.sum(&axes, true)
    }

    pub(super) fn sum_all(&mut self, op: &ReduceOpIr) -> Result<Value> {
        sum(&self.value(&op.input)?)
    }

    /// Burn reduces to a tensor of rank 1 with one element.
    pub(super) fn reduce_all(&mut self, op: &ReduceOpIr, onnx: &'static str) -> Result<Value> {
        all(&self.value(&op.input)?, onnx)
    }

    pub(super) fn max_abs(&mut self, op: &ReduceOpIr) -> Result<Value> {
        all(&self.value(&op.input)?.abs()?, "ReduceMax")
    }

    pub(super) fn mean_dim(&mut self, op: &ReduceDimOpIr) -> Result<Value> {
        let x = self.value(&op.input)?;
        if x.dtype().is_float() {
            return x.mean(&[op.axis as i64], true);
        }
        let count = self.count(&x, &x.dims()[op.axis..=op.axis])?;
        x.sum(&[op.axis as i64], true)?.div(&count)
    }

    pub(super) fn mean_all(&mut self, op: &ReduceOpIr) -> Result<Value> {
        let x = self.value(&op.input)?;
        if x.dtype().is_float() {
            let axes: Vec<i64> = (0..x.rank() as i64).collect();
            return x.mean(&axes, false)?.unsqueeze(&[0]);
        }
        let count = self.count(&x, x.dims())?;
        sum(&x)?.div(&count)
    }

    /// The mean of integers is their sum over their number, rounded towards zero.
    fn count(&mut self, x: &Value, dims: &[Dim]) -> Result<Value> {
        let sizes = self.graph.shape_tensor(dims, &[x])?;
        sizes.reduced("ReduceProd", &[0], false)?.counted()?.cast(x.dtype())
    }

    pub(super) fn dim_with_indices(
        &mut self,
        op: &ReduceDimWithIndicesOpIr,
        reduce: &'static str,
        arg: &'static str,
    ) -> Result<()> {
        let (x, axis) = (self.value(&op.tensor)?, op.dim as i64);
        self.bind(&op.out, x.reduced(reduce, &[axis], true)?)?;
        self.bind(&op.out_indices, x.arg(arg, axis)?)
    }
}

fn sum(x: &Value) -> Result<Value> {
    let axes: Vec<i64> = (0..x.rank() as i64).collect();
    x.sum(&axes, false)?.unsqueeze(&[0])
}

fn all(x: &Value, onnx: &'static str) -> Result<Value> {
    let axes: Vec<i64> = (0..x.rank() as i64).collect();
    x.reduced(onnx, &axes, false)?.unsqueeze(&[0])
}
