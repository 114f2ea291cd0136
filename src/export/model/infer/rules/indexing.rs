//! Elements by index: indices that are known must be there.

use super::{Shapes, one, same, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Gather" => one(gather(call)?),
        "GatherElements" => {
            along_axis(call, 1)?;
            one(call.shape(1).map(<[Size]>::to_vec))
        }
        "ScatterElements" | "Scatter" => {
            along_axis(call, 1)?;
            if let (Some(a), Some(b)) = (call.rank(1), call.rank(2))
                && a != b
            {
                return call.wrong(2, format!("the indices have rank {a}"));
            }
            if let (Some(indices), Some(updates)) = (call.shape(1), call.shape(2)) {
                agree(call, 2, indices, updates)?;
            }
            same(call)
        }
        "GatherND" => one(gather_nd(call)?),
        "ScatterND" => {
            call.expect_rank(0, 1..=usize::MAX)?;
            call.expect_rank(1, 1..=usize::MAX)?;
            if let (Some(rank), Some(shape)) = (call.rank(0), call.shape(1))
                && let Some(depth) = shape.last().and_then(Size::known)
            {
                if depth > rank as i64 || depth < 1 {
                    return call.wrong(1, format!("indices of {depth} numbers into rank {rank}"));
                }
                let expected = shape.len() - 1 + rank - depth as usize;
                call.expect_rank(2, expected..=expected)?;
                if let (Some(data), Some(updates)) = (call.shape(0), call.shape(2)) {
                    let places = &shape[..shape.len() - 1];
                    agree(call, 2, &[places, &data[depth as usize..]].concat(), updates)?;
                }
                tuples(call, depth as usize, 0)?;
            }
            same(call)
        }
        "OneHot" => one(one_hot(call)?),
        "TopK" => top_k(call).map(Some),
        "NonZero" => {
            let rank = call.rank(0).map_or(Size::Unknown, |rank| Size::Known(rank.max(1) as i64));
            one(Some(vec![rank, Size::Unknown]))
        }
        "NonMaxSuppression" => {
            for i in [0, 1] {
                call.expect_rank(i, 3..=3)?;
            }
            for i in 2..call.node.input.len() {
                if call.has(i) {
                    call.expect_one(i)?;
                }
            }
            one(Some(vec![Size::Unknown, Size::Known(3)]))
        }
        "CumSum" | "CumProd" => {
            call.expect_one(1)?;
            if let (Some(&[axis]), Some(rank)) = (call.ints(1), call.rank(0)) {
                call.axis(axis, rank)?;
            }
            same(call)
        }
        "Compress" => match (call.int("axis"), call.shape(0)) {
            (Some(axis), Some(shape)) => {
                let axis = call.axis(axis, shape.len())?;
                let mut result = shape.to_vec();
                result[axis] = Size::Unknown;
                one(Some(result))
            }
            (None, _) => one(Some(unknown(1))),
            _ => one(None),
        },
        _ => Ok(None),
    }
}

/// Refuses an input whose sizes are known not to be those that others give.
fn agree(call: &Call<'_>, i: usize, expected: &[Size], found: &[Size]) -> Result<()> {
    let pairs = expected.iter().zip(found).map(|(a, b)| (a.known(), b.known()));
    for (axis, (expected, found)) in pairs.enumerate() {
        if let (Some(expected), Some(found)) = (expected, found)
            && expected != found
        {
            return call.wrong(i, format!("axis {axis} of input {i} must have size {expected}"));
        }
    }
    Ok(())
}

fn in_range(call: &Call<'_>, i: usize, size: i64, axis: usize) -> Result<()> {
    let indices = call.ints(i).unwrap_or_default();
    match indices.iter().find(|&&index| index >= size || index < -size) {
        Some(index) => call.wrong(i, format!("index {index} along axis {axis} of size {size}")),
        None => Ok(()),
    }
}

fn gather(call: &Call<'_>) -> Result<Option<Dims>> {
    let axis = call.axis_of("axis", 0, 0)?;
    let (Some(shape), Some(axis)) = (call.shape(0), axis) else { return Ok(None) };
    if let Some(size) = shape[axis].known() {
        in_range(call, 1, size, axis)?;
    }
    let Some(indices) = call.shape(1) else { return Ok(None) };
    let parts = [&shape[..axis], indices, &shape[axis + 1..]];
    Ok(Some(parts.concat()))
}

