//! Shape rules of operators that change the axes of a tensor or pick a part.

use super::{Output, View, axis, broadcast, mismatch, same_dim};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Value;
use crate::spec::{DType, Dim, Shape, Symbol};

fn reduced(x: &Value, axes: &[usize], keep: bool) -> Shape {
    let dims = x.dims().iter().enumerate().filter_map(|(i, dim)| match axes.contains(&i) {
        true if keep => Some(Dim::Fixed(1)),
        true => None,
        false => Some(dim.clone()),
    });
    dims.collect::<Vec<_>>().into()
}

fn axes(values: &[i64], rank: usize) -> Result<Vec<usize>> {
    values.iter().map(|&value| axis(value, rank)).collect()
}

pub(super) fn reduce(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let axes = match node.axes(1)? {
        Some(list) => axes(&list, x.rank()).map_err(|e| e.on_tensor(&*x.name))?,
        None if node.int("noop_with_empty_axes", 0) != 0 => Vec::new(),
        None => (0..x.rank()).collect(),
    };
    Ok((x.dtype, reduced(x, &axes, node.int("keepdims", 1) != 0)))
}

pub(super) fn arg_reduce(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let axis = x.axis(node.int("axis", 0))?;
    Ok((DType::I64, reduced(x, &[axis], node.int("keepdims", 1) != 0)))
}

pub(super) fn shape(node: &View<'_>) -> Result<Output> {
    let rank = node.input(0)?.rank() as i64;
    let place = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank);
    let (start, end) = (place(node.int("start", 0)), place(node.int("end", i64::MAX)));
    Ok((DType::I64, [(end - start).max(0) as usize].into()))
}

pub(super) fn reshape(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let target = node.constant(1)?;
    let wrong = |text: String| mismatch(text).on_tensor(&*x.name);
    let mut dims = Vec::with_capacity(target.len());
    for (i, &size) in target.iter().enumerate() {
        dims.push(match size {
            -1 => None,
            0 => Some(
                x.dims()
                    .get(i)
                    .cloned()
                    .ok_or_else(|| wrong(format!("{} has no axis {i}", x.shape)))?,
            ),
            1.. => Some(Dim::Fixed(size as usize)),
            _ => return Err(wrong(format!("{size} is no size"))),
        });
    }
    let known: Vec<Dim> = dims.iter().flatten().cloned().collect();
    let rest = quotient(x.dims(), &known)
        .ok_or_else(|| wrong(format!("{} cannot become {target:?}", x.shape)))?;
    match dims.iter().filter(|dim| dim.is_none()).count() {
        0 if rest == Dim::Fixed(1) => {}
        1 => {}
        0 => return Err(wrong(format!("{} cannot become {target:?}", x.shape))),
        _ => return Err(wrong(format!("{target:?} leaves more than one size open"))),
    }
    let dims: Vec<Dim> = dims.into_iter().map(|dim| dim.unwrap_or_else(|| rest.clone())).collect();
    Ok((x.dtype, dims.into()))
}

/// The product of `dims` over the product of `by`: what a `-1` stands for. `None` when it is no
/// whole number for sure.
pub(in crate::export::graph) fn quotient(dims: &[Dim], by: &[Dim]) -> Option<Dim> {
    let mut symbols: Vec<&Symbol> = Vec::new();
    let mut fixed = 1usize;
    for dim in dims {
        match dim {
            Dim::Fixed(size) => fixed = fixed.checked_mul(*size)?,
            Dim::Symbol(symbol) => symbols.push(symbol),
        }
    }
    let mut divisor = 1usize;
    for dim in by {
        match dim {
            Dim::Fixed(size) => divisor = divisor.checked_mul(*size)?,
            Dim::Symbol(symbol) => {
                let at = symbols.iter().position(|known| *known == symbol)?;
                symbols.swap_remove(at);
            }
        }
    }
    if fixed == 0 || divisor == 0 {
        return (fixed == divisor).then_some(Dim::Fixed(1));
    }
    if symbols.is_empty() {
        return fixed.is_multiple_of(divisor).then(|| Dim::Fixed(fixed / divisor));
    }
    let (times, over) =
        if fixed.is_multiple_of(divisor) { (fixed / divisor, 1) } else { (fixed, divisor) };
    let parts: Vec<Dim> = symbols.into_iter().cloned().map(Dim::Symbol).collect();
    if let ([only], 1, 1) = (&parts[..], times, over) {
        return Some(only.clone());
    }
    let formula = || {
        let product = parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("*");
        match (times, over) {
            (1, 1) => product,
            (_, 1) => format!("{product}*{times}"),
            _ => format!("{product}*{times}/{over}"),
        }
    };
    let size = |v: &[usize]| v.iter().fold(times, |n, &size| n.saturating_mul(size)) / over;
    Some(Dim::map(formula, &parts.iter().collect::<Vec<_>>(), size))
}

