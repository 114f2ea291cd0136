//! [`TensorOps`] for the traced tensor: its own methods of the same names.

use std::ops::RangeBounds;

use candle_core::conv::CudnnFwdAlgo;
use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Device, NdArray, Result, Shape, Tensor, ToUsize2, WithDType};

use super::{Traced, known};
use crate::export::candle::layers::{self, Cell, NnLayer, Sequence};
use crate::export::candle::methods::{
    candle_functions, candle_host_methods, candle_methods, delegate_functions, delegate_methods,
};
use crate::export::candle::tape::Op;
use crate::export::candle::tensor_ops::{Operand, TensorOps};

macro_rules! delegate_operand {
    ($($name:ident)*) => {$(
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            Traced::$name(self, rhs)
        }
    )*};
}

impl TensorOps for Traced {
    fn constant(tensor: &Tensor) -> Self {
        Self::from_tensor(tensor.clone())
    }

    fn layer(layer: NnLayer<'_>, xs: &Self) -> Result<Self> {
        known!(<Tensor as TensorOps>::layer(layer, xs); xs);
        layers::record(layer, xs)
    }

    fn either(
        xs: &Self,
        _: impl FnOnce(&Tensor) -> Result<Tensor>,
        traced: impl FnOnce(&Traced) -> Result<Traced>,
    ) -> Result<Self> {
        traced(xs)
    }

    fn sequence(cell: &Cell, xs: &Self, initial: &[&Self]) -> Result<Option<Sequence<Self>>> {
        if xs.known().is_some() && initial.iter().all(|state| state.known().is_some()) {
            return Ok(None);
        }
        layers::record_sequence(cell, xs, initial).map(Some)
    }

    fn absent(&self, what: &'static str) -> Self {
        self.same(Op::Absent { what })
    }

    fn scope<R>(&self, name: &str, f: impl FnOnce(&Self) -> R) -> R {
        self.within(name, f)
    }

    fn shape(&self) -> &Shape {
        self.shape_ref()
    }

    fn dtype(&self) -> DType {
        self.dtype_of()
    }

    fn device(&self) -> &Device {
        self.device_ref()
    }

    fn is_contiguous(&self) -> bool {
        true
    }

    fn detach(&self) -> Self {
        self.clone()
    }

    candle_methods! { delegate_methods Traced }
    candle_host_methods! { delegate_methods Traced }
    candle_functions! { delegate_functions Traced }
    delegate_operand!(maximum minimum eq ne lt gt ge le);

    delegate_methods! { Traced
        softmax<D: Dim>(dim: D) -> Result<Self>;
        log_softmax<D: Dim>(dim: D) -> Result<Self>;
        softmax_last_dim() -> Result<Self>;
        sigmoid() -> Result<Self>;
        hard_sigmoid() -> Result<Self>;
        mish() -> Result<Self>;
        leaky_relu(negative_slope: f64) -> Result<Self>;
        selu(alpha: f32, gamma: f32) -> Result<Self>;
        swiglu() -> Result<Self>;
        layer_norm(alpha: &Self, beta: &Self, eps: f32) -> Result<Self>;
        rms_norm(alpha: &Self, eps: f32) -> Result<Self>;
        pixel_shuffle(upscale_factor: usize) -> Result<Self>;
        pixel_unshuffle(downscale_factor: usize) -> Result<Self>;
        replication_pad2d(pad: usize) -> Result<Self>;
        rope(cos: &Self, sin: &Self) -> Result<Self>;
        rope_i(cos: &Self, sin: &Self) -> Result<Self>;
        rope_thd(cos: &Self, sin: &Self) -> Result<Self>;
        roll<D: Dim>(shift: i32, dim: D) -> Result<Self>;
    }

    fn from_iter<D: WithDType>(iter: impl IntoIterator<Item = D>, device: &Device) -> Result<Self> {
        Tensor::from_iter(iter, device).map(Self::from_tensor)
    }
}
