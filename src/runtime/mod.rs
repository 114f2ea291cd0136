//! From a model to a module that is called like the original: options, the call, the framework modules. Knows backends by
//! their traits alone.

pub(crate) mod calibration;
#[cfg(any(feature = "burn", feature = "candle"))]
mod check;
mod checked;
mod chosen;
mod compile;
mod flavors;
pub(crate) mod generate;
mod layer_times;
mod limited;
mod live;
mod module;
mod options;
pub(crate) mod pipeline;
mod refit;
mod report;
pub(crate) mod sensitivity;
pub(crate) mod serving;
mod verify;

#[cfg(feature = "burn")]
pub(crate) mod burn;
#[cfg(feature = "burn-cuda")]
mod burn_cuda;
#[cfg(feature = "burn")]
pub(crate) mod burn_decoder;
#[cfg(feature = "candle")]
pub(crate) mod candle;
#[cfg(feature = "candle-cuda")]
mod candle_cuda;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
#[cfg(feature = "cuda")]
pub(crate) mod device_timer;
#[cfg(feature = "cuda")]
mod output_pool;

pub use module::InferenceModule;
pub use options::OptimizeOptions;
pub use refit::Refit;
pub use report::{ModuleReport, PassChange, PhaseTime, RejectedBackend};
pub use verify::{
    Difference, LayerDifference, OutputDifference, Tolerance, Verification, VerifyOptions,
};

/// Threads share all of these, and a field that forbids that does not compile.
const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<crate::HostTensor>();
    shared::<crate::Engine>();
    shared::<crate::Registry>();
    shared::<crate::TimeLimit>();
    shared::<crate::cache::EngineCache>();
    shared::<crate::export::OnnxModel>();
    shared::<InferenceModule>();
    shared::<OptimizeOptions>();
    shared::<generate::DecoderModule>();
    shared::<generate::EncoderDecoderModule>();
    shared::<pipeline::Pipeline<f32, f32>>();
    shared::<serving::Batcher>();
    #[cfg(feature = "burn")]
    shared::<burn::BurnModule<::burn::tensor::Tensor<2>, ::burn::tensor::Tensor<2>>>();
    #[cfg(feature = "candle")]
    shared::<candle::CandleModule>();
};
