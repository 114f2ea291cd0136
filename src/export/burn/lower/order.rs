//! Sorting, and running sums, products and extremes.

use ::burn::backend::ir::{DimOpIr, TensorIr};

use super::Lowering;
use crate::error::Result;
use crate::export::Value;
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// Values and indices along an axis in order. Burn promises no order among equals.
    pub(super) fn sorted(
        &mut self,
        input: &TensorIr,
        axis: usize,
        descending: bool,
    ) -> Result<(Value, Value)> {
        let x = self.value(input)?;
        let count = x.dims()[axis].clone();
        self.top(&x, axis, count, descending)
    }

    /// The largest values along an axis and their indices, as many as `out` has there.
    pub(super) fn largest(
        &mut self,
        input: &TensorIr,
        axis: usize,
        out: &TensorIr,
    ) -> Result<(Value, Value)> {
        let x = self.value(input)?;
        self.top(&x, axis, Dim::Fixed(out.shape[axis]), true)
    }

    fn top(&mut self, x: &Value, axis: usize, count: Dim, largest: bool) -> Result<(Value, Value)> {
        let k = self.graph.shape_tensor(std::slice::from_ref(&count), &[x])?;
        let mut dims = x.dims().to_vec();
        dims[axis] = count;
        let outputs = [(x.dtype(), dims.clone().into()), (DType::I64, dims.into())];
        let node = self.graph.node("TopK").input(x).input(&k).attr("axis", axis as i64);
        let node = node.attr("largest", i64::from(largest)).attr("sorted", 1);
        let mut outputs = node.outputs(outputs).build_all()?;
        let indices = outputs.remove(1);
        Ok((outputs.remove(0), indices))
    }

    pub(super) fn cumulative_sum(&mut self, op: &DimOpIr) -> Result<Value> {
        let x = self.value(&op.input)?;
        let axis = self.graph.constant("axis", HostTensor::scalar(op.axis as i64));
        self.graph.node("CumSum").input(&x).input(&axis).build()
    }

    /// The results of all prefixes, in steps that double what a cell has seen (Hillis and Steele,
    /// 1986). Before the first cell comes `neutral`, or the first cell once more.
    pub(super) fn cumulative(
        &mut self,
        op: &DimOpIr,
        neutral: Option<f64>,
        combine: impl Fn(&Value, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let mut x = self.value(&op.input)?;
        let longest = x.dims()[op.axis].max();
        let mut step = 1;
        while step < longest {
            let before = self.shifted(&x, op.axis, step, neutral)?;
            x = combine(&x, &before)?;
            step *= 2;
        }
        Ok(x)
    }

    /// x moved by some cells along an axis.
    fn shifted(&mut self, x: &Value, axis: usize, by: usize, fill: Option<f64>) -> Result<Value> {
        let mut pads = vec![0i64; 2 * x.rank()];
        pads[axis] = by as i64;
        let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        let node = self.graph.node("Pad").input(x).input(&pads);
        let longer = match fill {
            Some(fill) => node.input(&x.scalar_like(fill)?).build()?,
            None => node.attr("mode", "edge").build()?,
        };
        let operand = |value: i64| {
            Ok::<_, crate::Error>(
                self.graph.constant("slice", HostTensor::from_vec([1], vec![value])?),
            )
        };
        let node = self.graph.node("Slice").input(&longer).input(&operand(0)?);
        let node = node.input(&operand(-(by as i64))?).input(&operand(axis as i64)?);
        node.outputs([(x.dtype(), x.shape().clone())]).build()
    }
}
