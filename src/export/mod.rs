//! From a framework's model, a file or a graph by hand to ONNX. No CUDA, and no backend.

pub(crate) mod decoder;
mod graph;
pub(crate) mod interface;
#[cfg(any(feature = "burn", feature = "candle"))]
mod lower;
mod model;
pub mod onnx;
pub(crate) mod options;
mod passes;
#[cfg(any(feature = "burn", feature = "candle"))]
mod report;
#[cfg(any(feature = "burn", feature = "candle"))]
mod sizes;
mod target;

#[cfg(feature = "burn")]
pub(crate) mod burn;
#[cfg(feature = "candle")]
pub(crate) mod candle;

pub(crate) use passes::precision;

pub use graph::{Conv, GraphBuilder, Node, Pool, Reduction, Scope, Value};
#[cfg(any(feature = "ort", feature = "tract"))]
pub(crate) use model::MemoryBound;
#[cfg(feature = "ort")]
pub(crate) use model::WEIGHTS_FILE;
#[cfg(feature = "ort")]
pub(crate) use model::{KnownInput, KnownInputs, KnownSize};
pub use model::{OnnxModel, SplitModel};
#[cfg(feature = "tract")]
pub(crate) use model::{Peak, too_much};
pub use options::ExportOptions;
pub(crate) use options::{BatchSizes, export_builders};
#[cfg(any(feature = "burn", feature = "candle"))]
pub use report::{ParserCheck, Refusal, Report};
pub use target::{NodeRefusal, Reader, Target};
