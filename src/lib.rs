//! Run trained [Burn](https://burn.dev) and [Candle](https://github.com/huggingface/candle) models, and `.onnx`
//! files, on NVIDIA TensorRT with one call, and get back a module that is used like the original model.
//!
//! The call exports the model to ONNX, builds an engine with TensorRT's own C++ parser and builder, and loads the
//! engine. On a machine without TensorRT or without a GPU, the same call runs the same ONNX model on the CPU, and a
//! warning names the reason.
//!
//! [The guide](guide) has a page for each subject.
//!
//! # Candle
//!
#![cfg_attr(feature = "candle", doc = "```")]
#![cfg_attr(not(feature = "candle"), doc = "```ignore")]
//! use accelerant::candle::OptimizeTrt;
//! use candle_core::{DType, Device, Module, Result, Tensor};
//! use candle_nn::{Linear, VarBuilder, VarMap, linear};
//!
//! struct Net {
//!     first: Linear,
//!     second: Linear,
//! }
//!
//! #[accelerant::trace]
//! impl Module for Net {
//!     fn forward(&self, xs: &Tensor) -> Result<Tensor> {
//!         xs.apply(&self.first)?.relu()?.apply(&self.second)
//!     }
//! }
//!
//! let vb = VarBuilder::from_varmap(&VarMap::new(), DType::F32, &Device::Cpu);
//! let net = Net { first: linear(64, 32, vb.pp("first"))?, second: linear(32, 10, vb.pp("second"))? };
//! let x = Tensor::zeros((1, 64), DType::F32, &Device::Cpu)?;
//!
//! let fast = net.optimize_trt(&x)?;
//! assert_eq!(fast.forward(&x)?.dims(), [1, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Burn
//!
#![cfg_attr(feature = "burn", doc = "```")]
#![cfg_attr(not(feature = "burn"), doc = "```ignore")]
//! use accelerant::{OptimizeOptions, burn::OptimizeTrt};
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::default();
//! let model = LinearConfig::new(64, 10).init(&device);
//! let example = Tensor::<2>::zeros([1, 64], &device);
//!
//! let options = OptimizeOptions::new().dynamic_batch(1..=64)?;
//! let fast = model.optimize_trt_with(example, |model: &Linear, x| model.forward(x), &options)?;
//! let scores: Tensor<2> = fast.forward(Tensor::<2>::ones([32, 64], &device));
//! assert_eq!(scores.dims(), [32, 10]);
//! # Ok::<(), accelerant::Error>(())
//! ```
//!
//! # A file
//!
//! ```no_run
//! use accelerant::{HostTensor, InferenceModule, OptimizeOptions, export::OnnxModel};
//!
//! let model = OnnxModel::open("model.onnx")?.bind("batch", 1..=64)?;
//! let module = InferenceModule::compile(&model, &OptimizeOptions::new())?;
//! let outputs = module.run(&[HostTensor::from(ndarray::Array2::<f32>::zeros((8, 64)))])?;
//! println!("{} gives {:?}", module.backend(), outputs[0].shape());
//! # Ok::<(), accelerant::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | brings | needs to compile | needs to run |
//! |---|---|---|---|
//! | `tract` (default) | the CPU backend in pure Rust | | |
//! | `ort` (default) | the CPU backend ONNX Runtime | | ONNX Runtime 1.24 or newer |
//! | `burn` | Burn 0.22 | | |
//! | `candle` | Candle 0.11 | | |
//! | `tensorrt-rtx` | TensorRT-RTX | NVIDIA's headers, a C++17 compiler | NVIDIA's libraries and driver |
//! | `tensorrt` | Enterprise TensorRT | NVIDIA's headers, a C++17 compiler | NVIDIA's libraries and driver |
//! | `cuda` | CUDA memory in and out of a module | | CUDA, and a backend that computes there |
//! | `burn-cuda` | Burn's tensors on CUDA devices | what Burn needs | CUDA |
//! | `candle-cuda` | Candle's tensors on CUDA devices | the CUDA toolkit | CUDA |
//!
//! # What is logged
//!
//! The crate logs through [`tracing`](https://docs.rs/tracing). Warnings are what a user should read; `debug` is for
//! a search.
//!
//! | target | what it tells |
//! |---|---|
//! | `accelerant` | the backend that was chosen, and why no other one |
//! | `accelerant::export` | passes over the graph, and what could not be written in another form |
//! | `accelerant::burn` | the sizes at which a Burn model was captured |
//! | `accelerant::cache` | engines that are built anew, not kept or removed |
//! | `accelerant::tensorrt` | the messages of TensorRT itself, CUDA graphs, kernels that are not kept |
//! | `accelerant::cuda` | the pool of outputs on the device |

#![cfg_attr(docsrs, feature(doc_cfg))]

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
pub mod guide;
mod runtime;

/// Burn: export, `.optimize_trt(…)`, and the module that the call gives.
#[cfg(feature = "burn")]
pub mod burn {
    pub use crate::export::burn::{
        BurnGraph, BurnTensors, Lowered, Operation, ParserCheck, Refusal, Report, TensorSource,
        TensorVisitor, export_onnx,
    };
    pub use crate::runtime::burn::{BurnModule, OptimizeTrt};
}

/// Candle: forward passes over a trait, `.optimize_trt(…)`, and the module that the call gives.
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
        Layer, Moments, Precision, PrecisionOptions, PrecisionReport, Range, Ranges,
    };
    pub use crate::runtime::calibration::{Calibration, Method};
    pub use crate::runtime::sensitivity::{Auto, LayerDrop, Metric, Search, Sensitivity, Tried};
}

/// CUDA memory in and out of a module, through [cudarc].
#[cfg(feature = "cuda")]
pub mod cuda {
    pub use crate::runtime::cuda::{CudaModule, CudaRead, CudaTensor, CudaWrite, without_captures};
    /// The crate whose types these modules take, in the same version.
    pub use cudarc;
}

#[cfg(feature = "candle")]
#[doc = include_str!("../docs/trace.md")]
pub use accelerant_macros::trace;
#[cfg(feature = "candle")]
#[doc = include_str!("../docs/traced.md")]
pub use accelerant_macros::traced;
pub use backend::{BackendKind, Engine, Registry};
pub use error::{Error, ErrorKind, Result};
pub use export::InputKey;
pub use limit::TimeLimit;
pub use progress::{Phase, Progress, ProgressCallback};
pub use runtime::{InferenceModule, OptimizeOptions};
pub use spec::{DType, Dim, Shape, Signature, Symbol, TensorSpec};
pub use tensor::{Element, HostTensor};

#[cfg(all(doctest, feature = "burn", feature = "candle"))]
#[doc = include_str!("../README.md")]
struct Readme;
