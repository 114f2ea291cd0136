//! Messages of C++: lines for the log, and the number of CUDA's error.

use std::{cell::Cell, panic::catch_unwind};

macro_rules! by_severity {
    ($severity:expr, $each:ident) => {
        match $severity {
            ..=1 => $each!(ERROR),
            2 => $each!(WARN),
            // The library's INFO is chatter about memory and timings.
            3 => $each!(DEBUG),
            _ => $each!(TRACE),
        }
    };
}

/// `nvinfer1::ILogger::Severity::kWARNING`.
const WARNING: i32 = 2;
/// `nvinfer1::ILogger::Severity::kINFO`.
const INFO: i32 = 3;

thread_local! {
    static CUDA_ERROR: Cell<i32> = const { Cell::new(0) };
}

pub(crate) fn note_cuda_error(number: i32) {
    CUDA_ERROR.set(number);
}

/// CUDA's number of what this thread's last failing call told, if it told one. Every exception sets it anew.
pub(crate) fn cuda_error(_: &cxx::Exception) -> Option<i32> {
    Some(CUDA_ERROR.get()).filter(|&number| number != 0)
}

pub(crate) fn log_enabled(severity: i32) -> bool {
    macro_rules! enabled {
        ($level:ident) => {
            tracing::enabled!(target: "accelerant::tensorrt", tracing::Level::$level)
        };
    }
    let recorded = severity == WARNING && crate::progress::current().is_some();
    recorded || catch_unwind(|| by_severity!(severity, enabled)).unwrap_or(false)
}

/// Whether the parser reminds its caller of the type of a 64-bit integer, which it does of every such input: this crate
/// binds each input in the type that the engine has, and its user has nothing to do.
fn is_of_bindings(text: &str) -> bool {
    text.contains("Make sure input ") && text.contains(" has Int64 binding")
}

pub(crate) fn log_message(severity: i32, text: &str) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: "accelerant::tensorrt", tracing::Level::$level, "{text}")
        };
    }
    let severity = if is_of_bindings(text) { INFO } else { severity };
    if severity == WARNING {
        crate::progress::warned(text);
    }
    // A subscriber is foreign code, and its panic must not cross into C++.
    let _ = catch_unwind(|| by_severity!(severity, event));
}
