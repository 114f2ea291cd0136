//! Run trained [Burn](https://burn.dev) and [Candle](https://github.com/huggingface/candle) models
//! on TensorRT with one call, and get back a module that is used like the original one.
//!
//! Behind the call: export to ONNX, build an engine with TensorRT's own C++ parser and builder,
//! run it. Where no TensorRT or no GPU is usable, the same call runs the same ONNX model on a
//! portable backend and says so.

mod error;
mod files;
mod hash;
mod limit;
mod progress;
mod spec;
mod tensor;

pub mod backend;
pub mod cache;
pub mod export;
mod runtime;

/// Burn: export, `.optimize_trt(…)`, and the module it gives.
#[cfg(feature = "burn")]
pub mod burn {
    pub use crate::export::burn::{
        BurnGraph, BurnTensors, Lowered, Operation, ParserCheck, Refusal, Report, TensorSource,
        TensorVisitor, export_onnx,
    };
    pub use crate::runtime::burn::{BurnModule, OptimizeTrt};
}

/// Candle: forward passes over a trait, `.optimize_trt(…)`, and the module it gives.
#[cfg(feature = "candle")]
pub mod candle {
    pub use crate::export::candle::*;
    pub use crate::runtime::candle::*;
}

/// Runs in the background, and batches gathered from single requests. For several devices see
/// [`InferenceModule::on_devices`](crate::InferenceModule::on_devices).
pub mod serving {
    pub use crate::runtime::serving::{Batcher, BatcherCounters, BatcherOptions, Pending};
}

/// Text from language models: [`Decoder`](generate::Decoder) and what it is made of.
pub mod generate {
    pub use crate::export::decoder::*;
    pub use crate::runtime::generate::*;
}

/// From a type of the caller's to another: what comes before and after a model.
pub mod pipeline {
    pub use crate::runtime::pipeline::{IntoInputs, Pipeline, Scores, softmax, top_k};
}

/// What was done to make a module: [`InferenceModule::report`](crate::InferenceModule::report).
pub mod report {
    pub use crate::runtime::{ModuleReport, PassChange, PhaseTime, RejectedBackend};
}

/// A module against its source on another runtime: [`InferenceModule::verify`](crate::InferenceModule::verify).
pub mod verify {
    pub use crate::runtime::{
        Difference, LayerDifference, OutputDifference, Tolerance, Verification, VerifyOptions,
    };
}

/// The precision that a model is computed in: what is asked, what became of each layer, and ranges measured on samples.
pub mod precision {
    pub use crate::export::precision::{
        Layer, Precision, PrecisionOptions, PrecisionReport, Range, Ranges,
    };
    pub use crate::runtime::calibration::{Calibration, Method};
}

/// CUDA memory in and out of a module, through [cudarc].
#[cfg(feature = "cuda")]
pub mod cuda {
    pub use crate::runtime::cuda::{CudaModule, CudaRead, CudaTensor, CudaWrite, without_captures};
    /// The crate whose types are taken, for those who want the same version.
    pub use cudarc;
}

#[cfg(feature = "candle")]
#[doc = include_str!("../docs/trace.md")]
pub use accelerant_macros::trace;
pub use backend::{BackendKind, Engine, Registry};
pub use error::{Error, ErrorKind, Result};
pub use export::InputKey;
pub use limit::TimeLimit;
pub use progress::{Phase, Progress, ProgressCallback};
pub use runtime::{InferenceModule, OptimizeOptions};
pub use spec::{DType, Dim, Shape, Signature, Symbol, TensorSpec};
pub use tensor::{Element, HostTensor};
