//! Scratch memory that all contexts of an engine share: as much as one needs, and its executions one after
//! the other on the device.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cudarc::driver::{CudaContext, CudaEvent};

use super::memory::DeviceMemory;
use super::queue::Queue;
use crate::backend::tensorrt::ffi::device_error;
use crate::error::Result;

/// One scratch memory, and its last user.
pub(crate) struct Scratch {
    last: Mutex<Last>,
    address: u64,
    // Freed when the last user is gone.
    _memory: DeviceMemory,
}

struct Last {
    done: CudaEvent,
    /// The stream that recorded `done`.
    stream: Option<u64>,
}

impl Scratch {
    /// The device must be bound.
    pub(crate) fn new(device: &Arc<CudaContext>, len: usize) -> Result<Self> {
        let mut memory = DeviceMemory::new(device.clone());
        memory.allocate(len.max(1)).map_err(|e| e.in_operation("scratch memory"))?;
        let done =
            device.new_event(None).map_err(|e| device_error("an event cannot be created", e))?;
        let last = Mutex::new(Last { done, stream: None });
        Ok(Self { last, address: memory.address(), _memory: memory })
    }

    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Makes `queue` wait for the execution before, and others for this one, until it is
    /// [over](Turn::over).
    pub(crate) fn turn(&self, queue: Queue) -> Result<Turn<'_>> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.stream.is_some_and(|stream| stream != queue.id()) {
            queue.wait(&last.done)?;
        }
        Ok(Turn { last, queue })
    }
}

/// The right to enqueue an execution that uses the memory.
pub(crate) struct Turn<'a> {
    last: MutexGuard<'a, Last>,
    queue: Queue,
}

impl Turn<'_> {
    /// The execution was enqueued, or something of it.
    pub(crate) fn over(mut self) -> Result<()> {
        self.queue.record(&self.last.done)?;
        self.last.stream = Some(self.queue.id());
        Ok(())
    }
}
