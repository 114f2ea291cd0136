//! A model with a longest time for every run.

use std::{sync::Arc, time::Duration};

use crate::backend::{DeviceExecutable, Executable};
use crate::error::Result;
use crate::limit::TimeLimit;
use crate::spec::Signature;
use crate::tensor::HostTensor;

#[derive(Debug)]
struct Limited {
    executable: Arc<dyn Executable>,
    time: Duration,
}

/// The same model; with a time each of its runs ends by then.
pub(super) fn limited(
    executable: Arc<dyn Executable>,
    time: Option<Duration>,
) -> Arc<dyn Executable> {
    match time {
        Some(time) => Arc::new(Limited { executable, time }),
        None => executable,
    }
}

impl Executable for Limited {
    fn signature(&self) -> &Signature {
        self.executable.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.executable.run_within(inputs, &TimeLimit::of(self.time))
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.executable.run_within(inputs, limit)
    }

    fn concurrency(&self) -> usize {
        self.executable.concurrency()
    }

    fn overdue(&self) -> usize {
        self.executable.overdue()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.executable.device()
    }

    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.executable.device_on(ordinal)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        let executable = self.executable.for_profile(name)?.into();
        Ok(Box::new(Self { executable, time: self.time }))
    }
}
