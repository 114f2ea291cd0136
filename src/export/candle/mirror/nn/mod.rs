//! `candle_nn` over the traced tensor.

pub mod attention;
pub mod batch_norm;
mod builder;
mod closures;
pub mod kv_cache;
mod layers;
mod make;
pub mod moe;
pub mod ops;
pub mod rnn;

#[doc(no_inline)]
pub use candle_nn::*;

pub use super::core::{Module, ModuleT};
pub use batch_norm::BatchNorm;
pub use builder::VarBuilder;
pub use closures::{Func, FuncT, Sequential, func, func_t, seq};
pub use layers::{
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, GroupNorm, LayerNorm, Linear,
    PReLU, RmsNorm,
};
pub use make::{
    batch_norm, conv_transpose1d, conv_transpose1d_no_bias, conv_transpose2d,
    conv_transpose2d_no_bias, conv1d, conv1d_no_bias, conv2d, conv2d_no_bias, embedding,
    group_norm, layer_norm, layer_norm_no_bias, linear, linear_b, linear_no_bias, prelu, rms_norm,
};
pub use ops::Dropout;
pub use rnn::{GRU, LSTM, RNN, gru, lstm};

/// As [`candle_nn::sampling`].
pub mod sampling {
    pub use super::moe::gumbel_softmax;
}

/// As [`candle_nn::rotary_emb`].
pub mod rotary_emb {
    pub use super::ops::rotary::*;
}

/// Modules of candle_nn: what the mirror has, and the rest of those that have more.
macro_rules! modules {
    ($($module:ident $(+ $rest:ident)?: $($item:ident),+;)*) => {$(
        #[doc = concat!("As [`mod@candle_nn::", stringify!($module), "`].")]
        pub mod $module {
            $(pub use super::$item;)+
            $(
                #[doc(no_inline)]
                pub use candle_nn::$rest::*;
            )?
        }
    )*};
}

modules! {
    activation + activation: PReLU, prelu;
    conv + conv:
        Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, conv1d, conv1d_no_bias, conv2d,
        conv2d_no_bias, conv_transpose1d, conv_transpose1d_no_bias, conv_transpose2d,
        conv_transpose2d_no_bias;
    embedding: Embedding, embedding;
    func: Func, FuncT, func, func_t;
    group_norm: GroupNorm, group_norm;
    layer_norm + layer_norm: LayerNorm, RmsNorm, layer_norm, layer_norm_no_bias, rms_norm;
    linear: Linear, linear, linear_b, linear_no_bias;
    sequential: Sequential, seq;
    var_builder + var_builder: VarBuilder;
}
