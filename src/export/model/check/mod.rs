//! The checks of a model before a reader sees the model. The parser of TensorRT ends the process on many models that break
//! these rules, and tract on some.

mod names;
#[cfg_attr(not(all(feature = "ort", feature = "tract", feature = "_tensorrt")), allow(dead_code))]
mod readers;
pub(super) mod schema;

pub(super) use names::names;
