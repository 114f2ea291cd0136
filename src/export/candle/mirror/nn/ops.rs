//! Functions of `candle_nn::ops`, `candle_nn::rotary_emb` and the like.

use candle_core::Result;

use crate::export::candle::layers::Forward;
use crate::export::candle::tensor_ops::TensorOps;
use crate::export::candle::traced::Traced;

#[doc(no_inline)]
pub use crate::export::candle::ops::{
    hard_sigmoid, layer_norm, leaky_relu, log_softmax, mish, pixel_shuffle, pixel_unshuffle,
    replication_pad2d, rms_norm, sdpa, selu, sigmoid, silu, softmax, softmax_last_dim, swiglu,
};
#[doc(no_inline)]
pub use candle_nn::ops::Identity;

pub(super) mod rotary {
    #[doc(no_inline)]
    pub use crate::export::candle::ops::{
        rope, rope as rope_slow, rope_i, rope_i as rope_i_slow, rope_thd,
    };
}

/// As [`candle_nn::ops::layer_norm_slow`].
///
/// # Errors
/// Candle's own.
pub fn layer_norm_slow(x: &Traced, alpha: &Traced, beta: &Traced, eps: f32) -> Result<Traced> {
    TensorOps::layer_norm(x, alpha, beta, eps)
}

/// As [`candle_nn::ops::rms_norm_slow`].
///
/// # Errors
/// Candle's own.
pub fn rms_norm_slow(x: &Traced, alpha: &Traced, eps: f32) -> Result<Traced> {
    TensorOps::rms_norm(x, alpha, eps)
}

/// As [`candle_nn::ops::dropout`], without training.
///
/// # Errors
/// None.
pub fn dropout(xs: &Traced, _drop_p: f32) -> Result<Traced> {
    Ok(xs.clone())
}

/// The methods of layers that candle has beside `Module`'s.
macro_rules! modules {
    ($($layer:ty),*) => {$(
        impl super::Module for $layer {
            fn forward(&self, xs: &Traced) -> Result<Traced> {
                Forward::forward(self, xs)
            }
        }
    )*};
}

modules!(candle_nn::Activation, Identity);

/// As [`candle_nn::Dropout`], which does nothing in inference.
#[derive(Clone, Debug)]
pub struct Dropout(());

impl Dropout {
    /// A layer that would drop this part of the values in training.
    pub fn new(_drop_p: f32) -> Self {
        Self(())
    }

    /// Gives its input back.
    ///
    /// # Errors
    /// When it is trained.
    pub fn forward(&self, xs: &Traced, train: bool) -> Result<Traced> {
        match train {
            true => candle_core::bail!("dropout in training cannot be exported"),
            false => Ok(xs.clone()),
        }
    }
}

impl super::ModuleT for Dropout {
    fn forward_t(&self, xs: &Traced, train: bool) -> Result<Traced> {
        self.forward(xs, train)
    }
}
