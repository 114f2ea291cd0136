//! Scaled dot-product attention by its parts, in Burn's order.

use ::burn::backend::ir::AttentionOpIr;

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::Value;

impl Lowering<'_> {
    /// softmax(cap(q kᵗ scale), masked, + bias) v, for tensors `[batch, heads, length, width]`.
    ///
    /// A row that is masked whole gives zeros, as Burn's does: the mask is a large negative
    /// number, under which exp is 0, and the weights of masked positions are cleared afterwards.
    pub(super) fn attention(&mut self, op: &AttentionOpIr) -> Result<Value> {
        let (query, key, value) =
            (self.value(&op.query)?, self.value(&op.key)?, self.value(&op.value)?);
        let Some(width) = query.dims()[3].fixed() else {
            return Err(unsupported("the width of the heads is dynamic"));
        };
        let scale = match &op.options.scale {
            Some(scale) => number(scale)?,
            None => 1.0 / (width as f64).sqrt(),
        };
        let mut scores = query.matmul(&key.transpose(&[0, 1, 3, 2])?)?.affine(scale, 0.0)?;
        if let Some(cap) = &op.options.softcap {
            let cap = number(cap)?;
            scores = scores.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)?;
        }
        let mut mask = op.mask.as_ref().map(|mask| self.value(mask)).transpose()?;
        if op.options.is_causal {
            let causal = self.causal_mask(&scores)?;
            mask = Some(match mask {
                Some(mask) => mask.or(&causal)?,
                None => causal,
            });
        }
        if let Some(mask) = &mask {
            // The largest round number that a 16-bit float can hold.
            scores = mask.select(&scores.scalar_like(-6e4)?, &scores)?;
        }
        if let Some(bias) = &op.attn_bias {
            scores = scores.add(&self.value(bias)?)?;
        }
        let mut weights = scores.softmax(-1)?;
        if let Some(mask) = &mask {
            weights = mask.select(&weights.scalar_like(0.0)?, &weights)?;
        }
        weights.matmul(&value)
    }
}
