//! Candle on a CUDA device.

pub(crate) mod endurance;
pub(crate) mod models;
mod nets;
