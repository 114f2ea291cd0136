//! Runs in the background, each for itself, begun in the order in which they were submitted.

use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Sender, channel},
};

use super::pending::{Pending, Promise, pair};
use super::run_caught;
use super::workers::Workers;
use crate::backend::Executable;
use crate::error::Result;
use crate::tensor::HostTensor;

/// A queue before an executable, and the threads that empty it. Dropping it waits until all is done
/// that somebody still waits for.
pub(in crate::runtime) struct Submitter {
    // Gone before the threads are waited for, which tells them to end.
    queue: Sender<(Vec<HostTensor>, Promise)>,
    _workers: Workers,
}

impl Submitter {
    pub(in crate::runtime) fn new(executable: Arc<dyn Executable>) -> Result<Self> {
        let (queue, jobs) = channel::<(Vec<HostTensor>, Promise)>();
        let (jobs, of) = (Mutex::new(jobs), executable.clone());
        let step = move || {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((inputs, promise)) = job else { return false };
            if promise.is_wanted() {
                let outputs = run_caught(&*executable, &inputs);
                promise.fulfil(outputs.map_err(|e| e.in_operation("run")));
            }
            true
        };
        Ok(Self { queue, _workers: Workers::start("accelerant-run", &*of, step)? })
    }

    pub(in crate::runtime) fn submit(&self, inputs: &[HostTensor]) -> Pending {
        let (promise, pending) = pair();
        // Without threads the promise comes back and tells so.
        let _ = self.queue.send((inputs.to_vec(), promise));
        pending
    }
}
