//! Products of matrices.

use super::{Shapes, elementwise::merged, one, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "MatMul" | "MatMulInteger" => one(product(call, 0, 1)?),
        "QLinearMatMul" => one(product(call, 0, 3)?),
        "Gemm" => one(Some(gemm(call)?)),
        "Einsum" => one(einsum(call)?),
        "Det" => {
            call.expect_rank(0, 2..=usize::MAX)?;
            one(call.shape(0).map(|shape| shape[..shape.len() - 2].to_vec()))
        }
        _ => Ok(None),
    }
}

fn product(call: &Call<'_>, left: usize, right: usize) -> Result<Option<Dims>> {
    call.expect_rank(left, 1..=usize::MAX)?;
    call.expect_rank(right, 1..=usize::MAX)?;
    let (Some(a), Some(b)) = (call.shape(left), call.shape(right)) else { return Ok(None) };
    let (depth_a, depth_b) = (&a[a.len() - 1], &b[b.len().saturating_sub(2)]);
    if let (Some(a), Some(b)) = (depth_a.known(), depth_b.known())
        && a != b
    {
        return call.wrong(right, format!("rows of {a} elements are multiplied by columns of {b}"));
    }
    let (batch_a, batch_b) = (&a[..a.len().saturating_sub(2)], &b[..b.len().saturating_sub(2)]);
    let rank = batch_a.len().max(batch_b.len());
    let mut result = Vec::with_capacity(rank + 2);
    for i in 0..rank {
        let at = |batch: &[Size]| {
            (i + batch.len()).checked_sub(rank).map_or(Size::Known(1), |axis| batch[axis].clone())
        };
        match merged(&at(batch_a), &at(batch_b)) {
            Some(size) => result.push(size),
            None => return call.wrong(right, format!("axis {i} does not fit that of the other")),
        }
    }
    if a.len() > 1 {
        result.push(a[a.len() - 2].clone());
    }
    if b.len() > 1 {
        result.push(b[b.len() - 1].clone());
    }
    Ok(Some(result))
}

fn gemm(call: &Call<'_>) -> Result<Dims> {
    call.expect_rank(0, 2..=2)?;
    call.expect_rank(1, 2..=2)?;
    call.expect_rank(2, 0..=2)?;
    let side = |i: usize, name: &str| {
        let turned = call.int(name).unwrap_or(0) != 0;
        let sizes = call.shape(i).map_or_else(|| unknown(2), <[Size]>::to_vec);
        if turned {
            [sizes[1].clone(), sizes[0].clone()]
        } else {
            [sizes[0].clone(), sizes[1].clone()]
        }
    };
    let ([rows, depth], [depth_b, columns]) = (side(0, "transA"), side(1, "transB"));
    if let (Some(a), Some(b)) = (depth.known(), depth_b.known())
        && a != b
    {
        return call.wrong(1, format!("rows of {a} elements are multiplied by columns of {b}"));
    }
    Ok(vec![rows, columns])
}

/// The sizes by letter; the rank alone where there are dots.
fn einsum(call: &Call<'_>) -> Result<Option<Dims>> {
    let equation: Vec<u8> =
        call.text("equation").unwrap_or_default().iter().copied().filter(|c| *c != b' ').collect();
    let Ok(equation) = std::str::from_utf8(&equation) else {
        return call.fail("`equation` is no text");
    };
    let Some((left, right)) = equation.split_once("->") else { return Ok(None) };
    if equation.contains('.') {
        return Ok(None);
    }
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != call.node.input.len() {
        return call.fail(format!("`{equation}` has {} inputs", terms.len()));
    }
    let mut sizes = std::collections::HashMap::new();
    for (i, term) in terms.iter().enumerate() {
        let count = term.chars().count();
        call.expect_rank(i, count..=count)?;
        for (axis, letter) in term.chars().enumerate() {
            let size = call.shape(i).map_or(Size::Unknown, |shape| shape[axis].clone());
            let known = sizes.entry(letter).or_insert_with(|| size.clone());
            match merged(known, &size) {
                Some(size) => *known = size,
                None => return call.wrong(i, format!("`{letter}` of `{equation}` has two sizes")),
            }
        }
    }
    let result = right.chars().map(|letter| sizes.get(&letter).cloned());
    match result.collect::<Option<Dims>>() {
        Some(result) => Ok(Some(result)),
        None => call.fail(format!("a letter of the result of `{equation}` is in no input")),
    }
}
