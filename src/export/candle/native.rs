//! [`TensorOps`] for candle's own tensor: each method is candle's of the same name.

use std::ops::RangeBounds;

use candle_core::conv::CudnnFwdAlgo;
use candle_core::scalar::{TensorOrScalar, TensorScalar};
use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{
    DType, Device, Module, ModuleT, NdArray, Result, Shape, Tensor, ToUsize2, WithDType,
};

use super::layers::{Cell, NnLayer, Sequence};
use super::methods::{
    candle_functions, candle_host_methods, candle_methods, delegate_functions, delegate_methods,
};
use super::tensor_ops::{Operand, Right, TensorOps};
use super::traced::Traced;

/// A right-hand side as candle's own methods take it.
struct Candles<R>(R);

impl<R: Operand<Tensor>> TensorOrScalar for Candles<R> {
    #[inline]
    fn to_tensor_scalar(self) -> Result<TensorScalar> {
        Ok(match self.0.operand()? {
            Right::Tensor(tensor) => TensorScalar::Tensor(tensor),
            Right::Number(number) => TensorScalar::Scalar(number),
        })
    }
}

macro_rules! delegate_operand {
    ($($name:ident)*) => {$(
        #[inline]
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            Tensor::$name(self, Candles(rhs))
        }
    )*};
}

macro_rules! delegate_nn {
    ($module:ident: $($name:ident $(<$g:ident: $bound:path>)? ($($arg:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $name $(<$g: $bound>)? (&self $(, $arg: $type)*) -> Result<Self> {
            candle_nn::$module::$name(self $(, $arg)*)
        }
    )*};
}

impl TensorOps for Tensor {
    fn constant(tensor: &Tensor) -> Self {
        tensor.clone()
    }

    #[inline]
    fn layer(layer: NnLayer<'_>, xs: &Self) -> Result<Self> {
        match layer {
            NnLayer::Activation(layer) => layer.forward(xs),
            NnLayer::BatchNorm(layer) => layer.forward_t(xs, false),
            NnLayer::Conv1d(layer) => layer.forward(xs),
            NnLayer::Conv2d(layer) => layer.forward(xs),
            NnLayer::ConvTranspose1d(layer) => layer.forward(xs),
            NnLayer::ConvTranspose2d(layer) => layer.forward(xs),
            NnLayer::Embedding(layer) => layer.forward(xs),
            NnLayer::GroupNorm(layer) => layer.forward(xs),
            NnLayer::LayerNorm(layer) => layer.forward(xs),
            NnLayer::Linear(layer) => layer.forward(xs),
            NnLayer::PReLU(layer) => layer.forward(xs),
            NnLayer::QMatMul(layer) => layer.forward(xs),
            NnLayer::RmsNorm(layer) => layer.forward(xs),
        }
    }

    #[inline]
    fn either(
        xs: &Self,
        native: impl FnOnce(&Tensor) -> Result<Tensor>,
        _: impl FnOnce(&Traced) -> Result<Traced>,
    ) -> Result<Self> {
        native(xs)
    }

    fn sequence(_: &Cell, _: &Self, _: &[&Self]) -> Result<Option<Sequence<Self>>> {
        Ok(None)
    }

    fn absent(&self, _: &'static str) -> Self {
        self.clone()
    }

    #[inline]
    fn shape(&self) -> &Shape {
        Tensor::shape(self)
    }

    #[inline]
    fn dtype(&self) -> DType {
        Tensor::dtype(self)
    }

    #[inline]
    fn device(&self) -> &Device {
        Tensor::device(self)
    }

    #[inline]
    fn is_contiguous(&self) -> bool {
        Tensor::is_contiguous(self)
    }

    #[inline]
    fn detach(&self) -> Self {
        Tensor::detach(self)
    }

    candle_methods! { delegate_methods Tensor }
    candle_host_methods! { delegate_methods Tensor }
    candle_functions! { delegate_functions Tensor }
    delegate_operand!(maximum minimum eq ne lt gt ge le);

    delegate_nn! { ops:
        softmax<D: Dim>(dim: D);
        log_softmax<D: Dim>(dim: D);
        softmax_last_dim();
        sigmoid();
        hard_sigmoid();
        mish();
        leaky_relu(negative_slope: f64);
        selu(alpha: f32, gamma: f32);
        swiglu();
        layer_norm(alpha: &Self, beta: &Self, eps: f32);
        rms_norm(alpha: &Self, eps: f32);
        pixel_shuffle(upscale_factor: usize);
        pixel_unshuffle(downscale_factor: usize);
        replication_pad2d(pad: usize);
    }

    delegate_nn! { rotary_emb:
        rope(cos: &Self, sin: &Self);
        rope_i(cos: &Self, sin: &Self);
        rope_thd(cos: &Self, sin: &Self);
    }

    fn roll<D: Dim>(&self, shift: i32, dim: D) -> Result<Self> {
        Tensor::roll(self, shift, dim.to_index(self.shape(), "roll")?)
    }

    fn from_iter<D: WithDType>(iter: impl IntoIterator<Item = D>, device: &Device) -> Result<Self> {
        Tensor::from_iter(iter, device)
    }
}
