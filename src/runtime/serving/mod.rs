//! Serving: runs in the background batches of single requests, and the choice among
//! devices, on host tensors and on threads of
//! their own. Knows no backend and no async runtime.

mod batcher;
mod joined;
mod pending;
mod queue;
mod replicas;
mod submit;
mod workers;

pub use batcher::{Batcher, BatcherCounters, BatcherOptions};
pub use pending::Pending;
pub(super) use replicas::Replicas;
pub(super) use submit::Submitter;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Runs `executable`; a panic of a backend is an error of the request alone.
fn run_caught(executable: &dyn Executable, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
    caught("the backend", || executable.run(inputs))
}

/// Does work on behalf of one of several callers; a panic of `what` is an error of that caller alone.
pub(super) fn caught<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Error::new(ErrorKind::Execution, format!("{what} panicked: {text}")))
    })
}
