//! The functions of `candle_nn::ops` and `candle_nn::rotary_emb` over any tensor of a forward,
//! under the same names.

use candle_core::shape::Dim;
use candle_core::{D, Result};

use super::tensor_ops::TensorOps;

macro_rules! functions {
    ($module:ident: $($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[doc = concat!("As [`candle_nn::", stringify!($module), "::", stringify!($name), "`].")]
        ///
        /// # Errors
        /// Candle's own.
        pub fn $name<T: TensorOps>(xs: &T $(, $arg: $type)*) -> Result<T> {
            xs.$name($($arg),*)
        }
    )*};
}

functions! { ops:
    hard_sigmoid();
    layer_norm(alpha: &T, beta: &T, eps: f32);
    leaky_relu(negative_slope: f64);
    mish();
    pixel_shuffle(upscale_factor: usize);
    pixel_unshuffle(downscale_factor: usize);
    replication_pad2d(pad: usize);
    rms_norm(alpha: &T, eps: f32);
    selu(alpha: f32, gamma: f32);
    sigmoid();
    silu();
    softmax_last_dim();
    swiglu();
}

functions! { rotary_emb:
    rope(cos: &T, sin: &T);
    rope_i(cos: &T, sin: &T);
    rope_thd(cos: &T, sin: &T);
}

/// As [`candle_nn::ops::softmax`].
///
/// # Errors
/// Candle's own.
pub fn softmax<T: TensorOps, D: Dim>(xs: &T, dim: D) -> Result<T> {
    xs.softmax(dim)
}

/// As [`candle_nn::ops::log_softmax`].
///
/// # Errors
/// Candle's own.
pub fn log_softmax<T: TensorOps, D: Dim>(xs: &T, dim: D) -> Result<T> {
    xs.log_softmax(dim)
}

/// Scaled dot-product attention, as [`candle_nn::ops::sdpa`] defines attention. Candle's own function runs on Metal only, and
/// this function runs everywhere.
///
/// - `q`: `[batch, heads, length, width]`; `k`: `[batch, kv_heads, kv_length, width]`; `v`:
///   `[batch, kv_heads, kv_length, v_width]`, where `kv_heads` divides `heads`.
/// - `mask` is added to the scores and broadcasts to `[batch, heads, length, kv_length]`.
/// - `do_causal`: the last query sees all keys, and each query before sees one key less.
/// - `softcapping` other than 1 bounds the scores: `softcapping * tanh(scores / softcapping)`.
///
/// Gives `[batch, heads, length, v_width]`.
///
/// # Errors
/// When shapes or types do not fit, and when `do_causal` is set with fewer keys than queries.
pub fn sdpa<T: TensorOps>(
    q: &T,
    k: &T,
    v: &T,
    mask: Option<&T>,
    do_causal: bool,
    scale: f32,
    softcapping: f32,
) -> Result<T> {
    let (batch, heads, length, width) = q.dims4()?;
    let (_, kv_heads, kv_length, _) = k.dims4()?;
    let (_, v_heads, _, v_width) = v.dims4()?;
    if kv_heads == 0 || kv_heads != v_heads || heads % kv_heads != 0 {
        candle_core::bail!("sdpa: {heads} query heads, {kv_heads} key heads, {v_heads} value heads")
    }
    // Queries that share keys are rows of one product.
    let rows = heads / kv_heads * length;
    let q = q.affine(f64::from(scale), 0.0)?.reshape((batch, kv_heads, rows, width))?;
    let scores = q.matmul(&k.contiguous()?.t()?)?.reshape((batch, heads, length, kv_length))?;
    let cap = f64::from(softcapping);
    let mut scores = match cap == 1.0 {
        true => scores,
        false => scores.affine(1.0 / cap, 0.0)?.tanh()?.affine(cap, 0.0)?,
    };
    if do_causal {
        if length > kv_length {
            candle_core::bail!("sdpa: causal, with {length} queries for {kv_length} keys")
        }
        let keys = T::arange(0u32, kv_length as u32, scores.device())?;
        let last = keys.narrow(0, kv_length - length, length)?;
        let hidden = keys.unsqueeze(0)?.broadcast_gt(&last.unsqueeze(1)?)?;
        let hidden = hidden.broadcast_as(scores.shape())?;
        // Each query sees a key at least.
        let lowest = scores.zeros_like()?.affine(1.0, f64::NEG_INFINITY)?;
        scores = hidden.where_cond(&lowest, &scores)?;
    }
    if let Some(mask) = mask {
        scores = scores.broadcast_add(mask)?;
    }
    let weights = scores.softmax(D::Minus1)?.reshape((batch, kv_heads, rows, kv_length))?;
    weights.matmul(&v.contiguous()?)?.reshape((batch, heads, length, v_width))
}
