//! The bytes of values that are alive while a plan runs, where sizes are not known before. Knows no models.

use std::collections::HashSet;

use tract_onnx::prelude::{
    IntoArcTensor as _, Symbol, TValue, TVec, TypedFact, TypedModel, TypedNode,
};

use crate::error::{ErrorKind, Result};
use crate::export::{Peak, too_much};

/// Tensors of more elements do not decide sizes.
const MOST_SIZES: usize = 1 << 12;

/// The nodes whose results have sizes that only the values of a run decide, by their numbers.
pub(super) fn decided_by_values(model: &TypedModel) -> Vec<bool> {
    let symbols = |fact: &TypedFact| -> HashSet<Symbol> {
        fact.shape.iter().flat_map(|size| size.symbols()).collect()
    };
    let inputs = (0..model.inputs.len()).filter_map(|i| model.input_fact(i).ok());
    let known: HashSet<Symbol> = inputs.flat_map(symbols).collect();
    let is_open =
        |node: &TypedNode| node.outputs.iter().any(|made| !symbols(&made.fact).is_subset(&known));
    model.nodes.iter().map(is_open).collect()
}

/// What is alive of the values of a run.
pub(super) struct Alive {
    most: u64,
    bytes: u64,
    /// For each node, how many inputs of others still read it, and the bytes that it made.
    values: Vec<(usize, u64)>,
}

impl Alive {
    pub(super) fn new(model: &TypedModel, most: u64) -> Self {
        let readers = |node: &TypedNode| -> usize {
            node.outputs.iter().map(|made| made.successors.len()).sum()
        };
        let values = model.nodes.iter().map(|node| (readers(node), 0)).collect();
        Self { most, bytes: 0, values }
    }

    /// A node whose values decide sizes comes next, with these inputs.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the node when its results would be more than may be.
    pub(super) fn expect_room(&self, node: &TypedNode, inputs: &[TValue]) -> Result<()> {
        let fact = |value: &TValue| match value.len() <= MOST_SIZES {
            true => TypedFact::try_from(value.clone().into_arc_tensor()).ok(),
            false => Some(TypedFact::shape_and_dt_of(value)),
        };
        let Some(facts) = inputs.iter().map(fact).collect::<Option<TVec<_>>>() else {
            return Ok(());
        };
        let facts: TVec<&TypedFact> = facts.iter().collect();
        // What it does not take is an error of the run.
        let Ok(made) = node.op.output_facts(&facts) else { return Ok(()) };
        let size = |fact: &TypedFact| {
            let sizes = fact.shape.as_concrete()?.iter();
            let of = fact.datum_type.size_of() as u64;
            Some(sizes.fold(of, |bytes, &size| bytes.saturating_mul(size as u64)))
        };
        let made = made.iter().filter_map(size).fold(self.bytes, u64::saturating_add);
        self.expect(node, made)
    }

    fn expect(&self, node: &TypedNode, bytes: u64) -> Result<()> {
        if bytes <= self.most {
            return Ok(());
        }
        let operation = format!("node `{}`", node.name);
        let peak = Peak { bytes, operation, tensor: String::new() };
        Err(too_much(ErrorKind::Execution, &peak, self.most))
    }

    /// A node has made these values.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the node when more is alive than may be.
    pub(super) fn made(&mut self, node: &TypedNode, outputs: &[TValue]) -> Result<()> {
        let size = |value: &TValue| (value.len() * value.datum_type().size_of()) as u64;
        // The inputs are the caller's.
        let made: u64 = if node.inputs.is_empty() { 0 } else { outputs.iter().map(size).sum() };
        self.values[node.id].1 = made;
        self.bytes = self.bytes.saturating_add(made);
        self.expect(node, self.bytes)?;
        for input in &node.inputs {
            let (readers, bytes) = &mut self.values[input.node];
            *readers = readers.saturating_sub(1);
            if *readers == 0 {
                self.bytes -= std::mem::take(bytes);
            }
        }
        Ok(())
    }
}
