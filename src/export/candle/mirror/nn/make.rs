//! candle_nn's constructors of layers, from a builder of the mirror.

use candle_core::Result;
use candle_nn::{
    BatchNormConfig, Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
    LayerNormConfig,
};

use super::batch_norm::BatchNorm;
use super::builder::VarBuilder;
use super::layers::{
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Embedding, GroupNorm, LayerNorm, Linear,
    PReLU, RmsNorm,
};

macro_rules! make {
    ($($name:ident $(<C: Into<$config:ident>>)? ($($arg:ident: $ty:ty),*) -> $layer:ident;)*) => {$(
        #[doc = concat!("As [`candle_nn::", stringify!($name), "`](fn@candle_nn::", stringify!($name), ").")]
        ///
        /// # Errors
        /// Those of the builder.
        pub fn $name $(<C: Into<$config>>)? ($($arg: $ty,)* vb: VarBuilder<'_>) -> Result<$layer> {
            candle_nn::$name($($arg,)* vb.0).map($layer::from)
        }
    )*};
}

make! {
    linear(in_dim: usize, out_dim: usize) -> Linear;
    linear_no_bias(in_dim: usize, out_dim: usize) -> Linear;
    linear_b(in_dim: usize, out_dim: usize, bias: bool) -> Linear;
    embedding(in_size: usize, out_size: usize) -> Embedding;
    layer_norm<C: Into<LayerNormConfig>>(size: usize, config: C) -> LayerNorm;
    layer_norm_no_bias(size: usize, eps: f64) -> LayerNorm;
    rms_norm(size: usize, eps: f64) -> RmsNorm;
    batch_norm<C: Into<BatchNormConfig>>(num_features: usize, config: C) -> BatchNorm;
    prelu(num_channels: Option<usize>) -> PReLU;
    conv1d(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: Conv1dConfig) -> Conv1d;
    conv1d_no_bias(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: Conv1dConfig) -> Conv1d;
    conv2d(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: Conv2dConfig) -> Conv2d;
    conv2d_no_bias(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: Conv2dConfig) -> Conv2d;
    conv_transpose1d(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: ConvTranspose1dConfig) -> ConvTranspose1d;
    conv_transpose1d_no_bias(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: ConvTranspose1dConfig) -> ConvTranspose1d;
    conv_transpose2d(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: ConvTranspose2dConfig) -> ConvTranspose2d;
    conv_transpose2d_no_bias(in_channels: usize, out_channels: usize, kernel_size: usize, cfg: ConvTranspose2dConfig) -> ConvTranspose2d;
}

/// As [`candle_nn::group_norm`](fn@candle_nn::group_norm).
///
/// # Errors
/// Those of the builder; when `num_groups` does not divide `num_channels`.
pub fn group_norm(
    num_groups: usize,
    num_channels: usize,
    eps: f64,
    vb: VarBuilder<'_>,
) -> Result<GroupNorm> {
    crate::export::candle::layers::group_norm(num_groups, num_channels, eps, vb.0)
        .map(GroupNorm::from)
}