pub(super) fn flatten(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let at = match node.int("axis", 1) {
        axis if axis == x.rank() as i64 => x.rank(),
        axis => x.axis(axis)?,
    };
    let (head, tail) = x.dims().split_at(at);
    let product = |dims| quotient(dims, &[]).unwrap_or(Dim::Fixed(0));
    Ok((x.dtype, [product(head), product(tail)].into()))
}

pub(super) fn transpose(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let perm = match node.ints("perm") {
        Some(perm) => axes(perm, x.rank())?,
        None => (0..x.rank()).rev().collect(),
    };
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if !sorted.into_iter().eq(0..x.rank()) {
        let text = format!("{perm:?} is no permutation of the axes of {}", x.shape);
        return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&*x.name));
    }
    Ok((x.dtype, perm.iter().map(|&i| x.dims()[i].clone()).collect::<Vec<_>>().into()))
}

pub(super) fn squeeze(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let one = |(_, dim): &(usize, &Dim)| dim.fixed() == Some(1);
    let axes = match node.axes(1)? {
        Some(list) => axes(&list, x.rank()).map_err(|e| e.on_tensor(&*x.name))?,
        None if x.shape.is_dynamic() => return Err(mismatch("its axes are not stated".into())),
        None => x.dims().iter().enumerate().filter(one).map(|(i, _)| i).collect(),
    };
    for &i in &axes {
        same_dim(&Dim::Fixed(1), &x.dims()[i]).map_err(|e| e.on_tensor(&*x.name).at_axis(i))?;
    }
    Ok((x.dtype, reduced(x, &axes, false)))
}

pub(super) fn unsqueeze(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let new = node.axes(1)?.ok_or_else(|| mismatch("its axes are not stated".into()))?;
    let rank = x.rank() + new.len();
    let axes = axes(&new, rank).map_err(|e| e.on_tensor(&*x.name))?;
    let mut rest = x.dims().iter().cloned();
    let dims = (0..rank).map(|i| if axes.contains(&i) { Some(Dim::Fixed(1)) } else { rest.next() });
    let dims = dims
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| mismatch(format!("{new:?} names an axis twice")))?;
    Ok((x.dtype, dims.into()))
}

pub(super) fn concat(node: &View<'_>) -> Result<Output> {
    let first = node.input(0)?;
    let dtype = node.one_dtype(0..node.inputs.len())?;
    let at = first.axis(node.int("axis", 0))?;
    let values: Vec<&Value> = node.inputs.iter().flatten().collect();
    for value in &values[1..] {
        if value.rank() != first.rank() {
            let text = format!("expected the rank of {}, got {}", first.shape, value.shape);
            return Err(mismatch(text).on_tensor(&*value.name));
        }
        for (i, (expected, got)) in
            first.dims().iter().zip(value.dims()).enumerate().filter(|(i, _)| *i != at)
        {
            same_dim(expected, got).map_err(|e| e.on_tensor(&*value.name).at_axis(i))?;
        }
    }
    let parts: Vec<&Dim> = values.iter().map(|value| &value.dims()[at]).collect();
    let formula = || parts.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
    let mut dims = first.dims().to_vec();
    dims[at] = Dim::map(formula, &parts, |v| v.iter().sum());
    Ok((dtype, dims.into()))
}

