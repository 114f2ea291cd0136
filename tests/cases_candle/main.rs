//! Candle forwards through every target, against Candle's own results on the CPU: methods and
//! layers with their attributes, static and dynamic. One module a family; how a case is run is in
//! `harness`. Tracing errors and whole models are in `candle_models`.
#![cfg(feature = "candle")]

#[path = "../common/mod.rs"]
mod common;
mod harness;
mod records;

mod arithmetic;
mod attention;
mod bytes;
mod casts;
mod check;
mod creation;
mod dtypes;
#[cfg(feature = "tract")]
mod dynamic_programs;
mod elementwise;
mod indexing;
mod layers;
mod lengths;
mod no_index;
#[cfg(feature = "tract")]
mod programs;
mod recurrent;
mod reductions;
mod refused;
mod shapes;
mod surface;
mod windows;
