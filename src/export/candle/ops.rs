//! The functions of `candle_nn::ops` over any tensor of a forward, under the same names.

use candle_core::Result;
use candle_core::shape::Dim;

use super::tensor_ops::TensorOps;

macro_rules! functions {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[doc = concat!("As [`candle_nn::ops::", stringify!($name), "`].")]
        ///
        /// # Errors
        /// Candle's own.
        pub fn $name<T: TensorOps>(xs: &T $(, $arg: $type)*) -> Result<T> {
            xs.$name($($arg),*)
        }
    )*};
}

functions! {
    hard_sigmoid();
    leaky_relu(negative_slope: f64);
    mish();
    sigmoid();
    silu();
    softmax_last_dim();
    swiglu();
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
