//! From a Candle model to ONNX: the trait that a forward is written over, the tensor that traces the forward, and the graph
//! that is made of the trace. Nothing of backends or running.
//! `docs/forward.md` says how a forward is traced, and what is refused.

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

pub use error::error_of;
pub use layers::{
    Forward, Func, FuncT, GRU, GRUState, GroupNorm, LSTM, LSTMState, NnLayer, RNN, Sequence,
    Sequential, func, func_t, group_norm, gru, lstm, seq,
};
pub use model::{Examples, Inputs, ModelInput, ModelOutputs, Traceable};
pub use names::WeightNames;
pub use tensor_ops::TensorOps;
pub use trace::{Trace, export_onnx};
pub use traced::Traced;

#[cfg(feature = "candle-cuda")]
pub(crate) use error::from_candle;
pub(crate) use error::to_candle;
pub(crate) use model::given_names;
pub(crate) use tensors::{candle_dtype, carried_dtype, from_host, to_host};
