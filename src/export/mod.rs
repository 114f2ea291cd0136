//! From a framework's model, or by hand, to ONNX. No unsafe code, no CUDA, no backend.

mod consumer;
#[cfg(any(feature = "burn", feature = "candle"))]
mod formulas;
mod graph;
mod model;
pub mod onnx;

#[cfg(feature = "burn")]
pub mod burn;
#[cfg(feature = "candle")]
pub mod candle;

pub use consumer::{Consumer, NodeRefusal};
pub use graph::{Conv, GraphBuilder, Node, Pool, Value};
pub use model::{OnnxModel, SplitModel};
pub use onnx::Attribute;
