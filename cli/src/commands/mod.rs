//! The commands, a file each. A command reads its arguments and gives its result as text and as JSON; it prints nothing.

pub(crate) mod bench;
#[cfg(feature = "_tensorrt")]
mod bench_device;
mod bench_export;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod doctor;
pub(crate) mod inspect;
pub(crate) mod run;
pub(crate) mod sdk;
pub(crate) mod serve_export;

use serde_json::Value;

use crate::fail::Failure;

/// What a command comes to.
pub(crate) struct Output {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: Value,
    /// Why the command does not end well, though it has a result.
    pub(crate) failure: Option<Failure>,
}

impl Output {
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        Self { text: text.into(), json, failure: None }
    }
}
