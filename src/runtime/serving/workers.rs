//! Threads that do the work of one owner, and end with it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{self, Builder, JoinHandle},
};

use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};

/// More threads than this bring nothing, however many contexts there are.
const MOST: usize = 64;

/// Threads that take one piece of work after the other until there will be none.
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts as many threads as `executable` has use for. Each calls `step` until that says that
    /// there will be no more work.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system gives no thread.
    pub(super) fn start(
        name: &str,
        executable: &dyn Executable,
        step: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Result<Self> {
        let step = Arc::new(step);
        let mut threads = Vec::new();
        for _ in 0..executable.concurrency().clamp(1, MOST) {
            let step = step.clone();
            // A waker may panic, and the others still wait.
            let work = move || while catch_unwind(AssertUnwindSafe(|| step())).unwrap_or(true) {};
            match Builder::new().name(name.to_owned()).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(e) if threads.is_empty() => {
                    let text = format!("no thread can be started: {e}");
                    return Err(Error::new(ErrorKind::Io, text).with_source(e));
                }
                Err(_) => break,
            }
        }
        Ok(Self(threads))
    }
}

impl Drop for Workers {
    /// Waits for the threads, whose work must have been told to end.
    fn drop(&mut self) {
        let this = thread::current().id();
        // A task that is woken here may be the last owner: its own thread cannot wait for itself.
        if self.0.iter().any(|thread| thread.thread().id() == this) {
            return;
        }
        for thread in self.0.drain(..) {
            let _ = thread.join();
        }
    }
}
