//! The names of backends.

use std::{borrow::Cow, convert::Infallible, fmt, str::FromStr};

/// The name of a backend.
///
/// ```
/// use accelerant::{BackendKind, OptimizeOptions};
///
/// let kind = BackendKind::from_name("tensorrt-rtx");
/// assert_eq!(kind, BackendKind::TensorRtRtx);
/// assert_eq!(kind.to_string().parse(), Ok(kind.clone()));
/// let options = OptimizeOptions::new().require(kind);       // no other backend may run
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// NVIDIA TensorRT-RTX.
    TensorRtRtx,
    /// NVIDIA TensorRT, the Enterprise flavor.
    TensorRt,
    /// ONNX Runtime on the CPU, through the crate `ort`. The library must be installed.
    Ort,
    /// tract on the CPU: pure Rust, on every machine.
    Tract,
    /// A backend from outside this crate, by its name.
    Custom(Cow<'static, str>),
}

impl BackendKind {
    /// The name in engines, options and messages, such as `tensorrt-rtx`.
    pub fn name(&self) -> &str {
        match self {
            Self::TensorRtRtx => "tensorrt-rtx",
            Self::TensorRt => "tensorrt",
            Self::Ort => "ort",
            Self::Tract => "tract",
            Self::Custom(name) => name,
        }
    }

    /// The kind with this [name](Self::name).
    pub fn from_name(name: &str) -> Self {
        [Self::TensorRtRtx, Self::TensorRt, Self::Ort, Self::Tract]
            .into_iter()
            .find(|kind| kind.name() == name)
            .unwrap_or_else(|| Self::Custom(name.to_owned().into()))
    }
}

/// As its [name](BackendKind::name).
impl serde::Serialize for BackendKind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As [`from_name`](BackendKind::from_name).
impl From<&str> for BackendKind {
    fn from(name: &str) -> Self {
        Self::from_name(name)
    }
}

/// As [`from_name`](BackendKind::from_name): every name is that of a backend.
impl FromStr for BackendKind {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from_name(name))
    }
}
