//! Burn models: every lowered operation and layer against Burn's own result on the CPU. One module a
//! family of operations; how a case is run is in `harness`.
#![cfg(feature = "burn")]

#[path = "../common/mod.rs"]
mod common;
mod harness;
mod records;

mod activations;
mod bools;
mod dtypes;
mod dynamic;
#[cfg(feature = "tract")]
mod dynamic_programs;
mod export;
mod floats;
mod index;
mod integers;
mod layers;
mod linear;
#[cfg(feature = "tract")]
mod nans;
mod norms;
mod numeric;
mod order;
mod pooling;
#[cfg(feature = "tract")]
mod programs;
mod refusals;
mod shapes;
mod slices;
mod windows;
