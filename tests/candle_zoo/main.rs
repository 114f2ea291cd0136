//! Whole Candle networks under `#[accelerant::trace]`: natively against candle-transformers on the
//! same weights, and exported against the native result, through every target. The networks are
//! in `examples/candle_models`.

#![cfg(all(feature = "candle", feature = "tract"))]

#[path = "../common/mod.rs"]
mod common;
mod harness;
#[path = "../../examples/candle_models/mod.rs"]
mod models;

mod decoders;
mod pictures;
mod senses;
mod texts;
