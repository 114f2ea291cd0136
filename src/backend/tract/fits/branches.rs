//! What the sizes inside the branches of an `If` have to fit, which is looked at when a run takes the branch.

use std::collections::HashMap;

use tract_onnx::prelude::{SymbolValues, TValue, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::logic::IfThenElse;

use super::{Conditions, Fit, Open, wrong};
use crate::error::Result;

/// By the numbers of the nodes, for the branches `then` and `else`. A text says why they are not known.
pub(in crate::backend::tract) struct Branches(HashMap<usize, [Found; 2]>);

type Found = std::result::Result<Vec<Fit>, String>;

impl Branches {
    pub(in crate::backend::tract) fn of(model: &TypedModel) -> Self {
        let found = |body: &TypedModel| -> Found {
            let mut conditions = Conditions::default();
            let done = conditions.of(body);
            done.map(|()| conditions.all).map_err(|cause| cause.to_string())
        };
        let branches = model.nodes.iter().filter_map(|node| {
            let op = node.op_as::<IfThenElse>()?;
            Some((node.id, [found(&op.then_body), found(&op.else_body)]))
        });
        Self(branches.collect())
    }

    /// Looks at the conditions of the branch that a node takes.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`](crate::ErrorKind::Execution) with the node.
    pub(in crate::backend::tract) fn expect(
        &self,
        node: &TypedNode,
        sizes: &SymbolValues,
        inputs: &[TValue],
    ) -> Result<()> {
        let Some([then, other]) = self.0.get(&node.id) else { return Ok(()) };
        let taken = inputs.first().and_then(|taken| taken.cast_to_scalar::<bool>().ok());
        match taken.map(|taken| if taken { then } else { other }) {
            Some(Ok(fits)) => Open::new(fits).expect(sizes),
            Some(Err(cause)) => {
                Err(wrong(node, format!("the sizes of this branch are not known: {cause}")))
            }
            None => Ok(()),
        }
    }
}
