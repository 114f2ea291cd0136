//! The trait that a forward is written over: candle's methods under candle's names. `native` and `traced` implement the
//! trait.

use std::ops::RangeBounds;

use candle_core::conv::CudnnFwdAlgo;
use candle_core::op::CmpOp;
use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{DType, Device, NdArray, Result, Shape, Tensor, ToUsize2, WithDType};

use super::__private::Lift;
use super::index::Indexes;
use super::layers::{Cell, Forward, NnLayer, Sequence};
use super::methods::{candle_functions, candle_host_methods, candle_methods};
use super::operators::{Has, Operators};
use super::traced::Traced;

mod private {
    pub trait Sealed {}
    impl Sealed for candle_core::Tensor {}
    impl Sealed for crate::export::candle::Traced {}
}

/// The right-hand side of a method that takes a tensor or a number, such as [`maximum`](TensorOps::maximum): `&T`, or a
/// number of any type that candle has.
pub trait Operand<T> {
    /// The tensor, or the number as a tensor of rank 0.
    ///
    /// # Errors
    /// When candle cannot make the tensor.
    fn operand(self) -> Result<Right<T>>;
}

/// The kind of an [`Operand`].
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
macro_rules! declare_methods {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[doc = concat!("As [`Tensor::", stringify!($name), "`](candle_core::Tensor::", stringify!($name), ").")]
        ///
        /// # Errors
        /// Candle's own.
        fn $name $(<$($g: $bound),+>)? (&self $(, $arg: $ty)*) -> $output;
    )*};
}

/// Declares methods that need values or change them.
macro_rules! declare_host_methods {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[doc = concat!("As [`Tensor::", stringify!($name), "`](candle_core::Tensor::", stringify!($name), ").")]
        ///
        /// # Errors
        /// Candle's own; always while a forward is traced, unless the values do not depend on its
        /// inputs and are only read.
        #[track_caller]
        fn $name $(<$($g: $bound),+>)? (&self $(, $arg: $ty)*) -> $output;
    )*};
}

/// Declares functions that candle documents.
macro_rules! declare_functions {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[doc = concat!("As [`Tensor::", stringify!($name), "`](candle_core::Tensor::", stringify!($name), ").")]
        ///
        /// # Errors
        /// Candle's own.
        fn $name $(<$($g: $bound),+>)? ($($arg: $ty),*) -> $output;
    )*};
}

/// Declares functions of candle_nn as methods.
macro_rules! declare_nn {
    ($module:ident: $($name:ident $(<$g:ident: $bound:path>)? ($($arg:ident: $ty:ty),*);)*) => {$(
        #[doc = concat!("As [`candle_nn::", stringify!($module), "::", stringify!($name), "`].")]
        ///
        /// # Errors
        /// Candle's own.
        fn $name $(<$g: $bound>)? (&self $(, $arg: $ty)*) -> Result<Self>;
    )*};
}

/// Declares methods whose right-hand side is a tensor of the same shape or a number.
macro_rules! declare_operand {
    ($($name:ident: $of:literal;)*) => {$(
        #[doc = concat!("As [`Tensor::", stringify!($name), "`](candle_core::Tensor::", stringify!($name), ")", $of, ".")]
        ///
        /// # Errors
        /// Candle's own.
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self>;
    )*};
}

