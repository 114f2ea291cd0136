//! Panics of a runtime become errors of the library, which say what the panic said, and no hook hears of them. Other panics
//! are told as a fault of this command.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fail::{Failure, Result};

/// Does the work without the text that Rust prints for a panic, unless the environment asks for backtraces.
pub(crate) fn kept<T>(work: impl FnOnce() -> T) -> Result<T> {
    let last: Arc<Mutex<String>> = Arc::default();
    let usual = panic::take_hook();
    let keeps = last.clone();
    panic::set_hook(Box::new(move |info| {
        *keeps.lock().unwrap_or_else(PoisonError::into_inner) = info.to_string();
        if Backtrace::capture().status() == BacktraceStatus::Captured {
            usual(info);
        }
    }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    done.map_err(|_| {
        let last = last.lock().unwrap_or_else(PoisonError::into_inner);
        Failure::failed(format!("this is a fault of the command: {last}"))
    })
}

/// What a thread that has died said.
pub(crate) fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_that_nobody_catches_is_a_failure_with_its_text() {
        let kept: Result<()> = kept(|| panic!("no {}", "way"));
        let failure = kept.unwrap_err();
        assert_eq!(failure.code as u8, 1);
        let text = failure.to_string();
        assert!(text.contains("no way") && text.contains("panics.rs"), "{text}");
        let died = panic::catch_unwind(|| panic!("a {}", "text")).unwrap_err();
        assert_eq!(super::text(&*died), "a text");
        let _ = panic::take_hook();
    }
}