pub(super) fn slice(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let (starts, ends) = (node.constant(1)?, node.constant(2)?);
    let which = match node.inputs.get(3) {
        Some(Some(_)) => axes(&node.constant(3)?, x.rank()).map_err(|e| e.on_tensor(&*x.name))?,
        _ => (0..starts.len()).collect(),
    };
    let steps = match node.inputs.get(4) {
        Some(Some(_)) => node.constant(4)?,
        _ => vec![1; starts.len()],
    };
    let mut dims = x.dims().to_vec();
    for (k, &i) in which.iter().enumerate() {
        let (Some(&start), Some(&end), Some(&step)) = (starts.get(k), ends.get(k), steps.get(k))
        else {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "starts, ends and steps differ in length",
            ));
        };
        if step == 0 {
            return Err(Error::new(ErrorKind::InvalidArgument, "a step is 0").at_axis(i));
        }
        let whole = step == 1 && start == 0 && end > i64::from(i32::MAX);
        if whole {
            continue;
        }
        let size = |v: &[usize]| {
            let n = v[0] as i64;
            let from_end = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
            let (start, end) = (from_end(start), from_end(end));
            let last = n - 1;
            let span = match step > 0 {
                true => end.clamp(0, n) - start.clamp(0, n),
                false => start.clamp(last.min(0), last) - end.clamp(-1, last),
            };
            (span.max(0) as u64).div_ceil(step.unsigned_abs()) as usize
        };
        let dim = &x.dims()[i];
        dims[i] = Dim::map(|| format!("{dim}[{start}:{end}:{step}]"), &[dim], size);
    }
    Ok((x.dtype, dims.into()))
}

/// Parts of an axis, where their sizes are stated.
pub(super) fn split(node: &View<'_>) -> Result<Vec<Output>> {
    let x = node.input(0)?;
    let at = x.axis(node.int("axis", 0))?;
    let (size, count) = (x.dims()[at].fixed(), node.int("num_outputs", 0).max(0) as usize);
    let sizes = match (node.inputs.get(1), size) {
        (Some(Some(_)), _) => node.constant(1)?,
        (_, Some(size)) if count > 0 => {
            let each = size.div_ceil(count);
            let before = |i: usize| (i * each).min(size);
            (0..count).map(|i| (before(i + 1) - before(i)) as i64).collect()
        }
        _ => {
            node.ints("split").ok_or_else(|| mismatch("its sizes are not stated".into()))?.to_vec()
        }
    };
    let part = |size: &i64| {
        let size = usize::try_from(*size).map_err(|_| mismatch(format!("{size} is no size")))?;
        let mut dims = x.dims().to_vec();
        dims[at] = Dim::Fixed(size);
        Ok((x.dtype, Shape::from(dims)))
    };
    sizes.iter().map(part).collect()
}

/// Up to sizes that are known.
pub(super) fn expand(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let sizes = node.constant(1)?;
    let fixed = sizes.iter().map(|&size| usize::try_from(size).map(Dim::Fixed));
    let target = fixed.collect::<Result<Vec<_>, _>>().map_err(|_| mismatch("no sizes".into()))?;
    Ok((x.dtype, broadcast(&x.shape, &Shape::from(target))?))
}

pub(super) fn gather(node: &View<'_>) -> Result<Output> {
    let (x, indices) = (node.rank_at_least(0, 1)?, node.input(1)?);
    if !matches!(indices.dtype, DType::I32 | DType::I64) {
        let text = format!("indices are {}, not i32 or i64", indices.dtype);
        return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&*indices.name));
    }
    let at = x.axis(node.int("axis", 0))?;
    let dims = x.dims()[..at].iter().chain(indices.dims()).chain(&x.dims()[at + 1..]);
    Ok((x.dtype, dims.cloned().collect::<Vec<_>>().into()))
}

pub(super) fn pad(node: &View<'_>) -> Result<Output> {
    let x = node.input(0)?;
    let pads = node.constant(1)?;
    if pads.len() != 2 * x.rank() {
        let text = format!("{} pads do not fit {}", pads.len(), x.shape);
        return Err(mismatch(text).on_tensor(&*x.name));
    }
    let mut dims = Vec::with_capacity(x.rank());
    for (i, dim) in x.dims().iter().enumerate() {
        let sum = pads[i].saturating_add(pads[x.rank() + i]);
        if sum == 0 {
            dims.push(dim.clone());
            continue;
        }
        let size = |v: &[usize]| (v[0] as i64).saturating_add(sum).max(0) as usize;
        dims.push(Dim::map(|| format!("{dim}+{sum}"), &[dim], size));
    }
    Ok((x.dtype, dims.into()))
}
