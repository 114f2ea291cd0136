//! [`TensorOps`] for candle's own tensor: each method is candle's of the same name.

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Device, Module, ModuleT, Result, Shape, Tensor, ToUsize2};

use super::layers::Layer;
use super::tensor_ops::{Operand, Right, TensorOps};

/// Candle's tensor for the right-hand side, as its own methods make it of a number.
fn right<R: Operand<Tensor>>(left: &Tensor, rhs: R) -> Result<Tensor> {
    match rhs.operand()? {
        Right::Tensor(tensor) => Ok(tensor),
        Right::Number(number) => {
            number.to_dtype(left.dtype())?.to_device(left.device())?.broadcast_as(left.shape())
        }
    }
}

macro_rules! delegate {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $name(&self $(, $arg: $type)*) -> Result<Self> {
            Tensor::$name(self $(, $arg)*)
        }
    )*};
}

macro_rules! delegate_dim {
    ($bound:ident: $($name:ident)*) => {$(
        #[inline]
        fn $name<D: $bound>(&self, dim: D) -> Result<Self> {
            Tensor::$name(self, dim)
        }
    )*};
}

macro_rules! delegate_operand {
    ($($name:ident)*) => {$(
        #[inline]
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            Tensor::$name(self, &right(self, rhs)?)
        }
    )*};
}

macro_rules! delegate_nn {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[inline]
        fn $name(&self $(, $arg: $type)*) -> Result<Self> {
            candle_nn::ops::$name(self $(, $arg)*)
        }
    )*};
}

impl TensorOps for Tensor {
    fn constant(tensor: &Tensor) -> Self {
        tensor.clone()
    }

    #[inline]
    fn layer(layer: Layer<'_>, xs: &Self) -> Result<Self> {
        match layer {
            Layer::Activation(layer) => layer.forward(xs),
            Layer::BatchNorm(layer) => layer.forward_t(xs, false),
            Layer::Conv1d(layer) => layer.forward(xs),
            Layer::Conv2d(layer) => layer.forward(xs),
            Layer::Embedding(layer) => layer.forward(xs),
            Layer::LayerNorm(layer) => layer.forward(xs),
            Layer::Linear(layer) => layer.forward(xs),
            Layer::PReLU(layer) => layer.forward(xs),
            Layer::RmsNorm(layer) => layer.forward(xs),
        }
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

    delegate! {
        abs(); ceil(); cos(); erf(); exp(); floor(); gelu(); gelu_erf(); log(); neg(); recip();
        relu(); round(); sign(); silu(); sin(); sqr(); sqrt(); tanh();
        affine(mul: f64, add: f64);
        elu(alpha: f64);
        powf(e: f64);
        add(rhs: &Self);
        sub(rhs: &Self);
        mul(rhs: &Self);
        div(rhs: &Self);
        broadcast_add(rhs: &Self);
        broadcast_sub(rhs: &Self);
        broadcast_mul(rhs: &Self);
        broadcast_div(rhs: &Self);
        broadcast_maximum(rhs: &Self);
        broadcast_minimum(rhs: &Self);
        matmul(rhs: &Self);
        broadcast_matmul(rhs: &Self);
        where_cond(on_true: &Self, on_false: &Self);
        conv1d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize);
        conv2d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize);
        upsample_nearest2d(target_h: usize, target_w: usize);
        interpolate2d(target_h: usize, target_w: usize);
        sum_all();
        mean_all();
        max_all();
        min_all();
        flatten_all();
        t();
        contiguous();
        get(i: usize);
        to_dtype(dtype: DType);
    }

    delegate_operand!(maximum minimum eq ne lt gt ge le);
    delegate_dim!(Dims: sum sum_keepdim mean mean_keepdim permute);
    delegate_dim!(Dim: max max_keepdim min min_keepdim argmax argmax_keepdim argmin argmin_keepdim
        flatten_to flatten_from squeeze unsqueeze);

    delegate_nn! {
        softmax_last_dim();
        sigmoid();
        hard_sigmoid();
        mish();
        leaky_relu(negative_slope: f64);
        swiglu();
    }

    fn avg_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self> {
        Tensor::avg_pool2d_with_stride(self, kernel_size, stride)
    }

    fn max_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self> {
        Tensor::max_pool2d_with_stride(self, kernel_size, stride)
    }

    fn softmax<D: Dim>(&self, dim: D) -> Result<Self> {
        candle_nn::ops::softmax(self, dim)
    }

    fn log_softmax<D: Dim>(&self, dim: D) -> Result<Self> {
        candle_nn::ops::log_softmax(self, dim)
    }

    fn reshape<S: ShapeWithOneHole>(&self, shape: S) -> Result<Self> {
        Tensor::reshape(self, shape)
    }

    fn broadcast_as<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        Tensor::broadcast_as(self, shape)
    }

    fn flatten<A: Dim, B: Dim>(&self, start_dim: A, end_dim: B) -> Result<Self> {
        Tensor::flatten(self, start_dim, end_dim)
    }

    fn transpose<A: Dim, B: Dim>(&self, dim1: A, dim2: B) -> Result<Self> {
        Tensor::transpose(self, dim1, dim2)
    }

    fn narrow<D: Dim>(&self, dim: D, start: usize, len: usize) -> Result<Self> {
        Tensor::narrow(self, dim, start, len)
    }

    fn chunk<D: Dim>(&self, chunks: usize, dim: D) -> Result<Vec<Self>> {
        Tensor::chunk(self, chunks, dim)
    }

    fn pad_with_zeros<D: Dim>(&self, dim: D, left: usize, right: usize) -> Result<Self> {
        Tensor::pad_with_zeros(self, dim, left, right)
    }

    fn cat<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self> {
        Tensor::cat(args, dim)
    }

    fn stack<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self> {
        Tensor::stack(args, dim)
    }
}
