//! Parts of values, and values joined and padded.

use super::{Shapes, one, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Concat" => one(concat(call)?),
        "Split" => split(call).map(Some),
        "Slice" => one(slice(call)?),
        "Pad" => one(pad(call)?),
        _ => Ok(None),
    }
}

fn concat(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(rank) = (0..call.node.input.len()).find_map(|i| call.rank(i)) else { return Ok(None) };
    let axis = call.axis(call.int("axis").unwrap_or(1), rank)?;
    let mut result: Option<Dims> = None;
    for i in 0..call.node.input.len() {
        let Some(shape) = call.shape(i) else {
            if let Some(result) = &mut result {
                result[axis] = Size::Unknown;
            }
            let mut open = result.unwrap_or_else(|| unknown(rank));
            open[axis] = Size::Unknown;
            result = Some(open);
            continue;
        };
        if shape.len() != rank {
            return call.wrong(i, format!("input {i} is joined with one of rank {rank}"));
        }
        let Some(before) = &mut result else {
            result = Some(shape.to_vec());
            continue;
        };
        for (at, (before, size)) in before.iter_mut().zip(shape).enumerate() {
            if at == axis {
                *before = match (&*before, size) {
                    (Size::Known(a), Size::Known(b)) => Size::Known(a.saturating_add(*b)),
                    _ => Size::Unknown,
                };
                continue;
            }
            match (before.known(), size.known()) {
                (Some(a), Some(b)) if a != b => {
                    return call.wrong(i, format!("axis {at} of input {i} is not {a} as before"));
                }
                (None, Some(_)) => *before = size.clone(),
                _ => {}
            }
        }
    }
    Ok(result)
}

fn split(call: &Call<'_>) -> Result<Shapes> {
    let outputs = call.node.output.len();
    let Some(shape) = call.shape(0) else { return Ok(Vec::new()) };
    let axis = call.axis(call.int("axis").unwrap_or(0), shape.len())?;
    let stated = if call.opset < 13 { call.list("split") } else { call.ints(1) };
    let sizes: Vec<Size> = match stated {
        Some(sizes) => {
            if sizes.len() != outputs || sizes.iter().any(|&size| size < 0) {
                return call.fail(format!("{outputs} outputs of the sizes {sizes:?}"));
            }
            let sum = sizes.iter().fold(0i64, |sum, size| sum.saturating_add(*size));
            if shape[axis].known().is_some_and(|size| size != sum) {
                return call.wrong(0, format!("axis {axis} is split into {sizes:?}"));
            }
            sizes.iter().map(|&size| Size::Known(size)).collect()
        }
        None if call.has(1) && call.opset >= 13 => vec![Size::Unknown; outputs],
        None => match shape[axis].known() {
            Some(size) => {
                let parts = outputs as i64;
                let each = (size + parts - 1) / parts.max(1);
                if size % parts.max(1) != 0 && call.opset < 18 {
                    return call
                        .wrong(0, format!("axis {axis} is split into {outputs} equal parts"));
                }
                (0..parts).map(|i| Size::Known((size - i * each).clamp(0, each))).collect()
            }
            None => vec![Size::Unknown; outputs],
        },
    };
    let of = |size: Size| {
        let mut part = shape.to_vec();
        part[axis] = size;
        Some(part)
    };
    Ok(sizes.into_iter().map(of).collect())
}

/// Starts, ends, axes and steps of a slice, where all are known.
pub(in crate::export::model::infer) struct Cut {
    pub(in crate::export::model::infer) axis: usize,
    pub(in crate::export::model::infer) start: i64,
    pub(in crate::export::model::infer) end: i64,
    pub(in crate::export::model::infer) step: i64,
}

impl Cut {
    /// The indices taken of an axis of a size: the first, and how many.
    pub(in crate::export::model::infer) fn taken(&self, size: i64) -> (i64, i64) {
        let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let (low, high) = if self.step > 0 { (0, size) } else { (-1, size - 1) };
        let start = counted(self.start).clamp(low.max(0), high.max(0));
        let end = counted(self.end).clamp(low, high);
        let distance = if self.step > 0 { end - start } else { start - end };
        let step = self.step.unsigned_abs().min(i64::MAX as u64) as i64;
        (start, if distance <= 0 { 0 } else { (distance - 1) / step + 1 })
    }
}

