//! Values out of nothing but sizes: constants, ranges, random numbers. Their sizes are the easiest
//! way to ask for more memory than there is.

use super::{Shapes, one, same, unknown};
use crate::error::Result;
use crate::export::model::infer::call::{Call, Dims};
use crate::export::model::infer::fact::{Fact, Size};

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "Constant" => {
            let count = |length: Option<usize>| length.map(|n| vec![Size::Known(n as i64)]);
            let sparse = || call.node.attribute.iter().find_map(|a| a.sparse_tensor.as_ref());
            one(match call.tensor("value") {
                Some(tensor) => Fact::of_tensor(tensor).shape,
                None if call.int("value_int").is_some() => Some(Vec::new()),
                None if call.has_attribute("value_float") => Some(Vec::new()),
                None if call.has_attribute("value_string") => Some(Vec::new()),
                None if call.has_attribute("value_ints") => {
                    count(call.list("value_ints").map(<[_]>::len))
                }
                None if call.has_attribute("value_floats") => {
                    count(call.floats("value_floats").map(<[_]>::len))
                }
                None => sparse().map(|s| s.dims.iter().map(|&size| Size::Known(size)).collect()),
            })
        }
        "ConstantOfShape" => {
            call.expect_rank(0, 1..=1)?;
            let rank = || call.shape(0)?.first()?.known().filter(|rank| (0..=64).contains(rank));
            one(match call.ints(0) {
                Some(sizes) => Some(stated(call, sizes)?),
                None => rank().map(|rank| unknown(rank as usize)),
            })
        }
        "RandomNormal" | "RandomUniform" => {
            one(call.list("shape").map(|sizes| stated(call, sizes)).transpose()?)
        }
        "RandomNormalLike" | "RandomUniformLike" | "EyeLike" => same(call),
        "Range" => one(Some(vec![range(call)?])),
        "QuantizeLinear" | "DequantizeLinear" => {
            block(call)?;
            same(call)
        }
        "DynamicQuantizeLinear" => {
            let shape = call.shape(0).map(<[Size]>::to_vec);
            Ok(Some(vec![shape, Some(Vec::new()), Some(Vec::new())]))
        }
        _ => Ok(None),
    }
}

fn stated(call: &Call<'_>, sizes: &[i64]) -> Result<Dims> {
    match sizes.iter().find(|&&size| size < 0) {
        Some(size) => call.fail(format!("size {size} of the result")),
        None => Ok(sizes.iter().map(|&size| Size::Known(size)).collect()),
    }
}

fn range(call: &Call<'_>) -> Result<Size> {
    for i in 0..3 {
        call.expect_one(i)?;
    }
    let value = |i: usize| {
        let fact = call.input(i)?;
        let int = fact.ints().and_then(|v| v.first()).map(|&v| v as f64);
        int.or_else(|| fact.floats().and_then(|v| v.first()).copied())
    };
    if value(2) == Some(0.0) {
        return call.wrong(2, "the step is 0");
    }
    let (Some(start), Some(limit), Some(step)) = (value(0), value(1), value(2)) else {
        return Ok(Size::Unknown);
    };
    let count = ((limit - start) / step).ceil();
    if !count.is_finite() {
        return call.fail(format!("a range from {start} to {limit} by {step}"));
    }
    Ok(Size::Known(count.clamp(0.0, i64::MAX as f64) as i64))
}

/// Scales are one, one for each index of an axis, or one for each block.
fn block(call: &Call<'_>) -> Result<()> {
    let block = call.int("block_size").unwrap_or(0);
    if block < 0 {
        return call.fail(format!("`block_size` is {block}"));
    }
    if call.has(2)
        && let (Some(scale), Some(zero)) = (call.shape(1), call.shape(2))
        && scale.len() != zero.len()
        && (call.input(1).and_then(Fact::count), call.input(2).and_then(Fact::count))
            != (Some(1), Some(1))
    {
        return call.wrong(2, "zero points and scales have different shapes");
    }
    let (Some(x), Some([scales])) = (call.shape(0), call.shape(1)) else { return Ok(()) };
    let Some(scales) = scales.known().filter(|&scales| scales != 1 && block == 0) else {
        return Ok(());
    };
    let axis = call.axis(call.int("axis").unwrap_or(1), x.len())?;
    match x[axis].known() {
        Some(size) if size != scales => {
            call.wrong(1, format!("{scales} scales for axis {axis} of size {size}"))
        }
        _ => Ok(()),
    }
}
