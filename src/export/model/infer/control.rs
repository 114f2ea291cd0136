//! Branches and loops: their bodies are gone through with what is known around them.

use std::collections::HashMap;

use super::call::Call;
use super::condition::always_goes_on;
use super::fact::{Fact, Size};
use super::{Inference, Scope, stated};
use crate::error::Result;
use crate::export::onnx::GraphProto;

/// The most repetitions of a loop that never ends by itself: some seconds of the shortest body.
const MOST_TRIPS: i64 = 1 << 20;

/// What a node with bodies gives; `None` for one without.
pub(super) fn bodies(
    inference: &Inference<'_>,
    call: &Call<'_>,
    scope: &Scope<'_>,
) -> Result<Option<Vec<Fact>>> {
    let body = |name: &str| {
        call.node.attribute.iter().find(|a| a.name() == name).and_then(|a| a.g.as_ref())
    };
    match call.node.op_type() {
        "If" => {
            let (Some(yes), Some(no)) = (body("then_branch"), body("else_branch")) else {
                return call.fail("a branch is missing");
            };
            let yes = run(inference, yes, scope, |_, fact| fact);
            let no = run(inference, no, scope, |_, fact| fact);
            match (yes, no) {
                (Ok(yes), Ok(no)) => {
                    Ok(Some(yes.into_iter().zip(no).map(|(a, b)| either(a, b)).collect()))
                }
                (Ok(one), Err(_)) | (Err(_), Ok(one)) if !inference.both_branches => Ok(Some(one)),
                (Err(error), _) | (_, Err(error)) => Err(error),
            }
        }
        "Loop" => {
            let Some(graph) = body("body") else { return call.fail("`body` is missing") };
            endless(call, graph, scope)?;
            let given = run(inference, graph, scope, |i, fact| match i {
                // The number of the repetition, and whether to go on.
                0 | 1 => Fact { shape: None, ..fact },
                i => loop_state(fact, call.input(i)),
            })?;
            let states = call.node.input.len().saturating_sub(2);
            let turns = || turns(call, graph, scope).map_or(Size::Unknown, Size::Known);
            let facts = given.into_iter().skip(1).enumerate().map(|(i, fact)| match i < states {
                true => rank_alone(fact),
                false => scanned(fact, turns()),
            });
            Ok(Some(facts.collect()))
        }
        "Scan" => {
            let Some(graph) = body("body") else { return call.fail("`body` is missing") };
            let states = scan_states(call, graph)?;
            let given = run(inference, graph, scope, |_, fact| rank_alone(fact))?;
            let old = call.opset < 9;
            let axes = ["scan_input_axes", "scan_output_axes"];
            let is_first = !axes.iter().any(|name| call.has_attribute(name));
            let steps = || match call.shape(states).and_then(<[Size]>::first) {
                Some(Size::Known(steps)) if is_first => Size::Known(*steps),
                _ => Size::Unknown,
            };
            let facts = given.into_iter().enumerate().map(|(i, fact)| match (old, i < states) {
                (true, _) => Fact { shape: None, values: None, ..fact },
                (_, true) => rank_alone(fact),
                (_, false) => scanned(fact, steps()),
            });
            Ok(Some(facts.collect()))
        }
        "SequenceMap" => {
            Ok(Some(vec![Fact { other: true, ..Fact::default() }; call.node.output.len()]))
        }
        _ => Ok(None),
    }
}

fn run(
    inference: &Inference<'_>,
    body: &GraphProto,
    scope: &Scope<'_>,
    input: impl Fn(usize, Fact) -> Fact,
) -> Result<Vec<Fact>> {
    let mut inner = Scope { outer: Some(scope), facts: HashMap::new() };
    for (i, value) in body.input.iter().enumerate() {
        inner.facts.insert(value.name(), input(i, stated(value, false)));
    }
    inference.run(body, &mut inner)?;
    let given = body.output.iter().map(|output| inner.get(output.name()).cloned());
    Ok(given.map(Option::unwrap_or_default).collect())
}

