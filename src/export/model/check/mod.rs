//! What is checked of a model before a consumer sees it. The parser of TensorRT ends the process on
//! many models that break these rules, and tract on some.

mod names;
#[cfg_attr(not(all(feature = "ort", feature = "_tensorrt")), allow(dead_code))]
mod readers;
pub(super) mod schema;

pub(super) use names::names;
