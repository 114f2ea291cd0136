//! Layers of candle_nn in a forward: the trait they share with models. How each is recorded as one
//! step is in `record`; running them is candle's own work. Layers that candle_nn keeps closed are
//! here once more, with its constructors.

mod group_norm;
mod record;
mod recurrent;
mod sequential;

use std::{rc::Rc, sync::Arc};

use candle_core::Result;
use candle_core::quantized::QMatMul;
use candle_nn::ops::Identity;
use candle_nn::{
    Activation, BatchNorm, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Dropout, Embedding,
    LayerNorm, Linear, PReLU, RmsNorm,
};

use super::tensor_ops::TensorOps;

pub use group_norm::{GroupNorm, group_norm};
pub(super) use record::{record, record_sequence};
pub(super) use recurrent::Cell;
pub use recurrent::{GRU, GRUState, LSTM, LSTMState, RNN, Sequence, gru, lstm};
pub use sequential::{Func, FuncT, Sequential, func, func_t, seq};

/// A model or layer with a forward that is written once, for running and for exporting.
///
/// ```
/// use accelerant::candle::{Forward, TensorOps};
/// use candle_core::Result;
/// use candle_nn::{Conv2d, Linear};
///
/// struct Net {
///     conv: Conv2d,
///     head: Linear,
/// }
///
/// impl Forward for Net {
///     fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
///         let xs = self.conv.forward(xs)?.relu()?.max_pool2d(2)?;
///         self.head.forward(&xs.flatten_from(1)?)
///     }
/// }
/// ```
///
/// The layers of candle_nn with readable parameters have this trait. [`BatchNorm`] and [`Dropout`] do what they do in
/// inference.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exported: it does not implement `Forward`",
    label = "this layer is not known",
    note = "put `#[accelerant::trace]` on its `impl Module`, or on its inherent impl if that has a \
            `forward` of one tensor with one result; for `candle_nn::Sequential`, `Func` and \
            `GroupNorm`, use those of `accelerant::candle`"
)]
pub trait Forward {
    /// Runs on `xs`.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T>;

    /// The name of the input of an export, which [`trace`](crate::trace) takes from the argument.
    fn input_name(&self) -> Option<&str> {
        None
    }

    /// Runs on `xs` as [`candle_core::ModuleT`] does in inference.
    ///
    /// # Errors
    /// Those of [`forward`](Self::forward); always when `train`.
    fn forward_t<T: TensorOps>(&self, xs: &T, train: bool) -> Result<T> {
        if train {
            candle_core::bail!(
                "forward_t: a forward over TensorOps is for inference; train with candle's ModuleT"
            )
        }
        self.forward(xs)
    }
}

/// A layer of candle_nn, for [`TensorOps::layer`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum NnLayer<'a> {
    /// An activation function.
    Activation(&'a Activation),
    /// Batch normalization with its running mean and variance.
    BatchNorm(&'a BatchNorm),
    /// A convolution of `[batch, channels, length]`.
    Conv1d(&'a Conv1d),
    /// A convolution of `[batch, channels, height, width]`.
    Conv2d(&'a Conv2d),
    /// A transposed convolution of `[batch, channels, length]`.
    ConvTranspose1d(&'a ConvTranspose1d),
    /// A transposed convolution of `[batch, channels, height, width]`.
    ConvTranspose2d(&'a ConvTranspose2d),
    /// Rows of a table by index.
    Embedding(&'a Embedding),
    /// Normalization of groups of channels.
    GroupNorm(&'a GroupNorm),
    /// Layer normalization along the last axis.
    LayerNorm(&'a LayerNorm),
    /// A fully connected layer.
    Linear(&'a Linear),
    /// The rectifier with a learned slope.
    PReLU(&'a PReLU),
    /// A product with a weight that may be quantized. A quantized weight runs, and is not exported.
    QMatMul(&'a QMatMul),
    /// Root mean square normalization along the last axis.
    RmsNorm(&'a RmsNorm),
}

macro_rules! forward_for {
    ($($layer:ident),*) => {$(
        impl Forward for $layer {
            fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
                T::layer(NnLayer::$layer(self), xs)
            }
        }
    )*};
}

forward_for!(
    Activation,
    BatchNorm,
    Conv1d,
    Conv2d,
    ConvTranspose1d,
    ConvTranspose2d,
    Embedding,
    GroupNorm,
    LayerNorm,
    Linear,
    PReLU,
    QMatMul,
    RmsNorm
);

impl Forward for Identity {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        Ok(xs.clone())
    }
}

impl Forward for Dropout {
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        Ok(xs.clone())
    }
}

macro_rules! forward_through {
    ($($pointer:ty),*) => {$(
        impl<M: Forward> Forward for $pointer {
            fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
                (**self).forward(xs)
            }

            fn input_name(&self) -> Option<&str> {
                (**self).input_name()
            }
        }
    )*};
}

// Candle's models share layers, and method calls see through these.
forward_through!(&M, Arc<M>, Box<M>, Rc<M>);

impl<M: Forward> Forward for Option<M> {
    /// `None` gives its input back.
    fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
        self.as_ref().map_or_else(|| Ok(xs.clone()), |layer| layer.forward(xs))
    }

    fn input_name(&self) -> Option<&str> {
        self.as_ref().and_then(Forward::input_name)
    }
}
