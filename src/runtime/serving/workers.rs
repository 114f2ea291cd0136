//! Threads that do the work of one owner, and end with it.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread::{Builder, JoinHandle},
};

use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};

/// More threads than this bring nothing, however many contexts there are.
const MOST: usize = 64;

thread_local! {
    /// Whether this is a thread of some owner's workers.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

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
            let work = move || {
                IS_WORKER.set(true);
                while catch_unwind(AssertUnwindSafe(|| step())).unwrap_or(true) {}
            };
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
        // A task that is woken on such a thread may be the last owner. A thread cannot wait for itself, nor for one that
        // waits for it in turn. The threads go on without an owner until their work is done.
        if IS_WORKER.get() {
            return;
        }
        for thread in self.0.drain(..) {
            let _ = thread.join();
        }
    }
}
