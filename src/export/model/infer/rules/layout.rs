//! Other shapes of the same elements, and repetitions.

use super::{Shapes, elementwise::merged, one, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Reshape" => one(reshape(call)?),
        "Transpose" => one(transpose(call)?),
        "Flatten" => one(flatten(call)?),
        "Squeeze" => one(squeeze(call)?),
        "Unsqueeze" => one(unsqueeze(call)?),
        "Expand" => one(expand(call)?),
        "Tile" => one(tile(call)?),
        "DepthToSpace" | "SpaceToDepth" => one(blocks(call)?),
        "Shape" => {
            let (start, end) =
                (call.int("start").unwrap_or(0), call.int("end").unwrap_or(i64::MAX));
            let length = call.rank(0).map(|rank| {
                let (from, to) = super::super::values::span(start, end, rank);
                Size::Known((to - from) as i64)
            });
            one(Some(vec![length.unwrap_or(Size::Unknown)]))
        }
        "Size" => one(Some(Vec::new())),
        "ReverseSequence" | "Trilu" | "TensorScatter" => {
            call.expect_rank(0, 2..=usize::MAX)?;
            super::same(call)
        }
        _ => Ok(None),
    }
}

/// The product of sizes that are all known.
fn volume(shape: &[Size]) -> Option<i64> {
    shape.iter().try_fold(1i64, |count, size| count.checked_mul(size.known()?))
}

fn reshape(call: &Call<'_>) -> Result<Option<Dims>> {
    let target = match call.opset < 5 {
        true => call.list("shape"),
        false => call.ints(1),
    };
    if call.opset >= 5 {
        call.expect_rank(1, 1..=1)?;
    }
    let Some(target) = target else {
        let rank = call.shape(1).and_then(|shape| shape.first()).and_then(Size::known);
        let rank = rank.filter(|rank| (0..=64).contains(rank));
        return Ok(rank.map(|rank| unknown(rank as usize)));
    };
    let zeros_stay = call.int("allowzero").unwrap_or(0) != 0;
    let mut open = None;
    let mut result: Dims = Vec::with_capacity(target.len());
    for (axis, &size) in target.iter().enumerate() {
        result.push(match size {
            -1 if open.is_some() => {
                return call.fail(format!("two sizes of {target:?} are -1"));
            }
            -1 => {
                open = Some(axis);
                Size::Unknown
            }
            0 if !zeros_stay => match call.shape(0) {
                Some(shape) if axis >= shape.len() => {
                    return call
                        .wrong(0, format!("{target:?} copies axis {axis}, which is not there"));
                }
                Some(shape) => shape[axis].clone(),
                None => Size::Unknown,
            },
            0.. => Size::Known(size),
            _ => return call.fail(format!("size {size} in {target:?}")),
        });
    }
    let Some(count) = call.shape(0).and_then(volume) else {
        if let (Some(axis), Some(shape)) = (open, call.shape(0)) {
            result[axis] = rest(shape, target, &result, zeros_stay);
        }
        return Ok(Some(result));
    };
    let known = result.iter().filter_map(Size::known).try_fold(1i64, i64::checked_mul);
    match (open, known) {
        (Some(axis), Some(known)) if known != 0 => {
            if count % known != 0 {
                return call.wrong(0, format!("{count} elements cannot become {target:?}"));
            }
            result[axis] = Size::Known(count / known);
        }
        (None, Some(known))
            if result.iter().all(|size| size.known().is_some()) && known != count =>
        {
            return call.wrong(0, format!("{count} elements cannot become {target:?}"));
        }
        (_, None) => return call.wrong(0, format!("{count} elements cannot become {target:?}")),
        _ => {}
    }
    Ok(Some(result))
}

/// The size of -1 where sizes have names: what is left of the input's sizes without those that the other axes take.
fn rest(shape: &[Size], target: &[i64], result: &[Size], zeros_stay: bool) -> Size {
    let is_copied = |axis: usize| !zeros_stay && target.get(axis) == Some(&0);
    let left = shape.iter().enumerate().filter(|(axis, _)| !is_copied(*axis));
    let left: Vec<&Size> = left.map(|(_, size)| size).collect();
    let taken = target.iter().zip(result).filter(|(size, _)| **size > 0);
    let taken =
        taken.map(|(_, size)| size.known()).try_fold(1i64, |all, size| all.checked_mul(size?));
    let known = left.iter().filter_map(|size| size.known()).try_fold(1i64, i64::checked_mul);
    let (Some(taken), Some(known)) = (taken, known) else { return Size::Unknown };
    let open: Vec<&Size> = left.into_iter().filter(|size| size.known().is_none()).collect();
    match open[..] {
        [] if taken > 0 && known % taken == 0 => Size::Known(known / taken),
        [Size::Named(name)] if taken > 0 && known == taken => Size::Named(name.clone()),
        _ => Size::Unknown,
    }
}

fn transpose(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let Some(perm) = call.list("perm") else {
        return Ok(Some(shape.iter().rev().cloned().collect()));
    };
    if perm.len() != shape.len() {
        return call.wrong(0, format!("`perm` is {perm:?}"));
    }
    let axes = call.axes(perm, shape.len())?;
    Ok(Some(axes.into_iter().map(|axis| shape[axis].clone()).collect()))
}

