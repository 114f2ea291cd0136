//! The crate's one error type. [`ErrorKind`] says what failed; operation, tensor and axis say where. Knows nothing of the
//! rest of the crate.

use std::{fmt, sync::Arc};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kind of an error, for decisions in a program.
///
/// ```
/// use accelerant::{ErrorKind, Symbol};
///
/// let error = Symbol::new("batch", 8, 8, 1).unwrap_err();
/// match error.kind() {
///     ErrorKind::InvalidArgument => println!("a mistake of the caller: {error}"),
///     ErrorKind::QueueFull | ErrorKind::TimedOut => println!("try again later"),
///     _ => return Err(error),
/// }
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or option is invalid.
    InvalidArgument,
    /// The model uses an operation (or a form of it) that cannot be exported.
    UnsupportedOperation,
    /// The ONNX bytes or graph are not a valid model.
    InvalidModel,
    /// A tensor has a wrong rank, or a wrong size along an axis.
    ShapeMismatch,
    /// A tensor has the wrong element type.
    DTypeMismatch,
    /// The number of inputs is wrong, or the name of an input is unknown.
    InputMismatch,
    /// A size is outside the range that the engine was built for.
    OutOfProfile,
    /// A shared library could not be found or loaded.
    LibraryNotFound,
    /// A library was found, but this crate was compiled for another version.
    VersionMismatch,
    /// No driver, no device, or the device failed.
    Device,
    /// The engine was built for another library, flavor, or device.
    EngineIncompatible,
    /// The bytes are a truncated or changed engine, or no engine at all.
    EngineCorrupt,
    /// The backend refused to build the model.
    Build,
    /// The backend failed during a run.
    Execution,
    /// No allowed backend can run the model on this machine.
    NoBackend,
    /// Reading or writing a file failed, or the system could not create a thread.
    Io,
    /// The queue is full. Try again later.
    QueueFull,
    /// The module or the batcher of the request has ended.
    ShutDown,
    /// The caller stopped the work, by a [progress callback](crate::OptimizeOptions::progress) or by
    /// [`TimeLimit::cancel`](crate::TimeLimit::cancel).
    Cancelled,
    /// A [time limit](crate::TimeLimit) ended before the work.
    TimedOut,
    /// A function of the caller before or after the model failed. The error of the function is the source.
    Processing,
}

/// An error with its [kind](ErrorKind), the place where it happened, and its source.
///
/// The text names the operation, the tensor and the axis, if they are known:
///
/// ```
/// use accelerant::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::ShapeMismatch, "expected 64, got 32")
///     .in_operation("forward")
///     .on_tensor("pixels")
///     .at_axis(1);
/// assert_eq!(error.to_string(), "forward: tensor `pixels`, axis 1: expected 64, got 32");
/// ```
#[derive(Clone, Debug)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    operation: Option<String>,
    tensor: Option<String>,
    axis: Option<usize>,
    item: Option<usize>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Whether the caller stopped the work.
    pub(crate) fn is_stop(&self) -> bool {
        matches!(self.kind(), ErrorKind::Cancelled | ErrorKind::TimedOut)
    }

    /// An error of `kind` with a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            tensor: None,
            axis: None,
            item: None,
            source: None,
        }))
    }

    /// Sets the failed operation (a graph node, a call). An operation that is already set stays.
    #[must_use]
    pub fn in_operation(mut self, operation: impl Into<String>) -> Self {
        self.0.operation.get_or_insert_with(|| operation.into());
        self
    }

    /// Names the call around the operation that failed, in front of the operation's own name.
    #[must_use]
    pub(crate) fn within(mut self, call: impl fmt::Display) -> Self {
        let named = self.0.operation.take().map(|operation| format!("{call}: {operation}"));
        self.0.operation = Some(named.unwrap_or_else(|| call.to_string()));
        self
    }

    /// Sets the affected tensor. A tensor that is already set stays.
    #[must_use]
    pub fn on_tensor(mut self, tensor: impl Into<String>) -> Self {
        self.0.tensor.get_or_insert_with(|| tensor.into());
        self
    }

    /// Sets the affected axis, counted from 0. An axis that is already set stays.
    #[must_use]
    pub fn at_axis(mut self, axis: usize) -> Self {
        self.0.axis.get_or_insert(axis);
        self
    }

    /// Sets the affected item of several items, counted from 0. An item that is already set stays.
    #[must_use]
    pub fn at_item(mut self, item: usize) -> Self {
        self.0.item.get_or_insert(item);
        self
    }

    /// Sets the error that caused this error.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into().into());
        self
    }

    /// The kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without the operation, the tensor and the axis.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The failed operation, if known.
    pub fn operation(&self) -> Option<&str> {
        self.0.operation.as_deref()
    }

    /// The affected tensor, if known.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// The affected axis, counted from 0, if known.
    pub fn axis(&self) -> Option<usize> {
        self.0.axis
    }

    /// The affected item, counted from 0, if there were several items.
    pub fn item(&self) -> Option<usize> {
        self.0.item
    }

    /// An [`ErrorKind::Io`] error for a call on `path`.
    pub(crate) fn io(action: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let message = format!("cannot {action} {}: {source}", path.display());
        Self::new(ErrorKind::Io, message).with_source(source)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        if let Some(operation) = &inner.operation {
            write!(f, "{operation}: ")?;
        }
        if let Some(item) = inner.item {
            write!(f, "item {item}: ")?;
        }
        match (&inner.tensor, inner.axis) {
            (Some(tensor), Some(axis)) => write!(f, "tensor `{tensor}`, axis {axis}: ")?,
            (Some(tensor), None) => write!(f, "tensor `{tensor}`: ")?,
            (None, Some(axis)) => write!(f, "axis {axis}: ")?,
            (None, None) => {}
        }
        f.write_str(&inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.0.source.as_deref()?;
        Some(source)
    }
}
