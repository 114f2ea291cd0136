//! The trait over which a forward is written once: candle's methods under candle's names. Its two
//! implementations are in `native` and `traced_ops`.

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Device, Result, Shape, Tensor, ToUsize2};

use super::layers::Layer;
use super::operators::Operators;

mod private {
    pub trait Sealed {}
    impl Sealed for candle_core::Tensor {}
    impl Sealed for crate::export::candle::Traced {}
}

/// The right-hand side of a method that takes a tensor or a number, such as
/// [`maximum`](TensorOps::maximum): `&T`, or a number of any type candle has.
pub trait Operand<T> {
    /// The tensor, or the number as a tensor of rank 0.
    ///
    /// # Errors
    /// When candle cannot make the tensor.
    fn operand(self) -> Result<Right<T>>;
}

/// What an [`Operand`] is.
#[derive(Clone, Debug)]
pub enum Right<T> {
    /// A tensor of the same shape.
    Tensor(T),
    /// A number, for every element the same.
    Number(Tensor),
}

impl<T: Clone> Operand<T> for &T {
    fn operand(self) -> Result<Right<T>> {
        Ok(Right::Tensor(self.clone()))
    }
}

macro_rules! numbers {
    ($($number:ty),*) => {$(
        impl<T: TensorOps> Operand<T> for $number {
            fn operand(self) -> Result<Right<T>> {
                Ok(Right::Number(Tensor::new(self, &Device::Cpu)?))
            }
        }
    )*};
}

numbers!(f32, f64, half::f16, half::bf16, u8, u32, i64);

/// Declares methods that candle documents.
macro_rules! as_in_candle {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $type:ty),*) -> $output:ty;)*) => {$(
        $(#[$doc])*
        #[doc = concat!("As [`Tensor::", stringify!($name), "`](candle_core::Tensor::", stringify!($name), ").")]
        ///
        /// # Errors
        /// Candle's own.
        fn $name(&self $(, $arg: $type)*) -> $output;
    )*};
}

