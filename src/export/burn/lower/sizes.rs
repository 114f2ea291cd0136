//! What depends on the sizes of the inputs: counting tensors, slices up to a size, repetitions as often
//! as a size. Which sizes there are is found out in `lower` itself.

use std::cmp::Ordering;

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{BaseOperationIr, OperationIr, RepeatDimOpIr, SliceOpIr};
use ::burn::tensor::Slice;

use super::super::sequence;
use super::extents::Extent;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

/// Where a slice begins or ends along an axis.
enum Bound {
    /// So many elements after the first.
    Start(usize),
    /// So many elements before the end of the axis.
    End(usize),
    /// A size, as that of another axis.
    Size(Dim),
}

impl Lowering<'_> {
    /// `0, 1, .. dim - 1` as 64-bit integers.
    pub(super) fn range(&mut self, dim: &Dim) -> Result<Value> {
        if let Some(size) = dim.fixed() {
            let values = (0..size as i64).collect();
            return Ok(self.graph.constant("range", HostTensor::from_vec([size], values)?));
        }
        let sources = self.input_values();
        let end = self
            .graph
            .shape_tensor(std::slice::from_ref(dim), &sources.iter().collect::<Vec<_>>())?;
        let scalar = |value: i64| self.graph.constant("range", HostTensor::scalar(value));
        let node = self.graph.node("Range").input(&scalar(0)).input(&end.squeeze(&[0])?);
        node.input(&scalar(1)).outputs([(DType::I64, [dim.clone()].into())]).build()
    }

    /// A constant whose length differs between the captures: it counts up to a size.
    pub(super) fn counting(&mut self, id: TensorId, data: &HostTensor) -> Result<Value> {
        let others =
            self.others.iter().map(|sizes| sizes.get(&id).and_then(|s| s.first().copied()));
        let lengths: Vec<_> = std::iter::once(data.len())
            .chain(others.map(|len| len.unwrap_or(data.len())))
            .collect();
        let dim = self.size_of(&Extent(lengths))?;
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

    /// Set where a column lies behind its row, `[1, 1, rows, columns]`.
    pub(super) fn causal_mask(&mut self, rows: &Dim, columns: &Dim) -> Result<Value> {
        if let (Some(rows), Some(columns)) = (rows.fixed(), columns.fixed()) {
            let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| column > row));
            let cells = HostTensor::from_vec([1, 1, rows, columns], cells.collect())?;
            return Ok(self.graph.constant("causal_mask", cells));
        }
        let row = self.range(rows)?.unsqueeze(&[0, 1, 3])?;
        let column = self.range(columns)?.unsqueeze(&[0, 1, 2])?;
        column.greater(&row)
    }

    pub(super) fn repeat(&mut self, op: &RepeatDimOpIr) -> Result<Value> {
        let x = self.value(&op.tensor)?;
        let twins = self.twins.iter().map(|twin| match base(twin) {
            Some(BaseOperationIr::RepeatDim(twin)) => twin.times,
            _ => op.times,
        });
        let times = Extent(std::iter::once(op.times).chain(twins).collect());
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
        self.graph.concat(&vec![&x; times], op.dim as i64)
    }

    pub(super) fn slice(&mut self, op: &SliceOpIr) -> Result<Value> {
        let twins: Vec<&[Slice]> = self
            .twins
            .iter()
            .map(|twin| match base(twin) {
                Some(BaseOperationIr::Slice(twin)) => &twin.ranges[..],
                _ => &op.ranges[..],
            })
            .collect();
        let mut value = self.value(&op.tensor)?;
        for (axis, range) in op.ranges.iter().enumerate() {
            let whole = self.extent(&op.tensor, axis);
            let ranges = std::iter::once(range).chain(twins.iter().map(|ranges| &ranges[axis]));
            let (starts, ends): (Vec<_>, Vec<_>) =
                ranges.zip(&whole.0).map(|(range, &size)| bounds(range, size)).unzip();
            if range.step == 1 && starts.iter().all(|&at| at == 0) && ends == whole.0 {
                continue;
            }
            if range.step != 1 {
                return Err(unsupported("slices with a step have no ONNX form yet").at_axis(axis));
            }
            let start = self.bound(Extent(starts), &whole, axis)?;
            let end = self.bound(Extent(ends), &whole, axis)?;
            value = self.cut(&value, axis, &start, &end)?;
        }
        Ok(value)
    }

    /// A place on an axis of the sizes `whole`, by where it is in each capture.
    fn bound(&mut self, places: Extent, whole: &Extent, axis: usize) -> Result<Bound> {
        let from_end = whole.0.iter().zip(&places.0).map(|(size, at)| size - at).collect();
        if let (None, Some(before)) = (whole.fixed(), Extent(from_end).fixed()) {
            return Ok(Bound::End(before));
        }
        if let Some(at) = places.fixed() {
            return Ok(Bound::Start(at));
        }
        self.size_of(&places)?.map(Bound::Size).ok_or_else(|| {
            let text = format!("the bounds {places} of a slice follow from no input");
            unsupported(text).at_axis(axis)
        })
    }

    fn cut(&mut self, x: &Value, axis: usize, start: &Bound, end: &Bound) -> Result<Value> {
        let number = |bound: &Bound| match bound {
            Bound::Start(at) => Some(*at as i64),
            Bound::End(0) => None,
            Bound::End(before) => Some(-(*before as i64)),
            Bound::Size(_) => None,
        };
        match (start, end) {
            (Bound::Start(_) | Bound::End(1..), Bound::Start(_) | Bound::End(_)) => {
                x.slice(axis as i64, number(start).unwrap_or(0), number(end))
            }
            (Bound::Start(0), Bound::Size(dim)) => {
                let sources = self.input_values();
                let sources: Vec<&Value> = sources.iter().collect();
                let end = self.graph.shape_tensor(std::slice::from_ref(dim), &sources)?;
                let int = |value: i64| HostTensor::from_vec([1], vec![value]);
                let zero = self.graph.constant("start", int(0)?);
                let along = self.graph.constant("axis", int(axis as i64)?);
                let mut dims = x.dims().to_vec();
                dims[axis] = dim.clone();
                let node = self.graph.node("Slice").input(x).input(&zero).input(&end).input(&along);
                node.outputs([(x.dtype(), dims.into())]).build()
            }
            _ => Err(unsupported("a slice that begins at a dynamic size").at_axis(axis)),
        }
    }
}

/// An operation on shapes and positions.
fn base(operation: &OperationIr) -> Option<&BaseOperationIr> {
    match operation {
        OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
            Some(op)
        }
        _ => None,
    }
}

/// First element and the one after the last, on an axis of `size` elements.
fn bounds(range: &Slice, size: usize) -> (usize, usize) {
    let place = |at: isize| match at.cmp(&0) {
        Ordering::Less => size.saturating_sub(at.unsigned_abs()),
        _ => at.unsigned_abs().min(size),
    };
    let start = place(range.start);
    (start, range.end.map_or(size, place).max(start))
}
