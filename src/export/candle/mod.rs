//! From a Candle model to ONNX: the trait that a forward is written over, the tensor that traces the forward, and the graph
//! that is made of the trace. Nothing of backends or running.
//!
//! Candle keeps the operations behind a tensor private. A forward is therefore written over [`TensorOps`], which has candle's
//! methods under candle's names, instead of over `candle_core::Tensor`. On candle's tensor, the forward is the candle model, at
//! candle's speed. On [`Traced`], the forward leaves steps, and the ONNX graph is made of these steps. Layers of candle_nn
//! become one operator each. Import [`Forward`] instead of `candle_core::Module`: the two have the same method.
//!
//! The attribute [`trace`](macro@crate::trace) does all this for an ordinary forward.
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
//! A forward sees sizes as plain numbers, and one run cannot tell the `8` of a batch from the `8` of a layer. Nothing is
//! guessed: the forward runs again for other sizes of each symbolic dimension, and the runs are compared. Tracing computes no
//! values and costs microseconds a step. The sizes are all sizes of a range of up to 64. For a longer range, they are both
//! ends, the powers of two with their neighbors, and a few more.
//!
//! - A value that is equal in all runs is constant.
//! - A size given to `reshape`, `narrow`, `broadcast_as` or `upsample_nearest2d` may differ. The size is then the dimension,
//!   or the multiple of a dimension, that had the same sizes in every run.
//! - Anything else that differs is refused, with an error that names the sizes: a number computed from a size, another number
//!   of steps, or a forward that fails for some sizes, such as a `reshape` to a constant batch.
//!
//! In every run, the shapes that ONNX's rules give are compared with candle's.
//!
//! Without symbols the forward runs twice, and random numbers in the forward are refused. With several symbols, each symbol
//! goes through its range while the other symbols keep their tuned sizes. `probe_every_size` of the options tries all sizes,
//! and all combinations of several symbols.
//!
//! A tensor that the forward makes (`T::zeros`, `T::arange`, `T::tril2`, …) follows the symbols in its sizes, and a constant
//! may be cut or repeated to a symbol. Candle's own `Tensor::zeros` does not tell how its tensor was made: with a size that
//! follows a symbol, the tensor is refused.
//!
//! # Refusals
//!
//! A traced tensor has no values. Methods that read values (`to_vec1`, `to_scalar`, …) or write into a tensor (`slice_set`, …)
//! fail while tracing, with an error that names them. A tensor that depends on constants alone can be read.
//!
//! # Weights
//!
//! Weights are named `linear.weight`, `conv2d_2.bias`, ... by the kind of layer, and `conv1/conv2d.weight` in a
//! [`scope`](TensorOps::scope). A tensor that is used twice is one initializer. The values are copied to host memory once, when
//! the model is traced. A later change, such as by `Var::set`, does not reach the export. A quantized `QMatMul` runs, and is
//! not exported.

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
