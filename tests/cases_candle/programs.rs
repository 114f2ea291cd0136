//! How Candle runs the random programs of `common`. What is checked with them is in `dynamic_programs`.

use candle_core::Error;

use crate::common::programs::{Size, Step};
use crate::harness::*;

/// What a program makes of a tensor. An error where Candle gives one, and for more than a million elements.
pub(crate) fn interpret<T: TensorOps>(program: &[Step], input: &T) -> Result<T> {
    let sizes = sizes(input)?;
    let (mut before, mut x) = (input.clone(), input.clone());
    for &step in program {
        let next = apply(step, sizes, &before, &x)?;
        small(next.dims())?;
        (before, x) = (x, next);
    }
    Ok(x)
}

fn sizes<T: TensorOps>(x: &T) -> Result<[usize; 3]> {
    let (a, b, c) = x.dims3()?;
    Ok([a, b, c])
}

fn small(sizes: &[usize]) -> Result<()> {
    match sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size)) {
        Some(1..0x10_0000) => Ok(()),
        _ => Err(Error::Msg(format!("sizes {sizes:?}"))),
    }
}

fn below_zero() -> Error {
    Error::Msg("a size below zero".into())
}

fn less(size: usize, by: usize) -> Result<usize> {
    size.checked_sub(by).ok_or_else(below_zero)
}

fn apply<T: TensorOps>(step: Step, input: [usize; 3], before: &T, x: &T) -> Result<T> {
    let (own, device) = (sizes(x)?, x.device());
    let of = |size: Size| size.of(input, own).ok_or_else(below_zero);
    // Not made where it is too large.
    let with = |axis: usize, size: usize| {
        let mut sizes = own;
        sizes[axis] = size;
        small(&sizes).map(|()| sizes)
    };
    let broadcasts = |sizes: [usize; 3]| (0..3).all(|i| sizes[i] == own[i] || sizes[i] == 1);
    match step {
        Step::SwapDims(a, b) => x.transpose(a, b),
        Step::Permute(order) => x.permute(order),
        Step::Flip(axis) => x.flip(&[axis]),
        Step::Merge { at: 0, front: true } => x.reshape((1, own[0] * own[1], own[2])),
        Step::Merge { at: 0, front: false } => x.flatten(0, 1)?.unsqueeze(2),
        Step::Merge { front: true, .. } => x.flatten(1, 2)?.unsqueeze(0),
        Step::Merge { front: false, .. } => x.reshape((own[0], own[1] * own[2], 1)),
        Step::Split { axis, into } => {
            let parts = of(into)?.max(1);
            let rest = own[(axis + 1) % 3] * own[(axis + 2) % 3];
            match axis {
                0 => x.reshape((parts, own[0] / parts, rest)),
                _ => x.reshape((rest, parts, own[axis] / parts)),
            }
        }
        Step::Infer(size) => x.reshape((of(size)?, (), 1)),
        Step::AsInput => x.reshape(&input[..]),
        Step::Narrow { axis, start, length } => x.narrow(axis, of(start)?, of(length)?),
        Step::Last { axis, count } => x.narrow(axis, less(own[axis], count)?, count),
        Step::Every { axis, start, step } => {
            let (start, end, step) = (start as u32, own[axis] as u32, step as u32);
            x.index_select(&T::arange_step(start, end, step, device)?, axis)
        }
        Step::Chunk { axis, chunks, take } => {
            let mut chunks = x.chunk(chunks, axis)?;
            if take >= chunks.len() {
                return Err(Error::Msg("fewer chunks".into()));
            }
            Ok(chunks.swap_remove(take))
        }
        Step::Assign { axis, start, length } => {
            let new = x.narrow(axis, 0, of(length)?)?.affine(2.0, 0.0)?;
            x.slice_scatter(&new, axis, of(start)?)
        }
        Step::Cat(axis) => {
            let other = sizes(before)?;
            let fits = (0..3).all(|i| i == axis || other[i] == own[i]);
            let other = if fits { before.clone() } else { x.affine(0.5, 0.0)? };
            T::cat(&[&other, x], axis)
        }
        Step::CatOnes(axis, size) => {
            let ones = T::ones(&with(axis, of(size)?)?[..], x.dtype(), device)?;
            T::cat(&[x, &ones], axis)
        }
        Step::Pad([left, right, top, bottom]) => {
            x.pad_with_zeros(2, left, right)?.pad_with_same(1, top, bottom)
        }
        Step::PadTo(size) => x.pad_with_zeros(2, 0, less(of(size)?, own[2])?),
        Step::Expand(axis, size) => x.mean_keepdim(axis)?.broadcast_as(&with(axis, of(size)?)?[..]),
        Step::Repeat(axis, size) => {
            let mut times = [1; 3];
            times[axis] = of(size)?;
            with(axis, own[axis].saturating_mul(times[axis]))?;
            x.repeat(&times[..])
        }
        Step::Products => {
            with(2, own[1]).and_then(|_| x.matmul(&x.transpose(1, 2)?.contiguous()?)?.tanh())
        }
        Step::Triangle { upper, diagonal } => {
            let rows = T::arange(0f32, own[1] as f32, device)?.unsqueeze(1)?;
            let columns = T::arange(0f32, own[2] as f32, device)?.unsqueeze(0)?;
            let edge = rows.affine(1.0, diagonal as f64)?;
            let kept =
                if upper { columns.broadcast_ge(&edge) } else { columns.broadcast_le(&edge) };
            x.broadcast_mul(&kept?.to_dtype(x.dtype())?)
        }
        Step::Mask(size) => {
            let ahead = T::arange(0f32, own[2] as f32, device)?.ge(of(size)? as f64)?;
            let ahead = ahead.broadcast_as(&own[..])?;
            ahead.where_cond(&x.affine(0.0, -0.5)?, x)
        }
        Step::Positions(axis) => {
            let mut sizes = [1; 3];
            sizes[axis] = own[axis];
            let positions = T::arange(0f32, own[axis] as f32, device)?.affine(0.1, 0.0)?;
            x.broadcast_add(&positions.reshape(&sizes[..])?)
        }
        Step::Rows(axis, size) => x.index_select(&T::arange(0u32, of(size)? as u32, device)?, axis),
        Step::Unfold { axis, size, step } => {
            let windows = x.unfold(axis, size, step)?;
            let (a, b, c, d) = windows.dims4()?;
            windows.reshape((a, b, c * d))
        }
        Step::Mean(axis) => x.mean_keepdim(axis),
        // Candle multiplies with a square of the size.
        Step::CumSum(axis) => small(&[own[axis], own[axis]]).and_then(|()| x.cumsum(axis)?.tanh()),
        Step::Softmax(axis) => x.softmax(axis),
        Step::Add if broadcasts(sizes(before)?) => x.broadcast_add(before),
        Step::Add => x.affine(2.0, 0.0),
        // By an infinity Candle's own operations give one thing or the other.
        Step::Scale(size) => match of(size)? {
            0 => Err(Error::Msg("a division by zero".into())),
            size => x.affine(1.0 / size as f64, 0.0),
        },
        Step::Branch(size, limit) => {
            if of(size)? > limit {
                x.exp()
            } else {
                x.tanh()
            }
        }
        Step::Cut(axis, limit) => x.narrow(axis, 0, own[axis].min(limit)),
    }
}
