//! `candle_nn::attention`: Candle's attention on the CPU, as products and a softmax.

use candle_core::{Result, WithDType};
use num_traits::Float;

use crate::export::candle::ops::sdpa;
use crate::export::candle::tensor_ops::TensorOps as _;
use crate::export::candle::traced::Traced;

#[doc(no_inline)]
pub use candle_nn::attention::*;

/// As [`candle_nn::attention::AttnMask`].
#[derive(Clone, Debug, Default)]
pub enum AttnMask {
    /// Every query sees every key.
    #[default]
    None,
    /// No query sees a key behind it.
    Causal {
        /// The keys before the first query.
        kv_offset: usize,
    },
    /// What is added to the scores.
    Mask(Traced),
}

impl AttnMask {
    /// Causal, where the first query belongs to the first key.
    pub fn causal() -> Self {
        Self::Causal { kv_offset: 0 }
    }

    /// Causal, with keys before the first query.
    pub fn causal_with_offset(kv_offset: usize) -> Self {
        Self::Causal { kv_offset }
    }

    /// Whether no query sees a key behind it.
    pub fn is_causal(&self) -> bool {
        matches!(self, Self::Causal { .. })
    }

    /// The keys before the first query.
    pub fn kv_offset(&self) -> usize {
        match self {
            Self::Causal { kv_offset } => *kv_offset,
            _ => 0,
        }
    }
}

/// As [`candle_nn::attention::flash_attn`]: `[batch, length, heads, width]` in, and
/// `[batch, heads, length, width]` out.
///
/// # Errors
/// When shapes or types do not fit, and for a `max_bias`.
pub fn flash_attn<T: WithDType + Float>(
    q: &Traced,
    k: &Traced,
    v: &Traced,
    softmax_scale: f32,
    attn_mask: AttnMask,
    max_bias: Option<f32>,
    softcap: Option<f32>,
) -> Result<Traced> {
    if let (Some(q), Some(k), Some(v)) = (q.known(), k.known(), v.known()) {
        use candle_nn::attention::AttnMask as Candle;
        let mask = match attn_mask {
            AttnMask::None => Candle::None,
            AttnMask::Causal { kv_offset } => Candle::Causal { kv_offset },
            AttnMask::Mask(mask) => Candle::Mask(mask.into_tensor()?),
        };
        let of = candle_nn::attention::flash_attn::<T>;
        return of(q, k, v, softmax_scale, mask, max_bias, softcap).map(Traced::from_tensor);
    }
    if max_bias.is_some_and(|bias| bias > 0.0) {
        candle_core::bail!("flash_attn: a bias by distance (ALiBi) has no form in ONNX here")
    }
    let (q, k, v) = (q.transpose(1, 2)?, k.transpose(1, 2)?, v.transpose(1, 2)?);
    let (length, keys) = (q.dim(2)?, k.dim(2)?);
    let is_causal = match &attn_mask {
        AttnMask::Causal { kv_offset } if kv_offset + length != keys => {
            candle_core::bail!("flash_attn: {length} queries after {kv_offset}, of {keys} keys")
        }
        mask => mask.is_causal(),
    };
    let mask = match &attn_mask {
        AttnMask::Mask(mask) => Some(mask),
        _ => None,
    };
    sdpa(&q, &k, &v, mask, is_causal, softmax_scale, softcap.unwrap_or(1.0))
}
