//! Operations that depend on the sizes of the inputs: counting tensors, causal masks, repetitions as often as a size.
//! `extents` finds the sizes.

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{
    BaseOperationIr, NumericOperationIr as Numeric, OperationIr, RepeatDimOpIr, ScalarIr,
    ScalarOpIr,
};

use super::super::sequence;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::sizes::{Column, Formula, SizeDifference};
use crate::spec::Dim;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// `0, 1, .. dim - 1` as 64-bit integers, of a dimension of the inputs or a formula of them.
    pub(super) fn range(&mut self, dim: &Dim) -> Result<Value> {
        self.range_from(dim, &self.input_values())
    }

    /// The same, of a dimension that may also be one of `value`.
    pub(super) fn range_of(&mut self, dim: &Dim, value: &Value) -> Result<Value> {
        let mut sources = vec![value.clone()];
        sources.extend(self.input_values());
        self.range_from(dim, &sources)
    }

    fn range_from(&mut self, dim: &Dim, sources: &[Value]) -> Result<Value> {
        let sources: Vec<&Value> = sources.iter().collect();
        self.graph.range(dim, || self.graph.shape_tensor(std::slice::from_ref(dim), &sources))
    }

    /// A constant whose length differs between the captures: it counts up to a size.
    pub(super) fn counting(&mut self, id: TensorId, data: &HostTensor) -> Result<Value> {
        let others =
            self.others.iter().map(|sizes| sizes.get(&id).and_then(|s| s.first().copied()));
        let lengths: Column = std::iter::once(data.len())
            .chain(others.map(|len| len.unwrap_or(data.len())))
            .collect();
        let dim = self.size_of(&lengths)?;
        let (Some((start, step)), Some(dim)) = (sequence::of(data), dim) else {
            let text = format!("the sizes {:?} of a constant follow from no input", data.shape());
            return Err(unsupported(text));
        };
        let range = self.range(&dim)?;
        let count = |value: i64| self.graph.constant("count", HostTensor::scalar(value));
        let scaled = if step == 1 { range } else { range.mul(&count(step))? };
        let moved = if start == 0 { scaled } else { scaled.add(&count(start))? };
        moved.cast(data.dtype())
    }

    /// Set where a column lies behind its row, `[rows, columns]`, counted from the last of both: the
    /// queries are the last of the keys.
    pub(super) fn causal_mask(&mut self, scores: &Value) -> Result<Value> {
        let [rows, columns] = [2, 3].map(|axis| scores.dims()[axis].clone());
        let size = |dim: &Dim| self.graph.shape_tensor(std::slice::from_ref(dim), &[scores]);
        let (row_count, column_count) = (size(&rows)?, size(&columns)?);
        let ahead = column_count.sub(&row_count)?;
        let last = self.graph.range(&rows, || Ok(row_count))?.add(&ahead)?.unsqueeze(&[1])?;
        self.graph.range(&columns, || Ok(column_count))?.unsqueeze(&[0])?.greater(&last)
    }

    /// As [`with_scalar`](Self::with_scalar), of a number that may follow from sizes.
    pub(super) fn with_number(
        &mut self,
        op: &ScalarOpIr,
        apply: impl Fn(&Value, &Value) -> Result<Value>,
    ) -> Result<Value> {
        let twins = self.twins.iter().filter_map(|twin| match twin {
            OperationIr::NumericInt(_, Numeric::AddScalar(twin) | Numeric::SubScalar(twin)) => {
                Some(&twin.rhs)
            }
            _ => None,
        });
        let all: Vec<&ScalarIr> = std::iter::once(&op.rhs).chain(twins).collect();
        // Of floats none is here, and NaN is not what it is.
        if all[1..].iter().all(|scalar| *scalar == all[0]) {
            return self.with_scalar(op, apply);
        }
        let numbers = all.iter().map(|scalar| Ok(super::whole(scalar)? as i64));
        let number = self.number(&numbers.collect::<Result<Vec<_>>>()?)?;
        let x = self.value(&op.lhs)?;
        apply(&x, &number.cast(x.dtype())?)
    }

    /// What has these values in the captures, when the model runs, as a 1-D tensor.
    fn number(&mut self, numbers: &[i64]) -> Result<Value> {
        let (known, inputs) = (self.input_extents(), self.input_values());
        let sources: Vec<&Value> = inputs.iter().collect();
        let size = |dim: &Dim| self.graph.shape_tensor(std::slice::from_ref(dim), &sources);
        let sizes: Option<Vec<usize>> = numbers.iter().map(|&n| usize::try_from(n).ok()).collect();
        if let Some(formula) = sizes.and_then(|sizes| Formula::find(&sizes, &known)) {
            return formula.value(self.graph, size);
        }
        match SizeDifference::find(numbers, &known) {
            Some(difference) => difference.value(self.graph, size),
            None => Err(unsupported(format!("the numbers {numbers:?} follow from no input"))),
        }
    }

    pub(super) fn repeat(&mut self, op: &RepeatDimOpIr) -> Result<Value> {
        let x = self.value(&op.tensor)?;
        let twins = self.twins.iter().map(|twin| match base(twin) {
            Some(BaseOperationIr::RepeatDim(twin)) => twin.times,
            _ => op.times,
        });
        let times: Column = std::iter::once(op.times).chain(twins).collect();
        if x.dims()[op.dim].fixed() == Some(1) {
            let mut dims = x.dims().to_vec();
            dims[op.dim] = match times.fixed() {
                Some(times) => Dim::Fixed(times),
                None => self.size_of(&times)?.ok_or_else(|| {
                    let text = format!("the repetitions {times} follow from no input");
                    unsupported(text).at_axis(op.dim)
                })?,
            };
            let sources = self.input_values();
            return x.expand(&dims, &sources.iter().collect::<Vec<_>>());
        }
        let Some(times) = times.fixed() else {
            let text = "as many repetitions as a dynamic size, of an axis longer than 1";
            return Err(unsupported(text).at_axis(op.dim));
        };
        let mut repeats = vec![1i64; x.rank()];
        repeats[op.dim] = times as i64;
        let repeats = HostTensor::from_vec([x.rank()], repeats)?;
        let repeats = self.graph.constant("repeats", repeats);
        let (mut dims, dim) = (x.dims().to_vec(), &x.dims()[op.dim]);
        dims[op.dim] = Dim::map(|| format!("{dim}*{times}"), &[dim], |v| v[0] * times);
        let node = self.graph.node("Tile").input(&x).input(&repeats);
        node.outputs([(x.dtype(), dims.into())]).build()
    }
}

/// An operation on shapes and positions.
pub(super) fn base(operation: &OperationIr) -> Option<&BaseOperationIr> {
    match operation {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            Some(op)
        }
        _ => None,
    }
}
