//! A panic of a backend, or of a library that it calls, becomes an error. Knows no backend.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, ErrorKind, Result};

/// Runs `call`, and makes an error of `kind` from its panic. The panic's text has gone to the panic hook by then, which
/// prints the text by default.
pub(super) fn guarded<T>(kind: ErrorKind, call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Error::new(kind, format!("it panicked: {text}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        let error = guarded(ErrorKind::Execution, || panic!("no {}", "row")).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Execution, "it panicked: no row"));
        assert_eq!(guarded(ErrorKind::Build, || 7).unwrap(), 7);
    }
}
