//! Operations of both frameworks that ONNX has no operator for, written once.

mod scatter;

pub(super) use scatter::{Combined, combine};
