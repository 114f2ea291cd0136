//! Sorting, and running sums, products and extremes.

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{BaseOperationIr as Base, DimOpIr, OperationIr, TensorIr};

use super::sizes::base;
use super::{Lowering, tensors};
use crate::error::Result;
use crate::export::Value;
use crate::export::graph::Around;
use crate::spec::Dim;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// Values and indices along an axis in order, those of them that are `outputs`. Burn promises no order among
    /// equals. Where only the first are taken, no others are ordered: consumers select a few faster, and TensorRT
    /// orders no long axis.
    pub(super) fn sort(
        &mut self,
        input: &TensorIr,
        axis: usize,
        descending: bool,
        outputs: [Option<&TensorIr>; 2],
    ) -> Result<()> {
        let x = self.value(input)?;
        let read: Vec<_> = outputs.iter().flatten().map(|out| out.id).collect();
        let cut =
            self.furthest(&read, axis).filter(|&end| (1..x.dims()[axis].min()).contains(&end));
        let count = cut.map_or(x.dims()[axis].clone(), Dim::Fixed);
        let (values, places) = self.top(&x, axis, count, descending)?;
        for (out, value) in outputs.into_iter().zip([values, places]) {
            let Some(out) = out else { continue };
            match cut {
                // Shorter than in the captures.
                Some(_) => {
                    let value = self.fit(&value, tensors::dtype(out.dtype)?)?;
                    self.values.insert(out.id, value);
                }
                None => self.bind(out, value)?,
            }
        }
        Ok(())
    }

    /// How far along an axis tensors are read that are only sliced there, to the same place in all captures.
    fn furthest(&self, tensors: &[TensorId], axis: usize) -> Option<usize> {
        if self.trace.outputs.iter().any(|id| tensors.contains(id)) {
            return None;
        }
        let mut furthest = None;
        for (position, operation) in self.trace.operations.iter().enumerate() {
            if !operation.inputs().any(|tensor| tensors.contains(&tensor.id)) {
                continue;
            }
            let end = |operation: &OperationIr| match base(operation)? {
                Base::Slice(op) => {
                    let range = op.ranges.get(axis).filter(|range| range.step > 0)?;
                    Some(range.to_range(op.tensor.shape[axis]).end)
                }
                _ => None,
            };
            let here = end(operation)?;
            let twins = self.captures.iter().filter_map(|trace| trace.operations.get(position));
            if twins.map(end).any(|end| end != Some(here)) {
                return None;
            }
            furthest = furthest.max(Some(here));
        }
        furthest
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
        let size = || self.graph.shape_tensor(std::slice::from_ref(&count), &[x]);
        let [values, places] = x.ordered(axis, &count, largest, size)?;
        Ok((values, places))
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
        let longer = match fill {
            Some(fill) => x.pad_axis(axis, (by, 0), Around::Of(&x.scalar_like(fill)?))?,
            None => x.pad_axis(axis, (by, 0), Around::Edge)?,
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
