//! One model on several devices: which of them a run goes to.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::backend::{DeviceExecutable, Executable};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::TimeLimit;
use crate::spec::Signature;
use crate::tensor::HostTensor;

/// So long a device that failed comes last. Else it would get everything, since it fails so fast.
const REST: Duration = Duration::from_secs(1);

/// The same model loaded several times, each on a device of its own.
#[derive(Debug)]
pub(in crate::runtime) struct Replicas {
    executables: Vec<Arc<dyn Executable>>,
    /// How many runs each does at a time.
    concurrency: Vec<usize>,
    loads: Mutex<Vec<Load>>,
}

#[derive(Clone, Debug, Default)]
struct Load {
    running: usize,
    failed: Option<Instant>,
}

impl Replicas {
    /// At least one.
    pub(in crate::runtime) fn new(executables: Vec<Arc<dyn Executable>>) -> Self {
        let loads = Mutex::new(vec![Load::default(); executables.len()]);
        let concurrency = executables.iter().map(|replica| replica.concurrency().max(1)).collect();
        Self { executables, concurrency, loads }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Load>> {
        // The list is whole at every point where a panic could leave it.
        self.loads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The replica with the least to do for what it can do at the same time, of those that were not
    /// tried.
    fn lease(&self, tried: &[usize]) -> Option<ReplicaLease<'_>> {
        let mut loads = self.lock();
        let now = Instant::now();
        let rests = |load: &Load| load.failed.is_some_and(|at| now.duration_since(at) < REST);
        let share = |i: usize, load: &Load| load.running as f64 / self.concurrency[i] as f64;
        let (i, _) = loads.iter().enumerate().filter(|(i, _)| !tried.contains(i)).min_by(
            |&(a, first), &(b, second)| {
                let by_share = share(a, first).total_cmp(&share(b, second));
                rests(first).cmp(&rests(second)).then(by_share)
            },
        )?;
        loads[i].running += 1;
        Some(ReplicaLease { replicas: self, i })
    }

    /// Runs on a replica, and after a failure of its device on the next.
    fn run_on_one(
        &self,
        run: impl Fn(&dyn Executable) -> Result<Vec<HostTensor>>,
    ) -> Result<Vec<HostTensor>> {
        let mut tried = Vec::new();
        let mut failure = None;
        while let Some(lease) = self.lease(&tried) {
            let outputs = run(&*self.executables[lease.i]);
            let failed = outputs.as_ref().err().map(Error::kind) == Some(ErrorKind::Device);
            self.lock()[lease.i].failed = failed.then(Instant::now);
            if !failed {
                return outputs;
            }
            failure = outputs.err();
            tried.push(lease.i);
        }
        Err(failure.unwrap_or_else(|| Error::new(ErrorKind::Device, "there are no replicas")))
    }
}

/// A run on a replica, counted for as long as it goes on.
struct ReplicaLease<'a> {
    replicas: &'a Replicas,
    i: usize,
}

impl Drop for ReplicaLease<'_> {
    fn drop(&mut self) {
        self.replicas.lock()[self.i].running -= 1;
    }
}

impl Executable for Replicas {
    fn signature(&self) -> &Signature {
        self.executables[0].signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.run_on_one(|replica| replica.run(inputs))
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.run_on_one(|replica| replica.run_within(inputs, limit))
    }

    fn concurrency(&self) -> usize {
        self.concurrency.iter().fold(0, |all, &one| all.saturating_add(one))
    }

    fn overdue(&self) -> usize {
        self.executables.iter().map(|replica| replica.overdue()).sum()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.executables[0].device()
    }

    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.executables.iter().find_map(|replica| replica.device_on(ordinal))
    }
}
