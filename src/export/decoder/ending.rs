//! What all decoders end with: the state of the token that is asked for, and the choice of the next token.

use crate::error::Result;
use crate::export::graph::Value;

/// The states, `[b, 1, hidden]`, at the position `last`, `[b, 1]`, of those at `positions`, `[b, t]`.
pub(super) fn of_last(states: &Value, positions: &Value, last: Option<&Value>) -> Result<Value> {
    match last {
        // A sum of one row and zeros is that row.
        Some(last) => {
            let chosen = positions.equal(last)?.cast(states.dtype())?.unsqueeze(&[1])?;
            chosen.matmul(states)
        }
        None => Ok(states.clone()),
    }
}

/// Gives the outputs `next`, `next_position` and `logits`. `logits` is f32, `[b, vocabulary]`. `next` is the most likely
/// token, or -1 where its logit is NaN.
pub(super) fn give(logits: &Value, positions: &Value, last: Option<&Value>) -> Result<()> {
    let graph = logits.graph();
    let next = logits.arg("ArgMax", 1)?;
    let chosen = graph.node("GatherElements").input(logits).input(&next).attr("axis", 1i64);
    let chosen = chosen.outputs([(logits.dtype(), next.shape().clone())]).build()?;
    graph.output("next", &chosen.is_nan()?.select(&next.scalar_like(-1.0)?, &next)?)?;
    graph.output("next_position", &last.unwrap_or(positions).affine(1.0, 1.0)?)?;
    graph.output("logits", logits)
}