pub(in crate::export::model::infer) fn cuts(call: &Call<'_>) -> Result<Option<Vec<Cut>>> {
    let Some(rank) = call.rank(0) else { return Ok(None) };
    let (starts, ends, axes, steps);
    if call.opset < 10 {
        (starts, ends) = (call.list("starts"), call.list("ends"));
        (axes, steps) = (call.list("axes"), None);
    } else {
        for i in 1..call.node.input.len() {
            call.expect_rank(i, 1..=1)?;
        }
        (starts, ends) = (call.ints(1), call.ints(2));
        (axes, steps) = (call.ints(3), call.ints(4));
        if steps.is_some_and(|steps| steps.contains(&0)) {
            return call.wrong(4, "a step is 0");
        }
        if (call.has(3) && axes.is_none()) || (call.has(4) && steps.is_none()) {
            return Ok(None);
        }
    }
    let (Some(starts), Some(ends)) = (starts, ends) else { return Ok(None) };
    let usual: Vec<i64> = (0..starts.len() as i64).collect();
    let axes = call.axes(axes.unwrap_or(&usual), rank)?;
    let lengths = [ends.len(), axes.len(), steps.map_or(starts.len(), <[i64]>::len)];
    if lengths.iter().any(|&length| length != starts.len()) {
        return call
            .fail(format!("{} starts, with {lengths:?} ends, axes and steps", starts.len()));
    }
    let step = |i: usize| steps.map_or(1, |steps| steps[i]);
    // As ONNX Runtime takes them: the largest integers are the end in the direction of the step.
    let end = |i: usize| match ends[i] {
        end if step(i) < 0 && (end == i64::MAX || end == i64::from(i32::MAX)) => i64::MIN,
        end => end,
    };
    let cuts = axes.into_iter().enumerate().map(|(i, axis)| Cut {
        axis,
        start: starts[i],
        end: end(i),
        step: step(i),
    });
    Ok(Some(cuts.collect()))
}

fn slice(call: &Call<'_>) -> Result<Option<Dims>> {
    let cuts = cuts(call)?;
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let Some(cuts) = cuts else { return Ok(Some(unknown(shape.len()))) };
    let mut result = shape.to_vec();
    for cut in cuts {
        let whole = cut.start == 0 && cut.step == 1 && cut.end >= i64::from(i32::MAX);
        result[cut.axis] = match &shape[cut.axis] {
            Size::Known(size) => Size::Known(cut.taken(*size).1),
            size if whole => size.clone(),
            _ => Size::Unknown,
        };
    }
    Ok(Some(result))
}

fn pad(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let pads = match call.opset {
        ..2 => call.list("paddings"),
        2..11 => call.list("pads"),
        _ => {
            call.expect_rank(1, 1..=1)?;
            if call.has(2) {
                call.expect_one(2)?;
            }
            call.ints(1)
        }
    };
    let axes: Vec<usize> = match call.has(3) {
        true => match call.ints(3) {
            Some(axes) => call.axes(axes, shape.len())?,
            None => return Ok(Some(unknown(shape.len()))),
        },
        false => (0..shape.len()).collect(),
    };
    let Some(pads) = pads else { return Ok(Some(unknown(shape.len()))) };
    let mode = call.text("mode").unwrap_or(b"constant");
    if pads.len() != 2 * axes.len() {
        return call.wrong(0, format!("{} pads for {} axes", pads.len(), axes.len()));
    }
    let mut result = shape.to_vec();
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[axes.len() + i]);
        result[axis] = match &shape[axis] {
            size if before == 0 && after == 0 => size.clone(),
            Size::Known(size) => {
                let (most, cut) = (before.max(after), before.min(0).saturating_add(after.min(0)));
                let enough = match mode {
                    b"reflect" => most < size.saturating_add(cut).max(1),
                    b"edge" | b"wrap" => *size > 0,
                    _ => true,
                };
                if most > 0 && !enough {
                    let mode = String::from_utf8_lossy(mode);
                    return call.wrong(
                        0,
                        format!("{most} of {size} elements along axis {axis}, by {mode}"),
                    );
                }
                let size = size.saturating_add(before).saturating_add(after);
                if size < 0 {
                    return call.wrong(0, format!("axis {axis} is cut by more than it has"));
                }
                Size::Known(size)
            }
            _ => Size::Unknown,
        };
    }
    Ok(Some(result))
}
