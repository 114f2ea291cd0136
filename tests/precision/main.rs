//! Models in other precisions: what the pass writes runs on ONNX Runtime and is compared with the model in 32 bits, and
//! TensorRT-RTX builds all of it, which takes no GPU.

#![cfg(all(feature = "tract", feature = "ort", feature = "tensorrt-rtx"))]

#[path = "../common/mod.rs"]
mod common;

mod auto;
mod bodies;
mod calibration;
mod digits_kept;
mod guarded;
mod masks;
mod mixed;
mod older;
mod operators;
mod overflow;
mod plan;
mod quantized;
mod refused;
mod runs;
mod search;
mod times;
mod whole_codes;

#[cfg(all(feature = "burn", feature = "candle"))]
#[path = "../../examples/digits/src/burn_net.rs"]
#[allow(dead_code, unreachable_pub)]
mod burn_net;
#[cfg(all(feature = "burn", feature = "candle"))]
#[path = "../../examples/digits/src/candle_net.rs"]
#[allow(dead_code, unreachable_pub)]
mod candle_net;
#[cfg(all(feature = "burn", feature = "candle"))]
#[path = "../../examples/digits/src/data.rs"]
#[allow(dead_code, unreachable_pub)]
mod data;
/// The sentence encoder.
#[cfg(all(feature = "burn", feature = "candle"))]
#[allow(dead_code, missing_docs, unreachable_pub)]
#[path = "../models"]
mod models {
    pub mod bert;
    pub mod minilm;
}
#[cfg(all(feature = "burn", feature = "candle"))]
mod sentences;
#[cfg(all(feature = "burn", feature = "candle"))]
mod trained;
