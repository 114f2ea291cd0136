//! The methods of candle's tensor on the traced one. Other than those of `TensorOps` they take
//! layers that implement the mirror's `Module`, and there are none of candle_nn's functions.

use candle_core::conv::CudnnFwdAlgo;
use candle_core::op::CmpOp;
use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{
    CustomOp1, CustomOp2, CustomOp3, DType, Device, FloatDType, NdArray, Result, Shape, Tensor,
    ToUsize2, WithDType,
};
use std::ops::RangeBounds;

use super::core::{Module, ModuleT};
use crate::export::candle::index::Indexes;
use crate::export::candle::methods::{candle_functions, candle_host_methods, candle_methods};
use crate::export::candle::tensor_ops::{Operand, TensorOps};
use crate::export::candle::traced::{self, SharedTape, Traced};

macro_rules! methods {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[allow(missing_docs)]
        fn $name $(<$($g: $bound),+>)? (&self $(, $arg: $ty)*) -> $output {
            TensorOps::$name(self $(, $arg)*)
        }
    )*};
}

/// Methods that a forward cannot have: their errors name its place.
macro_rules! host_methods {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[allow(missing_docs)]
        #[track_caller]
        fn $name $(<$($g: $bound),+>)? (&self $(, $arg: $ty)*) -> $output {
            TensorOps::$name(self $(, $arg)*)
        }
    )*};
}

macro_rules! functions {
    ($($name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),*) -> $output:ty;)*) => {$(
        #[allow(missing_docs)]
        fn $name $(<$($g: $bound),+>)? ($($arg: $ty),*) -> $output {
            <Self as TensorOps>::$name($($arg),*)
        }
    )*};
}

macro_rules! operands {
    ($($name:ident)*) => {$(
        #[allow(missing_docs)]
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            TensorOps::$name(self, rhs)
        }
    )*};
}

/// Candle's methods and functions of a tensor under candle's names, which documents them.
pub trait Methods: TensorOps {
    candle_methods! { methods }
    candle_host_methods! { host_methods }
    candle_functions! { functions }
    operands! { maximum minimum eq ne lt gt ge le }

    methods! {
        shape() -> &Shape;
        dtype() -> DType;
        device() -> &Device;
        dims() -> &[usize];
        dim<D: Dim>(dim: D) -> Result<usize>;
        dims1() -> Result<usize>;
        dims2() -> Result<(usize, usize)>;
        dims3() -> Result<(usize, usize, usize)>;
        dims4() -> Result<(usize, usize, usize, usize)>;
        dims5() -> Result<(usize, usize, usize, usize, usize)>;
        rank() -> usize;
        elem_count() -> usize;
        is_contiguous() -> bool;
        detach() -> Self;
        cmp<R: Operand<Self>>(rhs: R, op: CmpOp) -> Result<Self>;
        clamp<A: Operand<Self>, B: Operand<Self>>(min: A, max: B) -> Result<Self>;
        i<I: Indexes>(index: I) -> Result<Self>;
        roll<D: Dim>(shift: i32, dim: D) -> Result<Self>;
    }

    /// Runs a layer.
    ///
    /// # Errors
    /// The layer's own.
    fn apply<M: Module>(&self, m: &M) -> Result<Self>;

    /// Runs a layer that is told whether it is trained.
    ///
    /// # Errors
    /// The layer's own.
    fn apply_t<M: ModuleT>(&self, m: &M, train: bool) -> Result<Self>;

    /// Random numbers of a normal distribution, which only a constructor may draw.
    ///
    /// # Errors
    /// Always while a forward is traced.
    #[track_caller]
    fn randn<F: FloatDType, S: Into<Shape>>(
        mean: F,
        std: F,
        shape: S,
        device: &Device,
    ) -> Result<Self>;

    /// Random numbers of a range, which only a constructor may draw.
    ///
    /// # Errors
    /// Always while a forward is traced.
    #[track_caller]
    fn rand<F: FloatDType, S: Into<Shape>>(
        low: F,
        high: F,
        shape: S,
        device: &Device,
    ) -> Result<Self>;

    /// Random numbers of a normal distribution, as many as there are here.
    ///
    /// # Errors
    /// Always while a forward is traced.
    #[track_caller]
    fn randn_like(&self, mean: f64, stdev: f64) -> Result<Self>;