fn flatten(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(Some(unknown(2))) };
    let axis = call.int("axis").unwrap_or(1);
    let axis = match axis == shape.len() as i64 {
        true => shape.len(),
        false => call.axis(axis, shape.len())?,
    };
    let size = |part: &[Size]| match part {
        [only] => only.clone(),
        part => volume(part).map_or(Size::Unknown, Size::Known),
    };
    Ok(Some(vec![size(&shape[..axis]), size(&shape[axis..])]))
}

fn squeeze(call: &Call<'_>) -> Result<Option<Dims>> {
    let axes = if call.opset < 13 { call.list("axes") } else { call.ints(1) };
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let Some(axes) = axes else {
        let stated = call.has(1) || shape.iter().any(|size| size.known().is_none());
        let kept = || shape.iter().filter(|size| size.known() != Some(1)).cloned().collect();
        return Ok((!stated).then(kept));
    };
    let axes = call.axes(axes, shape.len())?;
    for &axis in &axes {
        if shape[axis].known().is_some_and(|size| size != 1) {
            return call.wrong(0, format!("axis {axis} is taken off, and is not of size 1"));
        }
    }
    let kept = shape.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
    Ok(Some(kept.map(|(_, size)| size.clone()).collect()))
}

fn unsqueeze(call: &Call<'_>) -> Result<Option<Dims>> {
    let axes = if call.opset < 13 { call.list("axes") } else { call.ints(1) };
    let (Some(shape), Some(axes)) = (call.shape(0), axes) else { return Ok(None) };
    let rank = shape.len() + axes.len();
    if rank > crate::export::model::tensors::MAX_RANK {
        return call.fail(format!("the result has rank {rank}"));
    }
    let new = call.axes(axes, rank)?;
    let mut old = shape.iter();
    let sizes = (0..rank).map(|axis| match new.contains(&axis) {
        true => Size::Known(1),
        false => old.next().cloned().unwrap_or(Size::Unknown),
    });
    Ok(Some(sizes.collect()))
}

fn expand(call: &Call<'_>) -> Result<Option<Dims>> {
    call.expect_rank(1, 1..=1)?;
    let (Some(shape), Some(target)) = (call.shape(0), call.ints(1)) else { return Ok(None) };
    let rank = shape.len().max(target.len());
    if rank > crate::export::model::tensors::MAX_RANK {
        return call.fail(format!("the result has rank {rank}"));
    }
    let at = |i: usize, length: usize| (i + length).checked_sub(rank);
    let mut result = Vec::with_capacity(rank);
    for i in 0..rank {
        let size = at(i, shape.len()).map_or(Size::Known(1), |axis| shape[axis].clone());
        let wanted = at(i, target.len()).map_or(1, |axis| target[axis]);
        if wanted < 0 {
            return call.fail(format!("size {wanted} in the shape to expand to"));
        }
        match merged(&size, &Size::Known(wanted)) {
            Some(size) => result.push(size),
            None => return call.wrong(0, format!("it does not expand to {target:?}")),
        }
    }
    Ok(Some(result))
}

fn tile(call: &Call<'_>) -> Result<Option<Dims>> {
    let Some(shape) = call.shape(0) else { return Ok(None) };
    if call.opset < 6 {
        return Ok(Some(unknown(shape.len())));
    }
    call.expect_rank(1, 1..=1)?;
    let Some(repeats) = call.ints(1) else { return Ok(Some(unknown(shape.len()))) };
    if repeats.len() != shape.len() {
        return call.wrong(0, format!("there are {} numbers of repetitions", repeats.len()));
    }
    let mut result = Vec::with_capacity(shape.len());
    for (size, &times) in shape.iter().zip(repeats) {
        if times < 0 {
            return call.fail(format!("{times} repetitions"));
        }
        result.push(match (size, times) {
            (size, 1) => size.clone(),
            (_, 0) => Size::Known(0),
            (Size::Known(size), times) => Size::Known(size.saturating_mul(times)),
            _ => Size::Unknown,
        });
    }
    Ok(Some(result))
}

fn blocks(call: &Call<'_>) -> Result<Option<Dims>> {
    call.expect_positive("blocksize")?;
    call.expect_rank(0, 4..=4)?;
    let (Some(shape), Some(block)) = (call.shape(0), call.int("blocksize")) else {
        return Ok(None);
    };
    let to_space = call.node.op_type() == "DepthToSpace";
    let many = block.saturating_mul(block);
    let scaled = |size: &Size, by: i64, divide: bool| match size.known() {
        Some(size) if divide && size % by != 0 => {
            call.wrong(0, format!("size {size} is no multiple of {by}"))
        }
        Some(size) if divide => Ok(Size::Known(size / by)),
        Some(size) => Ok(Size::Known(size.saturating_mul(by))),
        None => Ok(Size::Unknown),
    };
    Ok(Some(vec![
        shape[0].clone(),
        scaled(&shape[1], many, to_space)?,
        scaled(&shape[2], block, !to_space)?,
        scaled(&shape[3], block, !to_space)?,
    ]))
}
