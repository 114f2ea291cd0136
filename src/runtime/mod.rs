//! From a model to a module that is called like the original: options, the call, the framework
//! modules. How a backend works inside is not known here.

pub(crate) mod calibration;
mod module;
mod options;
pub(crate) mod pipeline;
pub(crate) mod serving;

#[cfg(feature = "burn")]
pub(crate) mod burn;
#[cfg(feature = "burn-cuda")]
mod burn_cuda;
#[cfg(feature = "candle")]
pub(crate) mod candle;
#[cfg(feature = "candle-cuda")]
mod candle_cuda;
#[cfg(feature = "_tensorrt")]
pub(crate) mod cuda;
#[cfg(feature = "_tensorrt")]
mod output_pool;

pub use module::InferenceModule;
pub use options::OptimizeOptions;
