//! Types and shapes of what recurrent layers give: all steps, and the last states.

use super::{Output, View, mismatch};
use crate::error::Result;
use crate::spec::Dim;

pub(super) fn recurrent(node: &View<'_>) -> Result<Vec<Output>> {
    if node.int("layout", 0) != 0 {
        return Err(mismatch("the batch is first; state the node's outputs".into()));
    }
    let (x, weights) = (node.input(0)?, node.input(2)?);
    let ([steps, batch, _], [directions, _, hidden]) = (x.dims(), weights.dims()) else {
        let text = format!("expected three axes, got {} and {}", x.shape, weights.shape);
        return Err(mismatch(text));
    };
    let of =
        |dims: &[&Dim]| (x.dtype, dims.iter().map(|&dim| dim.clone()).collect::<Vec<_>>().into());
    let state = of(&[directions, batch, hidden]);
    let mut outputs = vec![of(&[steps, directions, batch, hidden]), state.clone()];
    if node.op == "LSTM" {
        outputs.push(state);
    }
    Ok(outputs)
}
