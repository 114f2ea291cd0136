//! The stream that a slot worked on last, and the streams that must wait for that work.

use cudarc::driver::CudaEvent;

use crate::backend::tensorrt::run::counters::Counters;
use crate::backend::tensorrt::run::queue::Queue;
use crate::error::Result;

/// Whose work this slot did last. The context and all its memory are used in this order.
pub(super) struct Order {
    pub(super) done: CudaEvent,
    /// The stream that recorded `done`; none when that is known to be over.
    pub(super) last: Option<u64>,
    /// The stream that the last caller gave.
    pub(super) user: Option<u64>,
    /// Where a default stream stood when its work was moved to the slot's own.
    pub(super) moved: CudaEvent,
}

impl Drop for Order {
    fn drop(&mut self) {
        if self.last.is_some() {
            // An error here is one of the work before, which its own stream tells.
            let _ = self.done.synchronize();
        }
    }
}

impl Order {
    /// Makes `queue` wait for what this slot did last, if that was elsewhere.
    pub(super) fn begin(&mut self, queue: Queue, counters: &Counters) -> Result<()> {
        if self.last.is_some_and(|last| last != queue.id()) {
            queue.wait(&self.done)?;
            Counters::count(&counters.stream_waits);
        }
        Ok(())
    }

    /// Notes that work was enqueued on `queue`.
    pub(super) fn enqueued(&mut self, queue: Queue) -> Result<()> {
        queue.record(&self.done)?;
        self.last = Some(queue.id());
        Ok(())
    }
}
