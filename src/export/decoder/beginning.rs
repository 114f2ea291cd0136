//! What all decoders begin with: the tokens of a pass and their positions.

use super::{DecoderOptions, Tokens};
use crate::error::Result;
use crate::export::graph::{GraphBuilder, Value};
use crate::spec::{DType, Dim};

/// The inputs of a pass beside the caches.
pub(super) struct Inputs {
    /// `[b, t]`
    pub(super) tokens: Value,
    /// `[b, t]`
    pub(super) positions: Value,
    /// The position of the token whose logits are asked for, `[b, 1]`; none where a pass has one token.
    pub(super) last: Option<Value>,
}

impl Inputs {
    pub(super) fn declare(graph: &GraphBuilder, options: &DecoderOptions) -> Result<Self> {
        let batch = options.texts()?;
        let count = match options.tokens {
            Tokens::Fixed(count) => Dim::from(count),
            Tokens::UpTo(most) => Dim::dynamic("tokens", 1..=most)?,
        };
        let tokens = graph.input("tokens", DType::I64, [batch.clone(), count.clone()])?;
        let positions = graph.input("positions", DType::I64, [batch.clone(), count.clone()])?;
        if batch.fixed().is_none() && count.fixed().is_none() {
            // A product has rows of both, which are two sizes again behind it.
            for size in [&batch, &count] {
                graph.define(size, &graph.shape_tensor(std::slice::from_ref(size), &[&tokens])?);
            }
        }
        let last = match count.fixed() {
            Some(1) => None,
            _ => Some(graph.input("last", DType::I64, [batch, 1.into()])?),
        };
        Ok(Self { tokens, positions, last })
    }
}
