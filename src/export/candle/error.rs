//! Our error inside candle's and out of it again.

use std::fmt;

use candle_core::Error as CandleError;

use crate::error::{Error, ErrorKind};

/// Our error as candle carries it: its `Debug` text, which candle prints, is the plain one.
struct Carried(Error);

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Carried {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Our error as one of candle's; [`error_of`] finds it again.
pub(crate) fn to_candle(error: Error, context: impl Into<String>) -> CandleError {
    CandleError::WrappedContext { wrapped: Box::new(Carried(error)), context: context.into() }
}

/// The error of this crate that a candle error carries, such as one from
/// [`CandleModule::forward`](crate::candle::CandleModule::forward).
///
/// Candle's error type cannot hold our error as a `source()`. This function looks inside.
///
/// ```
/// use accelerant::candle::error_of;
///
/// assert!(error_of(&candle_core::Error::Msg("candle's own".into())).is_none());
/// ```
pub fn error_of(error: &CandleError) -> Option<&Error> {
    match error {
        CandleError::WrappedContext { wrapped, .. } => {
            wrapped.downcast_ref::<Carried>().map(|c| &c.0)
        }
        CandleError::Context { inner, .. }
        | CandleError::WithPath { inner, .. }
        | CandleError::WithBacktrace { inner, .. } => error_of(inner),
        _ => None,
    }
}

/// A candle error as ours, with its text; one that carries ours gives it back.
pub(crate) fn from_candle(error: CandleError) -> Error {
    match error {
        CandleError::WrappedContext { wrapped, context } => match wrapped.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(wrapped) => {
                let text = format!("{context}: {wrapped}");
                Error::new(ErrorKind::Execution, text).with_source(wrapped)
            }
        },
        CandleError::WithBacktrace { inner, .. } => from_candle(*inner),
        CandleError::Context { inner, .. } if error_of(&inner).is_some() => from_candle(*inner),
        other => Error::new(kind_of(&other), other.to_string()).with_source(other),
    }
}

fn kind_of(error: &CandleError) -> ErrorKind {
    match error {
        CandleError::UnexpectedDType { .. }
        | CandleError::DTypeMismatchBinaryOp { .. }
        | CandleError::UnsupportedDTypeForOp(..) => ErrorKind::DTypeMismatch,
        CandleError::UnexpectedNumberOfDims { .. }
        | CandleError::UnexpectedShape { .. }
        | CandleError::ShapeMismatch { .. }
        | CandleError::ShapeMismatchBinaryOp { .. }
        | CandleError::ShapeMismatchCat { .. }
        | CandleError::ShapeMismatchSplit { .. }
        | CandleError::BroadcastIncompatibleShapes { .. }
        | CandleError::Conv1dInvalidArgs { .. } => ErrorKind::ShapeMismatch,
        CandleError::DimOutOfRange { .. }
        | CandleError::DuplicateDimIndex { .. }
        | CandleError::OnlySingleDimension { .. }
        | CandleError::EmptyTensor { .. }
        | CandleError::NarrowInvalidArgs { .. }
        | CandleError::OpRequiresAtLeastOneTensor { .. }
        | CandleError::OpRequiresAtLeastTwoTensors { .. }
        | CandleError::Msg(_) => ErrorKind::InvalidArgument,
        CandleError::DeviceMismatchBinaryOp { .. }
        | CandleError::NotCompiledWithCudaSupport
        | CandleError::NotCompiledWithMetalSupport
        | CandleError::Cuda(_)
        | CandleError::Metal(_) => ErrorKind::Device,
        CandleError::Io(_) => ErrorKind::Io,
        CandleError::WithPath { inner, .. }
        | CandleError::Context { inner, .. }
        | CandleError::WithBacktrace { inner, .. } => kind_of(inner),
        _ => ErrorKind::Execution,
    }
}
