//! Models in other precisions: what the pass writes runs on ONNX Runtime and is compared with the model in 32 bits, and
//! TensorRT-RTX builds all of it, which takes no GPU.

#![cfg(all(feature = "tract", feature = "ort", feature = "tensorrt-rtx"))]

#[path = "../common/mod.rs"]
mod common;

mod calibration;
mod mixed;
mod operators;
mod overflow;
mod plan;
mod quantized;
mod refused;
mod runs;

#[cfg(all(feature = "burn", feature = "candle"))]
mod trained;
