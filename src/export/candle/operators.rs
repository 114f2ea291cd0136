//! `+`, `-`, `*` and `/` in a forward over [`TensorOps`], for the operands that candle takes: tensors, references, results
//! of earlier steps, and numbers.

use std::borrow::Borrow;
use std::ops::{Add, Div, Mul, Sub};

use candle_core::{Result, Tensor};

use super::tensor_ops::TensorOps;
use super::traced::Traced;

/// `X` once more as an associated type, because bounds on associated types of a trait hold
/// wherever the trait does, and those on other types (`&T: Add<T>`) have to be repeated.
pub trait Has<X: ?Sized> {
    /// `X` itself.
    type Type: ?Sized;
}

impl<T: ?Sized, X: ?Sized> Has<X> for T {
    type Type = X;
}

macro_rules! with_all {
    ($(#[$doc:meta])* $name:ident: $($rhs:ty),*) => {
        $(#[$doc])*
        pub trait $name<T>: Sized
            $(+ for<'a> Add<$rhs, Output = Result<T>> + for<'a> Sub<$rhs, Output = Result<T>>
            + for<'a> Mul<$rhs, Output = Result<T>> + for<'a> Div<$rhs, Output = Result<T>>)*
        {
        }

        impl<T, S: Sized> $name<T> for S where S: Sized
            $(+ for<'a> Add<$rhs, Output = Result<T>> + for<'a> Sub<$rhs, Output = Result<T>>
            + for<'a> Mul<$rhs, Output = Result<T>> + for<'a> Div<$rhs, Output = Result<T>>)*
        {
        }
    };
}

with_all! {
    /// The left side of an operator, before a tensor `T`: a number or a result.
    Arithmetic: T, &'a T
}
with_all! {
    /// A tensor on the left of a tensor, result or number.
    TensorArithmetic: T, &'a T, Result<T>, f64
}

/// The operators of candle's tensor: each gives a [`Result`], as in candle.
///
/// In a forward over `T: TensorOps`, `x.add(&y)` on an owned `T` is the operator's method and takes `x`. On a reference,
/// `x.add(&y)` is candle's method.
///
/// ```
/// use accelerant::candle::TensorOps;
/// use candle_core::Result;
///
/// fn residual<T: TensorOps>(xs: &T, scale: &T) -> Result<T> {
///     let ys = (xs.relu() * scale)?;
///     (1.0 + ((xs - ys)? * 0.5)?)? / scale
/// }
/// ```
pub trait Operators:
    Sized
    + 'static
    + TensorArithmetic<Self>
    + Has<f64, Type = f64>
    + Has<f64, Type: Arithmetic<Self>>
    + Has<Result<Self>, Type = Result<Self>>
    + Has<Result<Self>, Type: Arithmetic<Self>>
    + for<'a> Has<&'a Self, Type = &'a Self>
    + for<'a> Has<&'a Self, Type: TensorArithmetic<Self>>
{
}

impl Operators for Tensor {}
impl Operators for Traced {}

macro_rules! operator {
    ($trait:ident::$method:ident, |$xs:ident, $number:ident| $with_number:expr, $from_number:expr) => {
        impl<B: Borrow<Traced>> $trait<B> for Traced {
            type Output = Result<Traced>;

            fn $method(self, rhs: B) -> Self::Output {
                TensorOps::$method(&self, rhs.borrow())
            }
        }

        impl<B: Borrow<Traced>> $trait<B> for &Traced {
            type Output = Result<Traced>;

            fn $method(self, rhs: B) -> Self::Output {
                TensorOps::$method(self, rhs.borrow())
            }
        }

        impl<B: Borrow<Traced>> $trait<Traced> for Result<B> {
            type Output = Result<Traced>;

            fn $method(self, rhs: Traced) -> Self::Output {
                TensorOps::$method(self?.borrow(), &rhs)
            }
        }

        impl<B: Borrow<Traced>> $trait<&Traced> for Result<B> {
            type Output = Result<Traced>;

            fn $method(self, rhs: &Traced) -> Self::Output {
                TensorOps::$method(self?.borrow(), rhs)
            }
        }

        impl<B: Borrow<Traced>> $trait<Result<B>> for Traced {
            type Output = Result<Traced>;

            fn $method(self, rhs: Result<B>) -> Self::Output {
                TensorOps::$method(&self, rhs?.borrow())
            }
        }

        impl<B: Borrow<Traced>> $trait<Result<B>> for &Traced {
            type Output = Result<Traced>;

            fn $method(self, rhs: Result<B>) -> Self::Output {
                TensorOps::$method(self, rhs?.borrow())
            }
        }

        impl $trait<f64> for Traced {
            type Output = Result<Traced>;

            fn $method(self, rhs: f64) -> Self::Output {
                $trait::$method(&self, rhs)
            }
        }

        impl $trait<f64> for &Traced {
            type Output = Result<Traced>;

            fn $method(self, $number: f64) -> Self::Output {
                let $xs = self;
                $with_number
            }
        }

        impl $trait<Traced> for f64 {
            type Output = Result<Traced>;

            fn $method(self, rhs: Traced) -> Self::Output {
                $trait::$method(self, &rhs)
            }
        }

        impl $trait<&Traced> for f64 {
            type Output = Result<Traced>;

            fn $method(self, $xs: &Traced) -> Self::Output {
                let $number = self;
                $from_number
            }
        }
    };
}

// With numbers as candle computes it.
operator!(Add::add, |xs, number| xs.affine(1.0, number), xs.affine(1.0, number));
operator!(Sub::sub, |xs, number| xs.affine(1.0, -number), xs.affine(-1.0, number));
operator!(Mul::mul, |xs, number| xs.affine(number, 0.0), xs.affine(number, 0.0));
operator!(Div::div, |xs, number| xs.affine(1.0 / number, 0.0), xs.recip()?.affine(number, 0.0));