/// What stays of a fact when a loop may change sizes and elements.
fn rank_alone(fact: Fact) -> Fact {
    let shape = fact.shape.map(|shape| vec![Size::Unknown; shape.len()]);
    Fact { shape, values: None, ..fact }
}

fn loop_state(stated: Fact, first: Option<&Fact>) -> Fact {
    let mut fact = rank_alone(stated);
    if let Some(first) = first {
        fact.other |= first.other;
        if fact.dtype == 0 {
            fact.dtype = first.dtype;
        }
    }
    fact
}

/// One more axis in front: all repetitions together. A size that is known of the body is that of every repetition.
fn scanned(fact: Fact, turns: Size) -> Fact {
    let known = |size: Size| if size.known().is_some() { size } else { Size::Unknown };
    let is_known = turns.known().is_some();
    let shape = fact.shape.map(|shape| match is_known {
        true => [turns].into_iter().chain(shape.into_iter().map(known)).collect(),
        false => vec![Size::Unknown; shape.len() + 1],
    });
    Fact { shape, values: None, ..fact }
}

/// How often a loop is repeated, where nothing but its count ends the loop.
fn turns(call: &Call<'_>, body: &GraphProto, scope: &Scope<'_>) -> Option<i64> {
    let &[turns] = call.ints(0)? else { return None };
    let begins = !call.has(1) || call.ints(1).is_some_and(|condition| condition == [1]);
    (begins && goes_on(body, scope)).then_some(turns.max(0))
}

/// Whether the condition stays true, by the body and by what is known around it.
fn goes_on(body: &GraphProto, scope: &Scope<'_>) -> bool {
    always_goes_on(body, |name| match scope.get(name)?.ints()? {
        &[value] => Some(value),
        _ => None,
    })
}

fn either(a: Fact, b: Fact) -> Fact {
    let shape = match (a.shape, b.shape) {
        (Some(a), Some(b)) if a.len() == b.len() => Some(
            a.into_iter().zip(b).map(|(a, b)| if a == b { a } else { Size::Unknown }).collect(),
        ),
        _ => None,
    };
    let dtype = if a.dtype == b.dtype { a.dtype } else { 0 };
    Fact { dtype, other: a.other || b.other, shape, values: None }
}

/// How many states a `Scan` carries on; its numbers must fit its body.
fn scan_states(call: &Call<'_>, body: &GraphProto) -> Result<usize> {
    // Before operator set 9, the first input is the lengths of the sequences.
    let given = call.node.input.len().saturating_sub(usize::from(call.opset < 9));
    let scans = call.int("num_scan_inputs").unwrap_or(0);
    let states = match usize::try_from(scans) {
        Ok(scans) if (1..=given).contains(&scans) => given - scans,
        _ => return call.fail(format!("`num_scan_inputs` is {scans}, of {given} inputs")),
    };
    let (inputs, outputs) = (body.input.len(), body.output.len());
    if inputs != given {
        return call.fail(format!("the body has {inputs} inputs, and the node {given}"));
    }
    let least = states.max(call.node.output.len());
    if outputs < least {
        return call.fail(format!("the body has {outputs} outputs, and must have {least} or more"));
    }
    let sides = [("input", given - states), ("output", outputs - states)];
    for (name, count) in sides.iter().flat_map(|(side, count)| {
        ["axes", "directions"].map(|list| (format!("scan_{side}_{list}"), *count))
    }) {
        if let Some(list) = call.list(&name).filter(|list| list.len() != count) {
            return call
                .fail(format!("`{name}` has {} elements, and must have {count}", list.len()));
        }
    }
    Ok(states)
}

/// Refuses a loop that goes on for ever, or as good as.
fn endless(call: &Call<'_>, body: &GraphProto, scope: &Scope<'_>) -> Result<()> {
    let trips = match call.has(0) {
        true => match call.ints(0) {
            Some(&[trips]) => trips,
            _ => return Ok(()),
        },
        false => i64::MAX,
    };
    let begins = !call.has(1) || call.ints(1).is_some_and(|condition| condition == [1]);
    if trips > MOST_TRIPS && begins && goes_on(body, scope) {
        return call.fail(format!("a loop of {trips} repetitions whose condition never changes"));
    }
    Ok(())
}
