//! Methods that a traced tensor refuses: reading values, and changing in place.

use std::panic::Location;

use candle_core::shape::Dim;
use candle_core::{Result, Tensor, WithDType};

use super::Traced;
use crate::error::{Error, ErrorKind};
use crate::export::candle::error::to_candle;

macro_rules! values {
    ($($name:ident -> $output:ty;)*) => {$(
        #[track_caller]
        pub(super) fn $name<S: WithDType>(&self) -> Result<$output> {
            match self.known() {
                Some(tensor) => Tensor::$name(tensor),
                None => Err(refused(
                    stringify!($name),
                    "reads values, which depend on the model's inputs and are not known during an \
                     export; use tensor operations (where_cond, index_select, maximum, …) instead \
                     of a branch on the values",
                )),
            }
        }
    )*};
}

/// What a forward does that cannot be exported, with the place in the source.
#[track_caller]
pub(in crate::export::candle) fn refused(operation: &str, why: &str) -> candle_core::Error {
    let place = Location::caller();
    let text = format!("{why} ({}:{})", place.file(), place.line());
    let error = Error::new(ErrorKind::UnsupportedOperation, text).in_operation(operation);
    to_candle(error, "while tracing")
}

#[track_caller]
fn in_place(operation: &str, instead: &str) -> Result<()> {
    let why =
        format!("changes a tensor in place, which an exported model cannot do; use {instead}");
    Err(refused(operation, &why))
}

impl Traced {
    values! {
        to_scalar -> S;
        to_vec0 -> S;
        to_vec1 -> Vec<S>;
        to_vec2 -> Vec<Vec<S>>;
        to_vec3 -> Vec<Vec<Vec<S>>>;
    }

    #[track_caller]
    pub(super) fn zero_set(&self) -> Result<()> {
        in_place("zero_set", "zeros_like")
    }

    #[track_caller]
    pub(super) fn one_set(&self) -> Result<()> {
        in_place("one_set", "ones_like")
    }

    #[track_caller]
    pub(super) fn slice_set<A: Dim>(&self, _src: &Self, _dim: A, _offset: usize) -> Result<()> {
        in_place("slice_set", "slice_scatter")
    }

    #[track_caller]
    pub(super) fn scatter_set<A: Dim>(&self, _: &Self, _: &Self, _dim: A) -> Result<()> {
        in_place("scatter_set", "scatter")
    }

    #[track_caller]
    pub(super) fn scatter_add_set<A: Dim>(&self, _: &Self, _: &Self, _dim: A) -> Result<()> {
        in_place("scatter_add_set", "scatter_add")
    }
}
