//! `candle_core` over the traced tensor.

pub use super::streaming::{self, StreamTensor, StreamingBinOp, StreamingModule};
pub use crate::export::candle::traced::Traced as Tensor;
#[doc(no_inline)]
pub use candle_core::Result;
#[doc(no_inline)]
pub use candle_core::*;

/// As [`candle_core::Module`].
pub trait Module {
    /// Runs on `xs`.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn forward(&self, xs: &Tensor) -> Result<Tensor>;
}

/// As [`candle_core::ModuleT`].
pub trait ModuleT {
    /// Runs on `xs`; in training other than in inference.
    ///
    /// # Errors
    /// Candle's own, such as shapes that do not fit.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor>;
}

impl<F: Fn(&Tensor) -> Result<Tensor>> Module for F {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self(xs)
    }
}

impl<M: Module> Module for Option<&M> {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.map_or_else(|| Ok(xs.clone()), |layer| layer.forward(xs))
    }
}

impl<M: Module> ModuleT for M {
    fn forward_t(&self, xs: &Tensor, _: bool) -> Result<Tensor> {
        self.forward(xs)
    }
}

impl Module for candle_core::quantized::QMatMul {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        crate::export::candle::layers::Forward::forward(self, xs)
    }
}