/// The operations of a tensor in a forward that is both run and exported.
///
/// Implemented for [`candle_core::Tensor`], where each method is candle's own of the same name,
/// and for [`Traced`](super::Traced), which records what is done to it. Sizes and types follow
/// candle's rules in both, with candle's own error texts. There are no methods that read values:
/// a traced tensor has none.
///
/// A few methods are functions in candle_nn; they are also in [`ops`](super::ops) as such. A
/// tensor that a model holds as a field enters a forward through [`constant`](Self::constant).
pub trait TensorOps:
    private::Sealed + Operators + AsRef<Self> + Clone + std::fmt::Debug + Sized
{
    /// A tensor with known values, such as a weight, for use with others of this type.
    fn constant(tensor: &Tensor) -> Self;

    /// Runs a layer of candle_nn; what [`Forward`](super::Forward) calls for them.
    ///
    /// # Errors
    /// The layer's own.
    fn layer(layer: Layer<'_>, xs: &Self) -> Result<Self>;

    /// Names the part of the model that `f` runs: operators and weights in the exported graph are
    /// called `name/…`, for example `xs.scope("conv1", |xs| self.conv1.forward(xs))`.
    fn scope<R>(&self, name: &str, f: impl FnOnce(&Self) -> R) -> R {
        let _ = name;
        f(self)
    }

    /// The sizes.
    fn shape(&self) -> &Shape;

    /// The element type.
    fn dtype(&self) -> DType;

    /// The device. A traced tensor tells that of the example.
    fn device(&self) -> &Device;

    /// The sizes, outermost first.
    fn dims(&self) -> &[usize] {
        self.shape().dims()
    }

    /// The size of one axis.
    ///
    /// # Errors
    /// When there is no such axis.
    fn dim<D: Dim>(&self, dim: D) -> Result<usize> {
        self.shape().dim(dim)
    }

    /// The size of a tensor of rank 1.
    ///
    /// # Errors
    /// When the rank is another.
    fn dims1(&self) -> Result<usize> {
        self.shape().dims1()
    }

    /// The sizes of a tensor of rank 2.
    ///
    /// # Errors
    /// When the rank is another.
    fn dims2(&self) -> Result<(usize, usize)> {
        self.shape().dims2()
    }

    /// The sizes of a tensor of rank 3.
    ///
    /// # Errors
    /// When the rank is another.
    fn dims3(&self) -> Result<(usize, usize, usize)> {
        self.shape().dims3()
    }

    /// The sizes of a tensor of rank 4.
    ///
    /// # Errors
    /// When the rank is another.
    fn dims4(&self) -> Result<(usize, usize, usize, usize)> {
        self.shape().dims4()
    }

    /// The sizes of a tensor of rank 5.
    ///
    /// # Errors
    /// When the rank is another.
    fn dims5(&self) -> Result<(usize, usize, usize, usize, usize)> {
        self.shape().dims5()
    }

    /// The number of axes.
    fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    fn elem_count(&self) -> usize {
        self.shape().elem_count()
    }

    as_in_candle! {
        abs() -> Result<Self>;
        ceil() -> Result<Self>;
        cos() -> Result<Self>;
        erf() -> Result<Self>;
        exp() -> Result<Self>;
        floor() -> Result<Self>;
        gelu() -> Result<Self>;
        gelu_erf() -> Result<Self>;
        log() -> Result<Self>;
        neg() -> Result<Self>;
        recip() -> Result<Self>;
        relu() -> Result<Self>;
        round() -> Result<Self>;
        sign() -> Result<Self>;
        silu() -> Result<Self>;
        sin() -> Result<Self>;
        sqr() -> Result<Self>;
        sqrt() -> Result<Self>;
        tanh() -> Result<Self>;
        affine(mul: f64, add: f64) -> Result<Self>;
        elu(alpha: f64) -> Result<Self>;
        powf(e: f64) -> Result<Self>;

        add(rhs: &Self) -> Result<Self>;
        sub(rhs: &Self) -> Result<Self>;
        mul(rhs: &Self) -> Result<Self>;
        div(rhs: &Self) -> Result<Self>;
        broadcast_add(rhs: &Self) -> Result<Self>;
        broadcast_sub(rhs: &Self) -> Result<Self>;
        broadcast_mul(rhs: &Self) -> Result<Self>;
        broadcast_div(rhs: &Self) -> Result<Self>;
        broadcast_maximum(rhs: &Self) -> Result<Self>;
        broadcast_minimum(rhs: &Self) -> Result<Self>;
        matmul(rhs: &Self) -> Result<Self>;
        broadcast_matmul(rhs: &Self) -> Result<Self>;
        where_cond(on_true: &Self, on_false: &Self) -> Result<Self>;

        conv1d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize) -> Result<Self>;
        conv2d(kernel: &Self, padding: usize, stride: usize, dilation: usize, groups: usize) -> Result<Self>;
        upsample_nearest2d(target_h: usize, target_w: usize) -> Result<Self>;
        interpolate2d(target_h: usize, target_w: usize) -> Result<Self>;

        sum_all() -> Result<Self>;
        mean_all() -> Result<Self>;
        max_all() -> Result<Self>;
        min_all() -> Result<Self>;
        flatten_all() -> Result<Self>;
        t() -> Result<Self>;
        contiguous() -> Result<Self>;
        get(i: usize) -> Result<Self>;
        to_dtype(dtype: DType) -> Result<Self>;
    }

    /// As [`Tensor::maximum`](candle_core::Tensor::maximum).
    ///
    /// # Errors
    /// Candle's own.
    fn maximum<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::minimum`](candle_core::Tensor::minimum).
    ///
    /// # Errors
    /// Candle's own.
    fn minimum<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::clamp`](candle_core::Tensor::clamp).
    ///
    /// # Errors
    /// Candle's own.
    fn clamp<A: Operand<Self>, B: Operand<Self>>(&self, min: A, max: B) -> Result<Self> {
        self.maximum(min)?.minimum(max)
    }

    /// As [`Tensor::eq`](candle_core::Tensor::eq): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn eq<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::ne`](candle_core::Tensor::ne): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn ne<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::lt`](candle_core::Tensor::lt): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn lt<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::gt`](candle_core::Tensor::gt): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn gt<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::ge`](candle_core::Tensor::ge): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn ge<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::le`](candle_core::Tensor::le): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn le<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;

    /// As [`Tensor::avg_pool2d`](candle_core::Tensor::avg_pool2d).
    ///
    /// # Errors
    /// Candle's own.
    fn avg_pool2d<S: ToUsize2>(&self, sz: S) -> Result<Self> {
        let sz = sz.to_usize2();
        self.avg_pool2d_with_stride(sz, sz)
    }

    /// As [`Tensor::avg_pool2d_with_stride`](candle_core::Tensor::avg_pool2d_with_stride).
    ///
    /// # Errors
    /// Candle's own.
    fn avg_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self>;

    /// As [`Tensor::max_pool2d`](candle_core::Tensor::max_pool2d).
    ///
    /// # Errors
    /// Candle's own.
    fn max_pool2d<S: ToUsize2>(&self, sz: S) -> Result<Self> {
        let sz = sz.to_usize2();
        self.max_pool2d_with_stride(sz, sz)
    }

    /// As [`Tensor::max_pool2d_with_stride`](candle_core::Tensor::max_pool2d_with_stride).
    ///
    /// # Errors
    /// Candle's own.
    fn max_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self>;

    /// As [`Tensor::sum`](candle_core::Tensor::sum).
    ///
    /// # Errors
    /// Candle's own.
    fn sum<D: Dims>(&self, dims: D) -> Result<Self>;

    /// As [`Tensor::sum_keepdim`](candle_core::Tensor::sum_keepdim).
    ///
    /// # Errors
    /// Candle's own.
    fn sum_keepdim<D: Dims>(&self, dims: D) -> Result<Self>;

    /// As [`Tensor::mean`](candle_core::Tensor::mean).
    ///
    /// # Errors
    /// Candle's own.
    fn mean<D: Dims>(&self, dims: D) -> Result<Self>;

    /// As [`Tensor::mean_keepdim`](candle_core::Tensor::mean_keepdim).
    ///
    /// # Errors
    /// Candle's own.
    fn mean_keepdim<D: Dims>(&self, dims: D) -> Result<Self>;

    /// As [`Tensor::max`](candle_core::Tensor::max).
    ///
    /// # Errors
    /// Candle's own.
    fn max<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::max_keepdim`](candle_core::Tensor::max_keepdim).
    ///
    /// # Errors
    /// Candle's own.
    fn max_keepdim<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::min`](candle_core::Tensor::min).
    ///
    /// # Errors
    /// Candle's own.
    fn min<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::min_keepdim`](candle_core::Tensor::min_keepdim).
    ///
    /// # Errors
    /// Candle's own.
    fn min_keepdim<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::argmax`](candle_core::Tensor::argmax): u32.
    ///
    /// # Errors
    /// Candle's own.
    fn argmax<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::argmax_keepdim`](candle_core::Tensor::argmax_keepdim): u32.
    ///
    /// # Errors
    /// Candle's own.
    fn argmax_keepdim<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::argmin`](candle_core::Tensor::argmin): u32.
    ///
    /// # Errors
    /// Candle's own.
    fn argmin<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::argmin_keepdim`](candle_core::Tensor::argmin_keepdim): u32.
    ///
    /// # Errors
    /// Candle's own.
    fn argmin_keepdim<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`candle_nn::ops::softmax`].
    ///
    /// # Errors
    /// Candle's own.
    fn softmax<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`candle_nn::ops::softmax_last_dim`].
    ///
    /// # Errors
    /// Candle's own.
    fn softmax_last_dim(&self) -> Result<Self>;

    /// As [`candle_nn::ops::log_softmax`].
    ///
    /// # Errors
    /// Candle's own.
    fn log_softmax<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`candle_nn::ops::sigmoid`].
    ///
    /// # Errors
    /// Candle's own.
    fn sigmoid(&self) -> Result<Self>;

    /// As [`candle_nn::ops::hard_sigmoid`].
    ///
    /// # Errors
    /// Candle's own.
    fn hard_sigmoid(&self) -> Result<Self>;

    /// As [`candle_nn::ops::mish`].
    ///
    /// # Errors
    /// Candle's own.
    fn mish(&self) -> Result<Self>;

    /// As [`candle_nn::ops::leaky_relu`].
    ///
    /// # Errors
    /// Candle's own.
    fn leaky_relu(&self, negative_slope: f64) -> Result<Self>;

    /// As [`candle_nn::ops::swiglu`].
    ///
    /// # Errors
    /// Candle's own.
    fn swiglu(&self) -> Result<Self>;

    /// As [`Tensor::reshape`](candle_core::Tensor::reshape), with at most one hole `()`.
    ///
    /// # Errors
    /// Candle's own.
    fn reshape<S: ShapeWithOneHole>(&self, shape: S) -> Result<Self>;

    /// As [`Tensor::broadcast_as`](candle_core::Tensor::broadcast_as).
    ///
    /// # Errors
    /// Candle's own.
    fn broadcast_as<S: Into<Shape>>(&self, shape: S) -> Result<Self>;

    /// As [`Tensor::expand`](candle_core::Tensor::expand).
    ///
    /// # Errors
    /// Candle's own.
    fn expand<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        self.broadcast_as(shape)
    }

    /// As [`Tensor::flatten`](candle_core::Tensor::flatten).
    ///
    /// # Errors
    /// Candle's own.
    fn flatten<A: Dim, B: Dim>(&self, start_dim: A, end_dim: B) -> Result<Self>;

    /// As [`Tensor::flatten_to`](candle_core::Tensor::flatten_to).
    ///
    /// # Errors
    /// Candle's own.
    fn flatten_to<D: Dim>(&self, end_dim: D) -> Result<Self>;

    /// As [`Tensor::flatten_from`](candle_core::Tensor::flatten_from).
    ///
    /// # Errors
    /// Candle's own.
    fn flatten_from<D: Dim>(&self, start_dim: D) -> Result<Self>;

    /// As [`Tensor::transpose`](candle_core::Tensor::transpose).
    ///
    /// # Errors
    /// Candle's own.
    fn transpose<A: Dim, B: Dim>(&self, dim1: A, dim2: B) -> Result<Self>;

    /// As [`Tensor::permute`](candle_core::Tensor::permute).
    ///
    /// # Errors
    /// Candle's own.
    fn permute<D: Dims>(&self, dims: D) -> Result<Self>;

    /// As [`Tensor::squeeze`](candle_core::Tensor::squeeze).
    ///
    /// # Errors
    /// Candle's own.
    fn squeeze<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::unsqueeze`](candle_core::Tensor::unsqueeze).
    ///
    /// # Errors
    /// Candle's own.
    fn unsqueeze<D: Dim>(&self, dim: D) -> Result<Self>;

    /// As [`Tensor::narrow`](candle_core::Tensor::narrow).
    ///
    /// # Errors
    /// Candle's own.
    fn narrow<D: Dim>(&self, dim: D, start: usize, len: usize) -> Result<Self>;

    /// As [`Tensor::chunk`](candle_core::Tensor::chunk).
    ///
    /// # Errors
    /// Candle's own.
    fn chunk<D: Dim>(&self, chunks: usize, dim: D) -> Result<Vec<Self>>;

    /// As [`Tensor::pad_with_zeros`](candle_core::Tensor::pad_with_zeros).
    ///
    /// # Errors
    /// Candle's own.
    fn pad_with_zeros<D: Dim>(&self, dim: D, left: usize, right: usize) -> Result<Self>;

    /// As [`Tensor::cat`](candle_core::Tensor::cat).
    ///
    /// # Errors
    /// Candle's own.
    fn cat<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self>;

    /// As [`Tensor::stack`](candle_core::Tensor::stack).
    ///
    /// # Errors
    /// Candle's own.
    fn stack<A: AsRef<Self>, D: Dim>(args: &[A], dim: D) -> Result<Self>;
}