fn along_axis(call: &Call<'_>, indices: usize) -> Result<()> {
    let axis = call.axis_of("axis", 0, 0)?;
    let (Some(shape), Some(axis)) = (call.shape(0), axis) else { return Ok(()) };
    call.expect_rank(indices, shape.len()..=shape.len())?;
    for (at, (size, places)) in
        shape.iter().zip(call.shape(indices).unwrap_or_default()).enumerate()
    {
        if let (Some(size), Some(places)) = (size.known(), places.known())
            && at != axis
            && places > size
        {
            return call.wrong(indices, format!("axis {at} has more than the {size} of the data"));
        }
    }
    match shape[axis].known() {
        Some(size) => in_range(call, indices, size, axis),
        None => Ok(()),
    }
}

fn gather_nd(call: &Call<'_>) -> Result<Option<Dims>> {
    call.expect_rank(0, 1..=usize::MAX)?;
    call.expect_rank(1, 1..=usize::MAX)?;
    let batch = call.int("batch_dims").unwrap_or(0);
    let (Some(shape), Some(indices)) = (call.shape(0), call.shape(1)) else { return Ok(None) };
    let Some(depth) = indices.last().and_then(Size::known) else { return Ok(None) };
    let most = shape.len().min(indices.len()) as i64;
    if batch < 0 || batch >= most.max(1) || depth < 1 || batch + depth > shape.len() as i64 {
        let text = format!("indices of {depth} numbers after {batch} axes of batches");
        return call.wrong(1, text);
    }
    agree(call, 1, &shape[..batch as usize], &indices[..batch as usize])?;
    tuples(call, depth as usize, batch as usize)?;
    let rest = &shape[(batch + depth) as usize..];
    Ok(Some([&indices[..indices.len() - 1], rest].concat()))
}

/// Indices of several axes at once.
fn tuples(call: &Call<'_>, depth: usize, batch: usize) -> Result<()> {
    let (Some(shape), Some(indices)) = (call.shape(0), call.ints(1)) else { return Ok(()) };
    for (i, &index) in indices.iter().enumerate() {
        let axis = batch + i % depth;
        if let Some(size) = shape[axis].known()
            && (index >= size || index < -size)
        {
            return call.wrong(1, format!("index {index} along axis {axis} of size {size}"));
        }
    }
    Ok(())
}

fn one_hot(call: &Call<'_>) -> Result<Option<Dims>> {
    call.expect_one(1)?;
    call.expect_rank(2, 1..=1)?;
    if let Some(count) = call.shape(2).and_then(|shape| shape[0].known())
        && count != 2
    {
        return call.wrong(2, "the values of off and on must be two");
    }
    let depth = match call.ints(1) {
        Some(&[depth]) if depth < 1 => return call.wrong(1, format!("the depth is {depth}")),
        Some(&[depth]) => Size::Known(depth),
        _ => Size::Unknown,
    };
    let Some(shape) = call.shape(0) else { return Ok(None) };
    let axis = call.axis(call.int("axis").unwrap_or(-1), shape.len() + 1)?;
    let mut result = shape.to_vec();
    result.insert(axis, depth);
    Ok(Some(result))
}

fn top_k(call: &Call<'_>) -> Result<Shapes> {
    let k = match call.opset < 10 {
        true => call.int("k"),
        false => {
            call.expect_one(1)?;
            call.ints(1).and_then(|k| k.first().copied())
        }
    };
    if let Some(k) = k.filter(|&k| k < 0) {
        return call.fail(format!("`k` is {k}"));
    }
    let axis = call.axis_of("axis", -1, 0)?;
    let (Some(shape), Some(axis)) = (call.shape(0), axis) else { return Ok(Vec::new()) };
    if let (Some(k), Some(size)) = (k, shape[axis].known())
        && k > size
    {
        return call.wrong(0, format!("the {k} largest of {size} along axis {axis}"));
    }
    let mut result = shape.to_vec();
    result[axis] = k.map_or(Size::Unknown, Size::Known);
    Ok(vec![Some(result.clone()), Some(result)])
}
