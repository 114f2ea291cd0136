//! Run trained [Burn](https://burn.dev) and [Candle](https://github.com/huggingface/candle) models, and `.onnx`
//! files, on NVIDIA TensorRT with one call. The call returns a module that you use like the original model.
//!
//! The call exports the model to ONNX, builds an engine with TensorRT's own C++ parser and builder, and loads the
//! engine. On a machine without TensorRT or without a GPU, the same call returns a module that runs on the CPU, and a
//! warning gives the reason.
//!
//! [The guide](guide) has a page for each subject:
//!
//! - models: [Burn](guide/burn/index.html), [Candle](guide/candle/index.html), [files](guide/files/index.html), and
//!   [dynamic shapes](guide/shapes/index.html);
//! - text: [generation](guide/generation/index.html), [checkpoints](guide/checkpoints/index.html), [Whisper and
//!   T5](guide/encoder_decoder/index.html), and [batched generation](guide/batched_generation/index.html);
//! - speed: [precision](guide/precision/index.html), [quantization](guide/quantization/index.html), [CUDA
//!   tensors](guide/cuda/index.html), [CUDA graphs](guide/cuda_graphs/index.html), and the [engine
//!   cache](guide/cache/index.html);
//! - programs: [serving](guide/serving/index.html), the [HTTP server](guide/http/index.html), the [command
//!   `accelerant`](guide/command/index.html), and [diagnostics](guide/diagnostics/index.html);
//! - help: [troubleshooting](guide/troubleshooting/index.html), [backends](guide/backends/index.html), and
//!   [support](guide/support/index.html).
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
//! let options = OptimizeOptions::new().dynamic_batch(1..=64);
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
//! # A model by hand
//!
//! ```
//! use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
//!
//! let graph = GraphBuilder::new("double");
//! let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=64)?, Dim::from(3)])?;
//! graph.output("y", &x.affine(2.0, 0.0)?)?;
//! let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
//! let outputs = module.run(&[HostTensor::from(ndarray::array![[1.0f32, 2.0, 3.0]])])?;
//! assert_eq!(outputs[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
//! # Ok::<(), accelerant::Error>(())
//! ```
//!
//! # Features
//!
//! | feature | brings | needs to compile | needs to run |
//! |---|---|---|---|
//! | `tract` (default) | the CPU backend in pure Rust | | |
//! | `ort` (default) | ONNX Runtime on the CPU | | ONNX Runtime 1.24 or newer |
//! | `burn` | Burn 0.22 | | |
//! | `candle` | Candle 0.11 | | |
//! | `tensorrt-rtx` | TensorRT-RTX | NVIDIA's headers, a C++17 compiler | the libraries, the NVIDIA driver |
//! | `tensorrt` | Enterprise TensorRT | NVIDIA's headers, a C++17 compiler | the libraries, the NVIDIA driver |
//! | `cuda` | CUDA memory as inputs and outputs | no CUDA toolkit | the NVIDIA driver, TensorRT |
//! | `burn-cuda` | Burn's CUDA tensors as inputs and outputs | LLVM, which Burn downloads | the NVIDIA driver, TensorRT |
//! | `candle-cuda` | Candle's CUDA tensors as inputs and outputs | the CUDA toolkit | the CUDA toolkit, the NVIDIA driver, TensorRT |
//! | `nvtx` | ranges of builds and runs in NVIDIA's profilers | a C compiler | |
//!
//! `tensorrt-rtx` and `tensorrt` include `cuda`.
//! `accelerant sdk install tensorrt-rtx onnxruntime` downloads NVIDIA's headers and the libraries.
//!
//! # Logging
//!
//! The crate logs through [`tracing`](https://docs.rs/tracing). Read the warnings; the level `debug` helps to find
//! a cause. Each pass over a graph has a span, `pass`, at the level `debug`.
//!
//! | target | content |
//! |---|---|
//! | `accelerant` | the selected backend, and the reasons against other backends |
//! | `accelerant::export` | passes over the graph, precision, and parts of a model that no pass could rewrite |
//! | `accelerant::burn` | the sizes at which a Burn model was captured |
//! | `accelerant::cache` | engines that are rebuilt, not kept or removed |
//! | `accelerant::tensorrt` | the messages of TensorRT itself, CUDA graphs, kernels that are not kept |
//! | `accelerant::cuda` | the pool of outputs on the device |
//! | `ort` | the messages of ONNX Runtime, through the crate [`ort`](https://docs.rs/ort); its steps are at `debug` |

#![cfg_attr(docsrs, feature(doc_cfg))]

mod error;
mod files;
mod hash;
mod limit;
mod parallel;
mod progress;
mod span;
mod spec;
mod tensor;

pub mod backend;
pub mod cache;
pub mod export;
pub mod guide;
mod runtime;

