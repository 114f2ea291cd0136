//! Changed bytes for each reader of bytes that nobody should trust: models through the check and a portable backend,
//! engine files, and models with weights in another file. Nothing may end the process, hang, or take more memory than a
//! bound that the size of the bytes gives.
//!
//! `cargo xtask fuzz` runs any number; here a few hundred run. `fuzz/` has the same readers for `cargo fuzz`.
#![cfg(all(feature = "tract", feature = "ort", target_os = "linux"))]

mod campaign;
mod corpus;
mod memory;
mod mutate;
mod random;
mod readers;
mod worker;
