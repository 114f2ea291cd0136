//! Normalizations, attention and recurrent layers.

use super::{Shapes, one, same, unknown};
use crate::error::Result;
use crate::export::model::infer::call::Call;
use crate::export::model::infer::fact::Size;

pub(super) fn shapes(call: &Call<'_>) -> Result<Option<Shapes>> {
    match call.node.op_type() {
        "BatchNormalization" => {
            let channels = match call.shape(0) {
                Some([_, channels, ..]) => channels.known(),
                Some([_]) => Some(1),
                Some([]) => return call.wrong(0, "it has no axis of channels"),
                None => None,
            };
            (1..5).try_for_each(|i| vector(call, i, channels))?;
            Ok(Some(vec![call.shape(0).map(<[Size]>::to_vec)]))
        }
        "InstanceNormalization" => {
            call.expect_rank(0, 3..=usize::MAX)?;
            let channels = call.shape(0).and_then(|shape| shape[1].known());
            (1..3).try_for_each(|i| vector(call, i, channels))?;
            same(call)
        }
        "GroupNormalization" => {
            call.expect_positive("num_groups")?;
            call.expect_rank(0, 3..=usize::MAX)?;
            if let (Some(groups), Some(channels)) =
                (call.int("num_groups"), call.shape(0).and_then(|shape| shape[1].known()))
            {
                if channels % groups != 0 {
                    return call.wrong(0, format!("{channels} channels in {groups} groups"));
                }
                let each = if call.opset < 21 { groups } else { channels };
                (1..3).try_for_each(|i| vector(call, i, Some(each)))?;
            }
            same(call)
        }
        "LayerNormalization" | "RMSNormalization" => {
            let axis = call.axis_of("axis", -1, 0)?;
            let shape = call.shape(0).map(<[Size]>::to_vec);
            let moment = axis.zip(shape.clone()).map(|(axis, mut moment)| {
                moment[axis..].fill(Size::Known(1));
                moment
            });
            Ok(Some(vec![shape, moment.clone(), moment]))
        }
        "Softmax" | "LogSoftmax" | "Hardmax" => {
            if call.opset >= 13 {
                if call.rank(0) != Some(0) {
                    call.axis_of("axis", -1, 0)?;
                }
            } else if let (Some(axis), Some(rank)) = (call.int("axis"), call.rank(0))
                && axis != rank as i64
            {
                call.axis(axis, rank)?;
            }
            same(call)
        }
        "LpNormalization" => {
            call.axis_of("axis", -1, 0)?;
            same(call)
        }
        "LRN" => {
            call.expect_positive("size")?;
            call.expect_rank(0, 2..=usize::MAX)?;
            same(call)
        }
        "MeanVarianceNormalization" => {
            if let (Some(axes), Some(rank)) = (call.list("axes"), call.rank(0)) {
                call.axes(axes, rank)?;
            }
            same(call)
        }
        "Attention" => attention(call).map(Some),
        "RotaryEmbedding" => {
            call.expect_rank(0, 3..=4)?;
            same(call)
        }
        "RNN" | "GRU" | "LSTM" => recurrent(call).map(Some),
        "STFT" => stft(call).map(Some),
        "DFT" => one(call.shape(0).map(|shape| unknown(shape.len()))),
        _ => Ok(None),
    }
}

/// Refuses an input that is no vector of `size`.
fn vector(call: &Call<'_>, i: usize, size: Option<i64>) -> Result<()> {
    call.expect_rank(i, 1..=1)?;
    let found = call.shape(i).and_then(|shape| shape[0].known());
    match (found, size) {
        (Some(found), Some(size)) if found != size => {
            call.wrong(i, format!("input {i} has {found} elements, and must have {size}"))
        }
        _ => Ok(()),
    }
}