    /// Random numbers of a range, as many as there are here.
    ///
    /// # Errors
    /// Always while a forward is traced.
    #[track_caller]
    fn rand_like(&self, lo: f64, up: f64) -> Result<Self>;

    /// Runs an operation that is not candle's.
    ///
    /// # Errors
    /// Candle's own; always while a forward is traced.
    #[track_caller]
    fn apply_op1_no_bwd<O: CustomOp1>(&self, op: &O) -> Result<Self>;

    /// Runs an operation that is not candle's.
    ///
    /// # Errors
    /// Candle's own; always while a forward is traced.
    #[track_caller]
    fn apply_op2<O: CustomOp2 + Send + Sync + 'static>(&self, rhs: &Self, op: O) -> Result<Self>;

    /// Runs an operation that is not candle's.
    ///
    /// # Errors
    /// Candle's own; always while a forward is traced.
    #[track_caller]
    fn apply_op3_no_bwd<O: CustomOp3>(&self, t2: &Self, t3: &Self, op: &O) -> Result<Self>;

    #[allow(missing_docs)]
    fn from_iter<D: WithDType>(iter: impl IntoIterator<Item = D>, device: &Device) -> Result<Self> {
        <Self as TensorOps>::from_iter(iter, device)
    }
}

macro_rules! known {
    ($f:expr; $($name:ident = $tensor:expr),+) => {
        if let ($(Some($name),)+) = ($($tensor.known(),)+) {
            return $f.map(Traced::from_tensor);
        }
    };
}

const CUSTOM: &str = "a custom operation has no ONNX form: write it with methods of tensors, or do \
                      it outside the forward";

const DRAWN: &str = "generates random numbers: pass the numbers to the forward as an input";

impl Methods for Traced {
    fn apply<M: Module>(&self, m: &M) -> Result<Self> {
        m.forward(self)
    }

    fn apply_t<M: ModuleT>(&self, m: &M, train: bool) -> Result<Self> {
        m.forward_t(self, train)
    }

    fn randn<F: FloatDType, S: Into<Shape>>(
        mean: F,
        std: F,
        shape: S,
        device: &Device,
    ) -> Result<Self> {
        drawn("randn")?;
        Ok(Self::from_tensor(Tensor::randn(mean, std, shape, device)?))
    }

    fn rand<F: FloatDType, S: Into<Shape>>(
        low: F,
        high: F,
        shape: S,
        device: &Device,
    ) -> Result<Self> {
        drawn("rand")?;
        Ok(Self::from_tensor(Tensor::rand(low, high, shape, device)?))
    }

    fn randn_like(&self, mean: f64, stdev: f64) -> Result<Self> {
        drawn("randn_like")?;
        known!(xs.randn_like(mean, stdev); xs = self);
        refused("randn_like", DRAWN)
    }

    fn rand_like(&self, lo: f64, up: f64) -> Result<Self> {
        drawn("rand_like")?;
        known!(xs.rand_like(lo, up); xs = self);
        refused("rand_like", DRAWN)
    }

    fn apply_op1_no_bwd<O: CustomOp1>(&self, op: &O) -> Result<Self> {
        known!(xs.apply_op1_no_bwd(op); xs = self);
        refused(op.name(), CUSTOM)
    }

    fn apply_op2<O: CustomOp2 + Send + Sync + 'static>(&self, rhs: &Self, op: O) -> Result<Self> {
        let name = op.name();
        known!(xs.apply_op2(rhs, op); xs = self, rhs = rhs);
        refused(name, CUSTOM)
    }

    fn apply_op3_no_bwd<O: CustomOp3>(&self, t2: &Self, t3: &Self, op: &O) -> Result<Self> {
        known!(xs.apply_op3_no_bwd(t2, t3, op); xs = self, t2 = t2, t3 = t3);
        refused(op.name(), CUSTOM)
    }
}

#[track_caller]
fn refused<R>(operation: &str, why: &str) -> Result<R> {
    Err(traced::refused(operation, why))
}

/// A forward that draws numbers gives others in each run.
#[track_caller]
fn drawn(operation: &str) -> Result<()> {
    match SharedTape::is_tracing() {
        true => refused(operation, DRAWN),
        false => Ok(()),
    }
}
