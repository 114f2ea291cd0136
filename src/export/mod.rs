//! From a framework's model, or by hand, to ONNX. No unsafe code, no CUDA, no backend.

#[cfg(any(feature = "burn", feature = "candle"))]
mod formulas;
mod graph;
mod model;
pub mod onnx;
mod options;
mod passes;
mod target;

#[cfg(feature = "burn")]
pub mod burn;
#[cfg(feature = "candle")]
pub mod candle;

pub(crate) use passes::precision;

pub use graph::{Conv, GraphBuilder, Node, Pool, Value};
pub use model::{OnnxModel, SplitModel};
pub use onnx::Attribute;
pub use options::{ExportOptions, InputKey};
pub use target::{NodeRefusal, Reader, Target};
