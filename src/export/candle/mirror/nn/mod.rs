//! `candle_nn` over the traced tensor.

mod builder;
mod closures;
pub mod kv_cache;
mod layers;
mod make;
pub mod ops;
pub mod rnn;

#[doc(no_inline)]
pub use candle_nn::*;

pub use super::core::{Module, ModuleT};
pub use builder::VarBuilder;
pub use closures::{Func, FuncT, Sequential, func, func_t, seq};
pub use layers::{
    BatchNorm, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, GroupNorm, LayerNorm,
    Linear, PReLU, RmsNorm,
};
pub use make::{
    batch_norm, conv_transpose1d, conv_transpose1d_no_bias, conv_transpose2d,
    conv_transpose2d_no_bias, conv1d, conv1d_no_bias, conv2d, conv2d_no_bias, embedding,
    group_norm, layer_norm, layer_norm_no_bias, linear, linear_b, linear_no_bias, prelu, rms_norm,
};
pub use ops::Dropout;
pub use rnn::{GRU, LSTM, RNN, gru, lstm};

/// As [`candle_nn::rotary_emb`].
pub mod rotary_emb {
    pub use super::ops::rotary::*;
}

/// As [`candle_nn::conv`].
pub mod conv {
    pub use super::layers::{Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d};
    pub use super::make::{conv1d, conv1d_no_bias, conv2d, conv2d_no_bias};
    pub use candle_nn::conv::*;
}
