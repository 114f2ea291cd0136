//! A panic of a backend, or of a library that it calls, becomes an error. Knows no backend.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread;

use crate::error::{Error, ErrorKind, Result};

thread_local! {
    /// How many calls that catch panics this thread is in.
    static CAUGHT: Cell<usize> = const { Cell::new(0) };
}

/// Runs `call`, and makes an error of `kind` from its panic. The error has the text of the panic, which is not printed.
pub(crate) fn guarded<T>(kind: ErrorKind, call: impl FnOnce() -> T) -> Result<T> {
    tell_others_alone();
    CAUGHT.set(CAUGHT.get() + 1);
    let ended = catch_unwind(AssertUnwindSafe(call));
    CAUGHT.set(CAUGHT.get() - 1);
    ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Error::new(kind, format!("it panicked: {text}"))
    })
}

/// Puts a hook before the program's own, once, that does not hear of panics that become errors.
fn tell_others_alone() {
    static PUT: Once = Once::new();
    // Hooks cannot be changed in a thread that panics.
    if PUT.is_completed() || thread::panicking() {
        return;
    }
    PUT.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if is_told() {
                before(panic);
            }
        }));
    });
}

/// Whether a panic of this thread is told to the program's hook.
fn is_told() -> bool {
    CAUGHT.try_with(Cell::get).unwrap_or_default() == 0
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

    #[test]
    fn panics_that_become_errors_are_not_told_and_those_of_other_threads_are() {
        let inside = guarded(ErrorKind::Build, || {
            let nested = guarded::<()>(ErrorKind::Build, || panic!("inside"));
            (nested.is_err(), is_told(), thread::spawn(is_told).join().unwrap())
        });
        assert_eq!(inside.unwrap(), (true, false, true));
        assert!(guarded::<()>(ErrorKind::Build, || panic!("outside")).is_err());
        assert!(is_told());
    }
}
