//! Places that an axis does not have, and integers that are divided by 0. tract panics on most, and takes a few far places for
//! near ones.

use tract_onnx::prelude::{Datum as _, TDim, TValue, TypedNode};
use tract_onnx::tract_core::ops::array::{
    Gather, GatherElements, GatherNd, ScatterElements, ScatterNd,
};

/// What is wrong with the integers that a node gets.
pub(super) fn wrong(node: &TypedNode, inputs: &[TValue]) -> Option<String> {
    let [x, places, ..] = inputs else { return None };
    if let Some(op) = node.op_as::<Gather>() {
        return beyond(places, true, |_| Some((op.axis, *x.shape().get(op.axis)?)));
    }
    if let Some(op) = node.op_as::<GatherElements>() {
        return beyond(places, true, |_| Some((op.axis, *x.shape().get(op.axis)?)));
    }
    if let Some(op) = node.op_as::<ScatterElements>() {
        return beyond(places, true, |_| Some((op.axis, *x.shape().get(op.axis)?)));
    }
    let before = match node.op_as::<GatherNd>() {
        Some(op) => Some(op.batch_dims),
        None => node.op_is::<ScatterNd>().then_some(0),
    };
    if let Some(before) = before {
        let depth = places.shape().last().copied().unwrap_or(1).max(1);
        // Those from the end are counted from the start by now.
        return beyond(places, false, |at| {
            let axis = before + at % depth;
            Some((axis, *x.shape().get(axis)?))
        });
    }
    divides_by_zero(node, places)
}

/// The first place that its axis does not have, where places may be counted from the end or were. `axis` gives the axis,
/// and its size, of a place by its number.
fn beyond(
    places: &TValue,
    from_the_end: bool,
    axis: impl Fn(usize) -> Option<(usize, usize)>,
) -> Option<String> {
    if places.datum_type() == TDim::datum_type() || !places.datum_type().is_integer() {
        return None;
    }
    let places = places.cast_to::<i64>().ok()?;
    let values = places.try_as_plain_ram().ok()?;
    let values = values.as_slice::<i64>().ok()?;
    values.iter().enumerate().find_map(|(at, &place)| {
        let (axis, size) = axis(at)?;
        let size = size as i64;
        let least = if from_the_end { -size } else { 0 };
        if (least..size).contains(&place) {
            return None;
        }
        let place = if !from_the_end && place < 0 { place.saturating_sub(size) } else { place };
        Some(format!("index {place} is out of range: axis {axis} has {size} elements"))
    })
}

fn divides_by_zero(node: &TypedNode, divisor: &TValue) -> Option<String> {
    let dtype = divisor.datum_type();
    if dtype == TDim::datum_type() || !dtype.is_integer() {
        return None;
    }
    let name = node.op.name();
    if !name.contains("Div") && !name.contains("Rem") {
        return None;
    }
    let values = divisor.cast_to::<i64>().ok()?;
    let values = values.try_as_plain_ram().ok()?;
    let zero = values.as_slice::<i64>().ok()?.iter().position(|&value| value == 0)?;
    Some(format!("integers are divided by 0: element {zero} of the divisor"))
}
