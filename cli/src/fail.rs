//! What ends the command other than well: a text for people and a code for scripts.

use std::{fmt, process::ExitCode};

use accelerant::{Error, ErrorKind};
use serde_json::{Value, json};

/// Results of this command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// A code that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The work failed, or a result differs.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The model or the engine is refused.
    Refused = 3,
    /// No backend, library or device.
    NoBackend = 4,
    /// The work was not done in time.
    TimedOut = 5,
}

impl Code {
    /// The code of an error of the library.
    pub(crate) fn of(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::InvalidArgument => Self::Usage,
            ErrorKind::UnsupportedOperation
            | ErrorKind::InvalidModel
            | ErrorKind::Build
            | ErrorKind::EngineIncompatible
            | ErrorKind::EngineCorrupt => Self::Refused,
            ErrorKind::LibraryNotFound
            | ErrorKind::VersionMismatch
            | ErrorKind::Device
            | ErrorKind::NoBackend => Self::NoBackend,
            ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code as u8)
    }
}

/// Why the command ends, and with which code.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    text: String,
    kind: Option<ErrorKind>,
}

impl Failure {
    fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), kind: None }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Code::Usage, text)
    }

    /// The same where the library refuses what the command line does not say.
    pub(crate) fn not_of_the_line(self) -> Self {
        match self.kind {
            Some(ErrorKind::InvalidArgument) => Self { code: Code::Failed, ..self },
            _ => self,
        }
    }

    /// The work failed.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Code::Failed, text)
    }

    /// The command has a result, and it is not a good one.
    pub(crate) fn with_code(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, text)
    }

    /// What to do about it, where that does not depend on the model.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        let is_librarys = self.kind.is_some();
        (is_librarys && self.code == Code::NoBackend).then_some(
            "`accelerant doctor` lists what runs here and what helps; `--backend ort` and `--backend tract` take no GPU",
        )
    }

    /// As JSON has it.
    pub(crate) fn json(&self) -> Value {
        let kind = self.kind.map(|kind| format!("{kind:?}"));
        let hint = self.hint();
        json!({ "error": {
            "text": self.text, "kind": kind, "hint": hint, "exitCode": self.code as u8,
        } })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = error.kind();
        Self { kind: Some(kind), ..Self::new(Code::of(kind), error.to_string()) }
    }
}

/// A file that cannot be read or written.
pub(crate) fn io(action: &str, path: &std::path::Path, error: impl fmt::Display) -> Failure {
    Failure::failed(format!("cannot {action} {}: {error}", path.display()))
}
