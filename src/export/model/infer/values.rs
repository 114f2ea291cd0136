//! The elements of small integer tensors, as far as they follow from constants and sizes: shapes are
//! computed from them.

use std::rc::Rc;

use super::call::Call;
use super::fact::{Fact, Size, Values};
use super::rules;
use crate::error::Result;
use crate::export::onnx::tensor_proto::DataType;

/// The most elements that are computed with.
const MOST: usize = 64;

/// The part of `rank` axes that `start` and `end` of a `Shape` take.
pub(super) fn span(start: i64, end: i64, rank: usize) -> (usize, usize) {
    let rank = rank as i64;
    let counted = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank);
    let (from, to) = (counted(start), counted(end));
    (from as usize, to.max(from) as usize)
}

/// Adds elements to what a node gives, where they are known.
///
/// # Errors
/// [`InvalidModel`](crate::ErrorKind::InvalidModel) for divisions that end processes.
pub(super) fn fold(call: &Call<'_>, facts: &mut [Fact]) -> Result<()> {
    let Some(fact) = facts.first_mut() else { return Ok(()) };
    fact.values = match call.node.op_type() {
        "Constant" => constant(call),
        "Identity" => call.input(0).and_then(|fact| fact.values.clone()),
        _ => ints(call, fact)?.map(|ints| Rc::new(Values::Ints(ints))),
    };
    if let Some(values) = fact.values.as_deref() {
        let found = match values {
            Values::Ints(ints) => ints.len(),
            Values::Floats(floats) => floats.len(),
        };
        // Without a shape the elements are those of a vector, unless the operator says otherwise.
        if fact.count().is_some_and(|count| count != found as i64) {
            fact.values = None;
        }
    }
    Ok(())
}

fn constant(call: &Call<'_>) -> Option<Rc<Values>> {
    if let Some(tensor) = call.tensor("value") {
        return Fact::of_tensor(tensor).values;
    }
    let values = if call.has_attribute("value_int") {
        Values::Ints(vec![call.int("value_int")?])
    } else if call.has_attribute("value_ints") {
        Values::Ints(call.list("value_ints")?.to_vec())
    } else {
        Values::Floats(call.floats("value_floats")?.iter().map(|&v| f64::from(v)).collect())
    };
    Some(Rc::new(values))
}

fn ints(call: &Call<'_>, fact: &Fact) -> Result<Option<Vec<i64>>> {
    let first = call.ints(0).filter(|values| values.len() <= MOST);
    let known = |shape: &[Size]| shape.iter().map(Size::known).collect::<Option<Vec<i64>>>();
    Ok(match call.node.op_type() {
        "Shape" => {
            let (start, end) =
                (call.int("start").unwrap_or(0), call.int("end").unwrap_or(i64::MAX));
            call.shape(0).and_then(|shape| {
                let (from, to) = span(start, end, shape.len());
                known(&shape[from..to])
            })
        }
        "Size" => call.input(0).and_then(Fact::count).map(|count| vec![count]),
        "Cast" if matches!(call.int("to"), Some(6 | 7)) => first.map(<[i64]>::to_vec),
        "Reshape" | "Squeeze" | "Unsqueeze" | "Flatten" => first.map(<[i64]>::to_vec),
        "Neg" => first.map(|values| values.iter().map(|v| v.wrapping_neg()).collect()),
        "Concat" if fact.rank() == Some(1) => {
            let mut all = Vec::new();
            for i in 0..call.node.input.len() {
                match call.ints(i) {
                    Some(part) if all.len() + part.len() <= MOST => all.extend_from_slice(part),
                    _ => return Ok(None),
                }
            }
            Some(all)
        }
        "Gather" if call.rank(0) == Some(1) => match (first, call.ints(1)) {
            (Some(values), Some(indices)) if indices.len() <= MOST => {
                let at = |&index: &i64| {
                    let index = if index < 0 { index + values.len() as i64 } else { index };
                    values.get(usize::try_from(index).ok()?).copied()
                };
                indices.iter().map(at).collect()
            }
            _ => None,
        },
        "Slice" if call.rank(0) == Some(1) => match (first, rules::cuts(call)?.as_deref()) {
            (Some(values), Some([cut])) => {
                let (start, count) = cut.taken(values.len() as i64);
                (0..count).map(|i| values.get((start + i * cut.step) as usize).copied()).collect()
            }
            _ => None,
        },
        "ConstantOfShape" => {
            let count = fact.count().filter(|&count| count <= MOST as i64);
            let filled = call.tensor("value").map(Fact::of_tensor);
            let filled = filled.as_ref().and_then(Fact::ints).and_then(|v| v.first());
            count.zip(filled).map(|(count, &value)| vec![value; count as usize])
        }
        "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" if call.node.input.len() == 2 => {
            arithmetic(call)?
        }
        _ => None,
    })
}

fn arithmetic(call: &Call<'_>) -> Result<Option<Vec<i64>>> {
    let (Some(a), Some(b)) = (call.ints(0), call.ints(1)) else { return Ok(None) };
    // Of one shape, or one element with a vector.
    let plain = |i: usize| call.rank(i).is_some_and(|rank| rank <= 1);
    let fit = a.len() == b.len() || a.len() == 1 || b.len() == 1;
    if a.len().max(b.len()) > MOST || !(plain(0) && plain(1)) || !fit {
        return Ok(None);
    }
    let dtype = call.input(0).map_or(0, |fact| fact.dtype);
    let least = match dtype {
        d if d == DataType::Int64 as i32 => i64::MIN,
        d if d == DataType::Int32 as i32 => i64::from(i32::MIN),
        _ => return Ok(None),
    };
    let operator = call.node.op_type();
    let mut result = Vec::new();
    if a.is_empty() || b.is_empty() {
        return Ok(Some(result));
    }
    for i in 0..a.len().max(b.len()) {
        let (a, b) = (a[i.min(a.len() - 1)], b[i.min(b.len() - 1)]);
        let wrapped = match operator {
            "Add" => a.wrapping_add(b),
            "Sub" => a.wrapping_sub(b),
            "Mul" => a.wrapping_mul(b),
            "Min" => a.min(b),
            "Max" => a.max(b),
            "Div" | "Mod" => {
                if b == 0 || (a == least && b == -1) {
                    return call.fail(format!("integers: {a} is divided by {b}"));
                }
                match operator {
                    "Div" => a / b,
                    _ if call.int("fmod").unwrap_or(0) != 0 => a % b,
                    // With the sign of the divisor.
                    _ => a.wrapping_rem(b).wrapping_add(b).wrapping_rem(b),
                }
            }
            _ => return Ok(None),
        };
        result.push(if least == i64::MIN { wrapped } else { i64::from(wrapped as i32) });
    }
    Ok(Some(result))
}
