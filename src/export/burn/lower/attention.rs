//! Scaled dot-product attention by its parts, in Burn's order.

use ::burn::backend::ir::AttentionOpIr;

use super::{Lowering, number, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// softmax(cap(q kᵗ scale), masked, + bias) v, for tensors `[batch, heads, length, width]`.
    ///
    /// What is hidden, by the mask or by a bias of -∞, has no weight, and a row of which all is hidden gives zeros,
    /// as Burn's does: the weights of its softmax, which are no numbers, are cleared.
    pub(super) fn attention(&mut self, op: &AttentionOpIr) -> Result<Value> {
        let (query, key, value) =
            (self.value(&op.query)?, self.value(&op.key)?, self.value(&op.value)?);
        let (key, value) = (self.of_heads(&key, &query)?, self.of_heads(&value, &query)?);
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
        let hidden = scores.scalar_like(f64::NEG_INFINITY)?;
        if let Some(mask) = &mask {
            scores = mask.select(&hidden, &scores)?;
        }
        if let Some(bias) = &op.attn_bias {
            scores = scores.add(&self.value(bias)?)?;
        }
        let mut weights = scores.softmax(-1)?;
        if mask.is_some() || op.attn_bias.is_some() {
            weights = scores.equal(&hidden)?.select(&weights.scalar_like(0.0)?, &weights)?;
        }
        weights.matmul(&value)
    }

    /// Keys or values with as many heads as the queries, of which groups share one.
    fn of_heads(&self, x: &Value, query: &Value) -> Result<Value> {
        let (Some(shared), Some(heads)) = (x.dims()[1].fixed(), query.dims()[1].fixed()) else {
            return Ok(x.clone());
        };
        if shared == heads {
            return Ok(x.clone());
        }
        let places = (0..heads).map(|head| (head * shared / heads) as i64).collect();
        let places = HostTensor::from_vec([heads], places)?;
        x.gather(&self.graph.constant("heads", places), 1)
    }
}
