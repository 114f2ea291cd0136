//! Parts of tensors: slices, windows, flips, and slices that are replaced.

use ::burn::backend::ir::{BaseOperationIr, FlipOpIr, SliceAssignOpIr, SliceOpIr, UnfoldOpIr};
use ::burn::tensor::Slice;

use super::sizes::base;
use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::lower::{flip, windows};
use crate::export::sizes::Column;
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// One bound of a slice.
enum Bound {
    /// Counted from the end when negative.
    At(i64),
    /// Read when the model runs: a 1-D tensor of one number.
    Read(Value),
}

/// `start..end` of an axis in steps, by ONNX's rules: backwards when the step is negative.
struct Span {
    start: Bound,
    end: Bound,
    step: i64,
}

impl Lowering<'_> {
    pub(super) fn slice(&mut self, op: &SliceOpIr) -> Result<Value> {
        let twins = self.twins.iter().map(|twin| match base(twin) {
            Some(BaseOperationIr::Slice(twin)) => &twin.ranges[..],
            _ => &op.ranges[..],
        });
        let twins: Vec<&[Slice]> = twins.collect();
        let mut value = self.value(&op.tensor)?;
        for (axis, range) in op.ranges.iter().enumerate() {
            let (kept, whole) = (self.extent(&op.out, axis), self.extent(&op.tensor, axis));
            if kept == whole && range.step == 1 {
                continue;
            }
            let ranges = std::iter::once(range).chain(twins.iter().map(|ranges| &ranges[axis]));
            let ranges = ranges.zip(whole.iter()).map(|(range, &size)| range.to_range(size));
            let (starts, ends) =
                ranges.map(|range| (range.start, range.end)).unzip::<_, _, Vec<_>, Vec<_>>();
            let located = |e: crate::Error| e.at_axis(axis);
            let span = self.span(starts.into(), ends.into(), &whole, range.step);
            let dim = self.sized(&kept).map_err(located)?;
            value = self.take(&value, axis, span.map_err(located)?, dim)?;
        }
        Ok(value)
    }

    /// Burn walks the range `start..end` from its end when the step is negative.
    fn span(&mut self, starts: Column, ends: Column, whole: &Column, step: isize) -> Result<Span> {
        let step = step as i64;
        if step > 0 {
            let start = self.bound(&starts, whole, 0)?;
            let end = match ends == *whole {
                true => Bound::At(i64::MAX),
                false => self.bound(&ends, whole, 0)?,
            };
            return Ok(Span { start, end, step });
        }
        let start = match ends == *whole {
            true => Bound::At(-1),
            false => self.bound(&ends, whole, -1)?,
        };
        // Before the first element lies what no index counted from the end reaches.
        if starts.fixed() == Some(0) {
            return Ok(Span { start, end: Bound::At(i64::MIN), step });
        }
        let end = match self.bound(&starts, whole, -1)? {
            // Counted from the end, since a start of 0 would be -1, the last element.
            Bound::Read(at) => Bound::Read(at.sub(&self.read(whole)?)?),
            at => at,
        };
        Ok(Span { start, end, step })
    }

    /// The sizes as a 1-D i64 tensor of one element, from what the model is given.
    fn read(&mut self, sizes: &Column) -> Result<Value> {
        let (dim, sources) = (self.sized(sizes)?, self.input_values());
        let sources: Vec<&Value> = sources.iter().collect();
        self.graph.shape_tensor(&[dim], &sources)
    }

    /// A place on an axis of the sizes `whole`, by where it is in each capture, moved by `offset`.
    fn bound(&mut self, places: &Column, whole: &Column, offset: i64) -> Result<Bound> {
        if let Some(at) = places.place(whole, offset) {
            return Ok(Bound::At(at));
        }
        let size = self.read(places)?;
        let offset = self.position(offset)?;
        Ok(Bound::Read(size.add(&offset)?))
    }

    /// The dimension with these sizes.
    pub(super) fn sized(&mut self, extent: &Column) -> Result<Dim> {
        if let Some(size) = extent.fixed() {
            return Ok(Dim::Fixed(size));
        }
        let text = || unsupported(format!("the sizes {extent} follow from no input"));
        self.size_of(extent)?.ok_or_else(text)
    }

    fn position(&mut self, at: i64) -> Result<Value> {
        Ok(self.graph.constant("position", HostTensor::from_vec([1], vec![at])?))
    }

    fn take(&mut self, x: &Value, axis: usize, span: Span, dim: Dim) -> Result<Value> {
        if span.step != 1 && !self.graph.target().has_slices_in_steps() {
            return self.places(x, axis, span.start, span.step, &dim);
        }
        let mut operand = |bound: Bound| match bound {
            Bound::At(at) => self.position(at),
            Bound::Read(value) => Ok(value),
        };
        let (start, end) = (operand(span.start)?, operand(span.end)?);
        let (axes, steps) = (self.position(axis as i64)?, self.position(span.step)?);
        let mut dims = x.dims().to_vec();
        dims[axis] = dim;
        let node = self.graph.node("Slice").input(x).input(&start).input(&end).input(&axes);
        node.input(&steps).outputs([(x.dtype(), dims.into())]).build()
    }

    /// What lies at `start + step * i` for each `i` below `dim`. So are steps written for the portable
    /// backend: it takes none along an axis whose size it does not know, and moves those along others
    /// to before a softmax of that axis.
    fn places(
        &mut self,
        x: &Value,
        axis: usize,
        start: Bound,
        step: i64,
        dim: &Dim,
    ) -> Result<Value> {
        let places = match (start, dim.fixed()) {
            (Bound::At(start), Some(size)) => {
                let places = (0..size as i64).map(|i| start + step * i).collect();
                self.graph.constant("places", HostTensor::from_vec([size], places)?)
            }
            (start, _) => {
                let start = match start {
                    Bound::At(start) => self.position(start)?,
                    Bound::Read(start) => start,
                };
                self.range_of(dim, x)?.mul(&self.position(step)?)?.add(&start)?
            }
        };
        x.gather(&places, axis as i64)
    }

    /// `start..end` of an axis in steps, all constant; `end` counts from the end where not positive.
    pub(super) fn part(
        &mut self,
        x: &Value,
        axis: usize,
        start: usize,
        end: i64,
        step: usize,
    ) -> Result<Value> {
        let end = if end == 0 { i64::MAX } else { end };
        let [start, end, axes, steps] =
            [start as i64, end, axis as i64, step as i64].map(|at| self.position(at));
        let node = self.graph.node("Slice").input(x).input(&start?).input(&end?);
        node.input(&axes?).input(&steps?).build()
    }

    pub(super) fn flip(&mut self, op: &FlipOpIr) -> Result<Value> {
        flip(&self.value(&op.input)?, &op.axes)
    }

    /// Windows along an axis; what a window holds becomes the last axis.
    pub(super) fn unfold(&mut self, op: &UnfoldOpIr) -> Result<Value> {
        let (x, axis) = (self.value(&op.input)?, op.dim);
        let count = self.sized(&self.extent(&op.out, axis)).map_err(|e| e.at_axis(axis))?;
        windows(&x, axis, (op.size, op.step), &count, || self.range(&count))
    }

    /// What lies before a range, the new values, and what lies behind, axis by axis.
    pub(super) fn slice_assign(&mut self, op: &SliceAssignOpIr) -> Result<Value> {
        let (x, value) = (self.value(&op.tensor)?, self.value(&op.value)?);
        for (axis, range) in op.ranges.iter().enumerate() {
            let (whole, new) = (self.extent(&op.tensor, axis), self.extent(&op.value, axis));
            let covers = whole == new && range.step == 1;
            if !covers && (whole.fixed().is_none() || new.fixed().is_none()) {
                let text = "a range of a dynamic axis is assigned, which has no ONNX form yet";
                return Err(unsupported(text).at_axis(axis));
            }
            let Some(length) = whole.fixed() else { continue };
            let moves = self.twins.iter().any(|twin| match base(twin) {
                Some(BaseOperationIr::SliceAssign(twin)) => {
                    let twin = &twin.ranges[axis];
                    (twin.to_range(length), twin.step) != (range.to_range(length), range.step)
                }
                _ => false,
            });
            if moves {
                let text = "the range that is assigned depends on a dynamic size, which has no ONNX \
                            form yet";
                return Err(unsupported(text).at_axis(axis));
            }
        }
        self.assign(&x, &op.ranges, 0, &value)
    }

    fn assign(&mut self, x: &Value, ranges: &[Slice], axis: usize, new: &Value) -> Result<Value> {
        let Some(range) = ranges.get(axis) else { return Ok(new.clone()) };
        let length = match x.dims()[axis].fixed() {
            Some(length) if x.dims()[axis] != new.dims()[axis] || range.step != 1 => length,
            _ => return self.assign(x, ranges, axis + 1, new),
        };
        let covered = range.to_range(length);
        if range.step == 1 {
            let inner = self.part(x, axis, covered.start, covered.end as i64, 1)?;
            let inner = self.assign(&inner, ranges, axis + 1, new)?;
            let mut parts = Vec::new();
            if covered.start > 0 {
                parts.push(self.part(x, axis, 0, covered.start as i64, 1)?);
            }
            parts.push(inner);
            if covered.end < length {
                parts.push(self.part(x, axis, covered.end, 0, 1)?);
            }
            return self.graph.concat(&parts.iter().collect::<Vec<_>>(), axis as i64);
        }
        // Where each cell comes from: the tensor, or behind it the new values in their order.
        let count = new.dims()[axis].fixed().unwrap_or_default();
        let stride = range.step.unsigned_abs();
        let cells: Vec<usize> = (0..count)
            .map(|i| match range.step > 0 {
                true => covered.start + i * stride,
                false => covered.end - 1 - i * stride,
            })
            .collect();
        let mut sources: Vec<i64> = (0..length as i64).collect();
        for (i, &cell) in cells.iter().enumerate() {
            sources[cell] = (length + i) as i64;
        }
        let picked = cells.iter().map(|&cell| cell as i64).collect();
        let picked = self.graph.constant("cells", HostTensor::from_vec([count], picked)?);
        let sources = self.graph.constant("sources", HostTensor::from_vec([length], sources)?);
        let inner = self.assign(&x.gather(&picked, axis as i64)?, ranges, axis + 1, new)?;
        self.graph.concat(&[x, &inner], axis as i64)?.gather(&sources, axis as i64)
    }
}