fn attention(call: &Call<'_>) -> Result<Shapes> {
    for i in 0..3 {
        call.expect_rank(i, 3..=4)?;
    }
    for name in ["q_num_heads", "kv_num_heads"] {
        call.expect_positive(name)?;
    }
    let (q, kv) = (call.int("q_num_heads"), call.int("kv_num_heads"));
    if call.rank(0) == Some(3) && (q.is_none() || kv.is_none()) {
        return call.fail("`q_num_heads` and `kv_num_heads` are needed for inputs of rank 3");
    }
    if let (Some(q), Some(kv)) = (q, kv)
        && q % kv != 0
    {
        return call.fail(format!("{q} heads of queries for {kv} of keys"));
    }
    for (i, heads) in [(0, q), (1, kv), (2, kv)] {
        if let (Some([_, _, width]), Some(heads)) = (call.shape(i), heads)
            && width.known().is_some_and(|width| width % heads != 0)
        {
            return call.wrong(i, format!("it is cut into {heads} heads"));
        }
    }
    // The width of values may be another.
    let shape = call.shape(0).map(|shape| {
        let mut shape = shape.to_vec();
        let last = shape.len() - 1;
        let whole = shape.len() == 4;
        shape[last] = match call.shape(2) {
            Some(values) if whole && values.len() == 4 => values[3].clone(),
            _ => Size::Unknown,
        };
        shape
    });
    Ok(vec![shape])
}

fn recurrent(call: &Call<'_>) -> Result<Shapes> {
    let gates = match call.node.op_type() {
        "LSTM" => 4,
        "GRU" => 3,
        _ => 1,
    };
    call.expect_positive("hidden_size")?;
    for i in 0..3 {
        call.expect_rank(i, 3..=3)?;
    }
    call.expect_rank(3, 2..=2)?;
    if call.has(4) {
        call.expect_rank(4, 1..=1)?;
    }
    let directions: i64 = match call.text("direction") {
        Some(b"bidirectional") => 2,
        _ => 1,
    };
    let hidden = call.int("hidden_size").or_else(|| call.shape(2)?[2].known());
    let expect = |i: usize, axis: usize, size: Option<i64>| {
        let found = call.shape(i).and_then(|shape| shape[axis].known());
        match (found, size) {
            (Some(found), Some(size)) if found != size => call.wrong(
                i,
                format!("axis {axis} of input {i} has size {found}, and must have {size}"),
            ),
            _ => Ok(()),
        }
    };
    let wide = |times: i64| hidden.and_then(|hidden| hidden.checked_mul(times));
    for (i, width) in [(1, gates), (2, gates), (3, 2 * gates)] {
        expect(i, 0, Some(directions))?;
        expect(i, 1, wide(width))?;
    }
    expect(2, 2, hidden)?;
    let known = |size: Option<i64>| size.map_or(Size::Unknown, Size::Known);
    let at = |axis: usize| call.shape(0).map_or(Size::Unknown, |shape| shape[axis].clone());
    let batched_first = call.int("layout").unwrap_or(0) != 0;
    if !batched_first {
        let depth = call.shape(0).and_then(|shape| shape[2].known());
        expect(1, 2, depth)?;
    }
    let (length, batch) = if batched_first { (at(1), at(0)) } else { (at(0), at(1)) };
    let (d, h) = (Size::Known(directions), known(hidden));
    let (all, last) = match batched_first {
        true => (vec![batch.clone(), length, d.clone(), h.clone()], vec![batch, d, h]),
        false => (vec![length, d.clone(), batch.clone(), h.clone()], vec![d, batch, h]),
    };
    Ok(vec![Some(all), Some(last.clone()), Some(last)])
}

fn stft(call: &Call<'_>) -> Result<Shapes> {
    for i in [1, 3] {
        if call.has(i) {
            call.expect_one(i)?;
            if let Some(&[value]) = call.ints(i)
                && value < 1
            {
                return call.wrong(i, format!("input {i} is {value}, and must be positive"));
            }
        }
    }
    Ok(vec![Some(unknown(4))])
}