/// The operations of a tensor in a forward that is both run and exported.
///
/// [`candle_core::Tensor`] has this trait, and each method is candle's own method of the same name.
/// [`Traced`](super::Traced) has this trait too, and records the operations. Sizes and types follow candle's rules in both, with candle's own
/// error texts. A traced tensor has no values and does not change: methods that read values, or write into a tensor, are
/// refused by name.
///
/// A few methods are functions in candle_nn; the module [`ops`](super::ops) has these as functions too. A tensor that a model
/// holds as a field enters a forward through [`constant`](Self::constant).
///
/// ```
/// use accelerant::candle::{CandleModule, TensorOps};
/// use candle_core::{Device, Result, Tensor};
///
/// fn scaled<T: TensorOps>(xs: &T) -> Result<T> {
///     xs.broadcast_div(&xs.sqr()?.sum_keepdim(1)?.sqrt()?)
/// }
///
/// let x = Tensor::new(&[[3f32, 4.0]], &Device::Cpu)?;
/// let native = scaled(&x)?;                                       // runs on Candle
/// let fast = CandleModule::of_fn(&x, &Default::default(), |inputs| Ok(vec![scaled(&inputs[0])?]))?;
/// assert_eq!(fast.forward(&x)?.dims(), native.dims());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TensorOps:
    private::Sealed
    + Operators
    + Lift<Self>
    + Has<Tensor, Type = Tensor>
    + Has<Tensor, Type: Lift<Self>>
    + AsRef<Self>
    + Clone
    + std::fmt::Debug
    + Sized
{
    /// A tensor with known values, such as a weight, for use with others of this type.
    fn constant(tensor: &Tensor) -> Self;

    /// Runs a layer of candle_nn. [`Forward`](super::Forward) of these layers calls this method.
    ///
    /// # Errors
    /// The layer's own.
    fn layer(layer: NnLayer<'_>, xs: &Self) -> Result<Self>;

    /// Runs the one of two functions that takes this type.
    ///
    /// # Errors
    /// The function's own.
    fn either(
        xs: &Self,
        native: impl FnOnce(&Tensor) -> Result<Tensor>,
        traced: impl FnOnce(&Traced) -> Result<Traced>,
    ) -> Result<Self>;

    /// Runs a recurrent layer over a whole sequence from the initial states, or from zeros. `None` if the layer goes step by
    /// step.
    ///
    /// # Errors
    /// The layer's own.
    fn sequence(cell: &Cell, xs: &Self, initial: &[&Self]) -> Result<Option<Sequence<Self>>>;

    /// A tensor like this that an exported model cannot have: using the tensor is refused.
    #[doc(hidden)]
    fn absent(&self, what: &'static str) -> Self;

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

    /// The device. A traced tensor has the device of the example.
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

    /// Whether the elements lie in row-major order. A traced tensor always says so.
    fn is_contiguous(&self) -> bool;

    /// As [`Tensor::detach`](candle_core::Tensor::detach).
    fn detach(&self) -> Self;

    candle_methods! { declare_methods }
    candle_host_methods! { declare_host_methods }
    candle_functions! { declare_functions }

    declare_operand! {
        maximum: "";
        minimum: "";
        eq: ": 1 or 0 as u8";
        ne: ": 1 or 0 as u8";
        lt: ": 1 or 0 as u8";
        gt: ": 1 or 0 as u8";
        ge: ": 1 or 0 as u8";
        le: ": 1 or 0 as u8";
    }

    declare_nn! { ops:
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

    declare_nn! { rotary_emb:
        rope(cos: &Self, sin: &Self);
        rope_i(cos: &Self, sin: &Self);
        rope_thd(cos: &Self, sin: &Self);
    }

    /// As [`Tensor::cmp`](candle_core::Tensor::cmp): 1 or 0 as u8.
    ///
    /// # Errors
    /// Candle's own.
    fn cmp<R: Operand<Self>>(&self, rhs: R, op: CmpOp) -> Result<Self> {
        match op {
            CmpOp::Eq => self.eq(rhs),
            CmpOp::Ne => self.ne(rhs),
            CmpOp::Lt => self.lt(rhs),
            CmpOp::Gt => self.gt(rhs),
            CmpOp::Ge => self.ge(rhs),
            CmpOp::Le => self.le(rhs),
        }
    }

    /// As [`Tensor::clamp`](candle_core::Tensor::clamp).
    ///
    /// # Errors
    /// Candle's own.
    fn clamp<A: Operand<Self>, B: Operand<Self>>(&self, min: A, max: B) -> Result<Self> {
        self.maximum(min)?.minimum(max)
    }

    /// As [`IndexOp::i`](candle_core::IndexOp::i): by a number, a range or a list of numbers, or a tuple of up to six of these.
    ///
    /// # Errors
    /// Candle's own.
    fn i<I: Indexes>(&self, index: I) -> Result<Self> {
        super::index::index(self, index)
    }

    /// As [`Tensor::roll`](candle_core::Tensor::roll).
    ///
    /// # Errors
    /// Candle's own.
    fn roll<D: Dim>(&self, shift: i32, dim: D) -> Result<Self>;

    /// As [`Tensor::from_iter`](candle_core::Tensor::from_iter).
    ///
    /// # Errors
    /// Candle's own.
    fn from_iter<D: WithDType>(iter: impl IntoIterator<Item = D>, device: &Device) -> Result<Self>;

    /// Runs a layer, as [`Tensor::apply`](candle_core::Tensor::apply).
    ///
    /// # Errors
    /// The layer's own.
    fn apply<M: Forward>(&self, m: &M) -> Result<Self> {
        m.forward(self)
    }

    /// Runs a layer, as [`Tensor::apply_t`](candle_core::Tensor::apply_t).
    ///
    /// # Errors
    /// The layer's own; always when `train`.
    fn apply_t<M: Forward>(&self, m: &M, train: bool) -> Result<Self> {
        m.forward_t(self, train)
    }
}
