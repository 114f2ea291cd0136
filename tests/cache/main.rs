//! The cache of engines, end to end: what is found again, what is not, and what no accident may do to it. The backend
//! is tract with a fingerprint, so that every engine that the cache gives is run and its result compared; TensorRT-RTX
//! builds here too, without a GPU.
#![cfg(all(feature = "tract", unix))]

#[path = "../common/mod.rs"]
mod common;

mod accidents;
mod folder;
mod harness;
mod hits;
mod notes;
mod processes;
#[cfg(all(feature = "burn", feature = "candle"))]
mod same_key;
mod size;
#[cfg(feature = "tensorrt-rtx")]
mod tensorrt;
mod timings;
mod verified;
