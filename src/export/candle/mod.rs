//! From a Candle model to ONNX: the trait over which a forward is written once, the tensor that
//! traces it, and what becomes of the trace. Nothing of backends or running.
//!
//! Candle keeps the operations behind a tensor to itself, so a forward is written over
//! [`TensorOps`], candle's methods under candle's names, instead of over `candle_core::Tensor`.
//! Run on candle's tensor it is the candle model, at candle's speed; run on [`Traced`] it leaves
//! the steps of which the ONNX graph is made. Layers of candle_nn become one operator each.
//! Import [`Forward`] instead of `candle_core::Module`: the two have the same method.
//!
//! ```
//! use accelerant::OptimizeOptions;
//! use accelerant::candle::{Forward, TensorOps, export_onnx};
//! use candle_core::{DType, Device, Result, Tensor};
//!
//! struct Net(candle_nn::Linear);
//!
//! impl Forward for Net {
//!     fn forward<T: TensorOps>(&self, xs: &T) -> Result<T> {
//!         let batch = xs.dim(0)?;
//!         self.0.forward(&xs.reshape((batch, 64))?)?.relu()
//!     }
//! }
//!
//! let weight = Tensor::ones((10, 64), DType::F32, &Device::Cpu)?;
//! let net = Net(candle_nn::Linear::new(weight, None));
//! let example = Tensor::zeros((1, 8, 8), DType::F32, &Device::Cpu)?;
//! let onnx = export_onnx(&net, &example, &OptimizeOptions::new().dynamic_batch(1..=32)?)?;
//! assert_eq!(onnx.signature().outputs[0].to_string(), "output_0: f32 [batch, 10]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Symbolic dimensions
//!
//! A forward sees sizes as plain numbers, so one run cannot tell the `8` of a batch from the `8`
//! of a layer. Nothing is guessed: tracing computes no values and costs microseconds a step, so
//! the forward is run again for other sizes of each symbolic dimension — for every size of a range
//! of up to 64; else for both ends, the powers of two with their neighbors, and a few more — and
//! the runs are laid over each other. What is equal in all runs is constant. A size given to
//! `reshape`, `narrow`, `broadcast_as` or `upsample_nearest2d` that differs is the dimension, or
//! multiple of one, that had the same sizes in every run. Anything else that differs (a number
//! computed from a size, another number of steps, a forward that fails for some sizes, such as a
//! `reshape` to a constant batch) is refused with an error that names the sizes. The shapes that
//! ONNX's rules give are compared with candle's, in every run.
//!
//! Without symbols the forward is run twice, so that random numbers in it are refused too. With
//! several symbols each goes through its range while the others stay as tuned.
//! `probe_every_size` of the options has all sizes tried, and all combinations of several symbols.
//!
//! A tensor that the forward makes (`T::zeros`, `T::arange`, `T::tril2`, …) follows the symbols in
//! its sizes, and a constant may be cut or repeated to one. Candle's own `Tensor::zeros` does not
//! tell how it was made: with a size that follows a symbol it is refused.
//!
//! # What is refused
//!
//! A traced tensor has no values: methods that read them (`to_vec1`, `to_scalar`, …) or write into a
//! tensor (`slice_set`, …) fail while tracing with an error that names them. What depends on nothing
//! but constants can be read.
//!
//! # Weights
//!
//! Weights are named `linear.weight`, `conv2d_2.bias`, ... by the kind of layer, and
//! `conv1/conv2d.weight` in a [`scope`](TensorOps::scope). A tensor used twice is one initializer.
//! Their values are copied to host memory once, when the model is traced: a change after that, such
//! as by `Var::set`, does not reach the export. A quantized `QMatMul` runs, but is not exported.

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod error;
mod index;
mod layers;
mod lower;
mod methods;
pub mod mirror;
mod model;
mod names;
mod native;
mod operators;
pub mod ops;
mod sizes;
mod tape;
mod tensor_ops;
mod tensors;
mod trace;
mod traced;

pub use super::{ParserCheck, Refusal, Report};
pub use error::error_of;
pub use index::{Indexer, Indexes};
pub use layers::{
    Cell, Forward, Func, FuncT, GRU, GRUState, GroupNorm, LSTM, LSTMState, Layer, RNN, Sequence,
    Sequential, func, func_t, group_norm, gru, lstm, seq,
};
pub use model::{Examples, Inputs, ModelInput, ModelOutputs, Traceable};
pub use names::WeightNames;
pub use operators::{Arithmetic, Has, Operators, TensorArithmetic};
pub use tensor_ops::{Operand, Right, TensorOps};
pub use trace::{Trace, export_onnx};
pub use traced::Traced;

#[cfg(feature = "candle-cuda")]
pub(crate) use error::from_candle;
pub(crate) use error::to_candle;
pub(crate) use model::given_names;
#[cfg(feature = "candle-cuda")]
pub(crate) use tensors::carried_dtype;
pub(crate) use tensors::{from_host, to_host};