/// Burn: the export, `.optimize_trt(…)`, and the module that the call returns.
///
/// The export captures a forward on tensors without values, and converts the capture operation by operation. A capture has
/// fixed sizes. For dynamic axes, the export captures the forward at several sizes. Two captures show which size depends on
/// which axis, and the formula must hold at the ends of the range and at some sizes between. The export refuses a size that
/// it cannot derive from the sizes of the inputs, and never exports such a size as a number. The export does not see a
/// branch that none of these sizes takes; [`probe_every_size`](crate::OptimizeOptions::probe_every_size) tries all sizes.
#[cfg(feature = "burn")]
pub mod burn {
    pub use crate::export::burn::{
        BurnGraph, BurnTensors, Lowered, Operation, TensorSource, TensorVisitor, export_onnx,
    };
    pub use crate::runtime::burn::{BurnModule, OptimizeTrt};
    pub use crate::runtime::burn_decoder::{DecoderPass, OptimizeDecoder};
}

#[cfg(feature = "candle")]
pub mod candle {
    //! Candle: the export of forward passes, `.optimize_trt(…)`, and the module that the call returns.
    //!
    #![doc = include_str!("../docs/forward.md")]

    #[doc(hidden)]
    pub use crate::export::candle::__private;
    pub use crate::export::candle::{
        Examples, Forward, Func, FuncT, GRU, GRUState, GroupNorm, Inputs, LSTM, LSTMState,
        ModelInput, ModelOutputs, NnLayer, RNN, Sequence, Sequential, TensorOps, Trace, Traceable,
        Traced, WeightNames, error_of, export_onnx, func, func_t, group_norm, gru, lstm, mirror,
        ops, seq,
    };
    pub use crate::runtime::candle::{CandleModule, OptimizeTrt};
}

/// Background runs, and batches of single requests. For several devices, see
/// [`InferenceModule::on_devices`](crate::InferenceModule::on_devices).
pub mod serving {
    pub use crate::runtime::serving::{Batcher, BatcherCounters, BatcherOptions, Pending};
}

/// Text generation with language models: [`Decoder`](generate::Decoder) and [`EncoderDecoder`](generate::EncoderDecoder), with their
/// configurations, weights and options.
pub mod generate {
    pub use crate::export::decoder::{
        Activation, AttentionForm, Decoder, DecoderConfig, DecoderOptions, DecoderWeights,
        EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily, ProductForm, Projections,
        Rotary, RotaryScaling, Tokens, Window,
    };
    pub use crate::runtime::generate::{
        Batch, ContinuousBatcher, ContinuousCounters, ContinuousOptions, DecoderModule,
        EncoderDecoderModule, End, GenerateOptions, Generation, GenerationStream, LogitsRule,
        SAMPLES_A_SECOND, Sampler, Segment, Source, TextGeneration, TranscribeOptions,
        Transcription, WhisperRules, WhisperTokens, log_mel, perplexity, segments,
    };
}

/// Functions before and after a model, for your own types.
pub mod pipeline {
    pub use crate::runtime::pipeline::{IntoInputs, PendingItem, Pipeline, Scores, softmax, top_k};
}

/// The report of how a module was made: [`InferenceModule::report`](crate::InferenceModule::report).
pub mod report {
    pub use crate::runtime::{ModuleReport, PassChange, PhaseTime, RejectedBackend};
}

/// The comparison of a module with its source model on another backend:
/// [`InferenceModule::verify`](crate::InferenceModule::verify).
pub mod verify {
    pub use crate::runtime::{
        Difference, LayerDifference, OutputDifference, Tolerance, Verification, VerifyOptions,
    };
}

/// The precision of a model: options, a report of each layer, and ranges measured on samples.
pub mod precision {
    pub use crate::export::precision::{
        Layer, LayerCost, ModelCost, Moments, Precision, PrecisionOptions, PrecisionReport, Range,
        Ranges,
    };
    pub use crate::runtime::calibration::{Calibration, Method};
    pub use crate::runtime::sensitivity::{
        Auto, LayerDrop, Metric, Search, Sensitivity, TimedGroup, Tried, in_32_bits,
    };
}

/// CUDA memory as inputs and outputs of a module, through [cudarc].
#[cfg(feature = "cuda")]
pub mod cuda {
    pub use crate::runtime::cuda::{CudaModule, CudaRead, CudaTensor, CudaWrite, without_captures};
    pub use crate::runtime::device_timer::{CallTimes, DeviceTimer};
    /// The crate cudarc, in the version whose types these modules use.
    pub use cudarc;
}

#[cfg(feature = "candle")]
#[doc = include_str!("../docs/trace.md")]
pub use accelerant_macros::trace;
#[cfg(feature = "candle")]
#[doc = include_str!("../docs/traced.md")]
pub use accelerant_macros::traced;
pub use backend::{engine::Engine, kind::BackendKind, select::Registry};
pub use error::{Error, ErrorKind, Result};
pub use export::options::InputKey;
pub use limit::TimeLimit;
pub use progress::{Phase, Progress, ProgressCallback};
pub use runtime::{InferenceModule, OptimizeOptions, Refit};
pub use spec::{DType, Dim, Shape, Signature, Symbol, TensorSpec};
pub use tensor::{Element, HostTensor};

/// The crates whose types a [`HostTensor`] takes and gives, in the same versions.
pub use {half, ndarray};

#[cfg(all(doctest, feature = "burn", feature = "candle"))]
#[doc = include_str!("../README.md")]
struct Readme;
