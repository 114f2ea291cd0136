//! ONNX Runtime's messages as lines of `tracing`, under the target `ort`.

use std::panic::catch_unwind;

use ort::logging::LogLevel;
use tracing::Level;

/// One message. ONNX Runtime tells at its level `info` what each of its passes did, several hundred lines for one model:
/// who searches for a cause asks for them, and nobody else reads them.
pub(super) fn line(level: LogLevel, _: &str, _: &str, location: &str, message: &str) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(target: "ort", Level::$level, location, "{message}")
        };
    }
    // A subscriber is foreign code, and its panic must not cross into C++.
    let _ = catch_unwind(|| match level {
        LogLevel::Verbose => event!(TRACE),
        LogLevel::Info => event!(DEBUG),
        LogLevel::Warning => event!(WARN),
        LogLevel::Error | LogLevel::Fatal => event!(ERROR),
    });
}

/// What a session tells: as much as the subscriber of this thread wants, since most lines cost more to make than to read.
pub(super) fn wanted() -> LogLevel {
    if tracing::enabled!(target: "ort", Level::TRACE) {
        LogLevel::Verbose
    } else if tracing::enabled!(target: "ort", Level::DEBUG) {
        LogLevel::Info
    } else {
        LogLevel::Warning
    }
}
