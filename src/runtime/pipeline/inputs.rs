//! The types that a function before a model may return.

use std::error;

use ndarray::{Array, Dimension};

use super::of_caller;
use crate::error::Result;
use crate::tensor::{Element, HostTensor};

/// The inputs of one item: an array or a tensor, or several in a tuple, a `Vec` or an array, or a
/// `Result` of these.
pub trait IntoInputs {
    /// The inputs, in the order of the model's.
    ///
    /// # Errors
    /// The error of the function.
    fn into_inputs(self) -> Result<Vec<HostTensor>>;
}

impl IntoInputs for HostTensor {
    fn into_inputs(self) -> Result<Vec<HostTensor>> {
        Ok(vec![self])
    }
}

impl<T: Element, D: Dimension> IntoInputs for Array<T, D> {
    fn into_inputs(self) -> Result<Vec<HostTensor>> {
        Ok(vec![self.into()])
    }
}

impl<H: Into<HostTensor>> IntoInputs for Vec<H> {
    fn into_inputs(self) -> Result<Vec<HostTensor>> {
        Ok(self.into_iter().map(Into::into).collect())
    }
}

impl<H: Into<HostTensor>, const N: usize> IntoInputs for [H; N] {
    fn into_inputs(self) -> Result<Vec<HostTensor>> {
        Ok(self.map(Into::into).into())
    }
}

impl<P: IntoInputs, E: Into<Box<dyn error::Error + Send + Sync>>> IntoInputs for Result<P, E> {
    fn into_inputs(self) -> Result<Vec<HostTensor>> {
        self.map_err(of_caller)?.into_inputs()
    }
}

macro_rules! tuples {
    ($($($name:ident)+;)*) => {$(
        #[allow(non_snake_case)]
        impl<$($name: Into<HostTensor>),+> IntoInputs for ($($name,)+) {
            fn into_inputs(self) -> Result<Vec<HostTensor>> {
                let ($($name,)+) = self;
                Ok(vec![$($name.into()),+])
            }
        }
    )*};
}

tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}
