//! Functions for the code that `accelerant::trace` writes. Not for use by hand.

use candle_core::{ModuleT, Tensor};

use super::layers::Forward;
use super::model::ModelOutputs;
use super::tensor_ops::TensorOps;
use super::traced::Traced;

pub use candle_core::Result;
pub use candle_nn;

/// A function that a forward calls by the path of one of candle_nn's is that function.
#[diagnostic::on_unimplemented(
    message = "this path is read as a function of candle_nn, but leads to one of your own",
    label = "not candle_nn's",
    note = "begin the path with `crate::`, `self::` or `super::`; a function of your own is exported \
            when it is under `#[accelerant::trace]`"
)]
pub trait OneFunction {}

impl<F> OneFunction for (F, F) {}

/// Compiles only where both are one function.
#[inline(always)]
pub fn is_candles<P: OneFunction>(_: P) {}

/// What can be a tensor `T`: candle's, as a known one, and `T` itself.
pub trait Lift<T> {
    /// The tensor.
    fn lift(&self) -> T;
}

impl Lift<Tensor> for Tensor {
    fn lift(&self) -> Tensor {
        self.clone()
    }
}

impl Lift<Traced> for Tensor {
    fn lift(&self) -> Traced {
        Traced::constant(self)
    }
}

impl Lift<Traced> for Traced {
    fn lift(&self) -> Traced {
        self.clone()
    }
}

impl<T, X: Lift<T> + ?Sized> Lift<T> for &X {
    fn lift(&self) -> T {
        (**self).lift()
    }
}

impl<T, X: Lift<T> + ?Sized> Lift<T> for std::sync::Arc<X> {
    fn lift(&self) -> T {
        (**self).lift()
    }
}

impl<T, X: Lift<T> + ?Sized> Lift<T> for Box<X> {
    fn lift(&self) -> T {
        (**self).lift()
    }
}

/// A tensor of a field, or one of the forward.
pub fn lift<T, X: Lift<T> + ?Sized>(tensor: &X) -> T {
    tensor.lift()
}

/// The same of a tensor that may not be there.
pub fn lift_optional<T, X: Lift<T> + ?Sized>(tensor: Option<&X>) -> Option<T> {
    tensor.map(Lift::lift)
}

/// A tensor that was made of sizes alone.
///
/// # Errors
/// That of the maker.
pub fn made<T: TensorOps, E>(made: std::result::Result<Tensor, E>) -> std::result::Result<T, E> {
    Ok(T::constant(&made?))
}

/// `Tensor::try_from`, of numbers alone.
///
/// # Errors
/// Candle's own.
pub fn try_from<T: TensorOps, X>(value: X) -> Result<T>
where
    Tensor: TryFrom<X, Error = candle_core::Error>,
{
    Ok(T::constant(&Tensor::try_from(value)?))
}

/// Runs a layer that a field of this name holds.
///
/// # Errors
/// The layer's own.
pub fn forward<M: Forward + ?Sized, T: TensorOps>(layer: &M, field: &str, xs: &T) -> Result<T> {
    within(field, xs, |xs| layer.forward(xs))
}

/// Runs what a layer does that a field of this name holds.
///
/// # Errors
/// The layer's own.
pub fn within<T: TensorOps>(field: &str, xs: &T, run: impl FnOnce(&T) -> Result<T>) -> Result<T> {
    if field.is_empty() { run(xs) } else { xs.scope(field, run) }
}

/// A layer that is told whether it is trained.
pub trait ForwardT: Forward + ModuleT {
    /// On candle's tensor, what the layer does; else its forward, which is not trained.
    ///
    /// # Errors
    /// The layer's own; when it is to be trained on a traced tensor.
    fn __forward_t<T: TensorOps>(&self, field: &str, xs: &T, train: bool) -> Result<T> {
        T::either(
            xs,
            |xs| ModuleT::forward_t(self, xs, train),
            |xs| match train {
                true => candle_core::bail!("a layer in training cannot be exported: {field:?}"),
                false => forward(self, field, xs),
            },
        )
    }
}

impl<M: Forward + ModuleT + ?Sized> ForwardT for M {}

/// The outputs of a model in their order.
pub fn outputs(outputs: impl ModelOutputs) -> Vec<Traced> {
    let mut list = Vec::new();
    outputs.push_to(&mut list);
    list
}
