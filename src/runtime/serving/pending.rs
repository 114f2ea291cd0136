//! The two ends of a run that goes on elsewhere: who waits for the outputs, and who owes them.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

type Outputs = Result<Vec<HostTensor>>;

/// The handle of a submitted run: a [`Future`] of the outputs. A thread can also [`wait`](Self::wait) for the outputs.
///
/// A `Pending` needs no async runtime, and works with every async runtime. If you drop a `Pending`, the request is
/// withdrawn. A run that has not started is skipped, and the outputs of a started run are dropped.
///
/// ```
/// # use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
/// use std::time::Duration;
/// # let graph = GraphBuilder::new("double");
/// # let x = graph.input("x", DType::F32, [3])?;
/// # graph.output("y", &x.affine(2.0, 0.0)?)?;
/// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
/// # let inputs = [HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])];
///
/// let mut pending = module.submit(&inputs)?;                  // in async code `pending.await?`
/// let outputs = loop {
///     match pending.wait_timeout(Duration::from_millis(10)) {
///         Some(outputs) => break outputs?,
///         None => println!("still waiting"),
///     }
/// };
/// assert_eq!(outputs[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// The thread that ran the batch calls the waker of a task, without holding a lock. A waker that blocks delays the
/// other outputs of the batch and the next batch. The wakers of async runtimes do not block.
#[must_use = "dropping it withdraws the request"]
pub struct Pending(Arc<Shared>);

/// Who owes the outputs. Dropped without them, it gives an error, so that nobody waits in vain.
pub(super) struct Promise(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

enum State {
    /// Not there yet; who is to be woken.
    Waiting(Option<Waker>),
    Done(Outputs),
    /// Given out, or nobody wants it any more.
    Taken,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complete(&self, outputs: Outputs) {
        let mut state = self.lock();
        let State::Waiting(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Done(outputs);
        drop(state);
        self.done.notify_all();
        // What is woken may run at once, on this thread, where others wait for their outputs still.
        if let Some(waker) = waker {
            let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
    }
}

impl State {
    fn take(&mut self) -> Option<Outputs> {
        match mem::replace(self, Self::Taken) {
            Self::Done(outputs) => Some(outputs),
            Self::Taken => {
                let text = "the outputs of this run were given out before";
                Some(Err(Error::new(ErrorKind::InvalidArgument, text)))
            }
            waiting @ Self::Waiting(_) => {
                *self = waiting;
                None
            }
        }
    }
}

/// Both ends of a run.
pub(super) fn pair() -> (Promise, Pending) {
    let shared = Shared { state: Mutex::new(State::Waiting(None)), done: Condvar::new() };
    let shared = Arc::new(shared);
    (Promise(shared.clone()), Pending(shared))
}

impl Promise {
    /// Gives the outputs, or why there are none.
    pub(super) fn fulfil(self, outputs: Outputs) {
        self.0.complete(outputs);
    }

    /// Whether anybody still waits.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let text = "the run was given up: what was to run it has ended";
        self.0.complete(Err(Error::new(ErrorKind::ShutDown, text)));
    }
}

impl Pending {
    /// Blocks this thread until the run is done.
    ///
    /// # Errors
    /// Those of [`InferenceModule::run`](crate::InferenceModule::run); [`ErrorKind::ShutDown`] when
    /// the module or the batcher ended before the run.
    pub fn wait(self) -> Result<Vec<HostTensor>> {
        let mut state = self.0.lock();
        loop {
            if let Some(outputs) = state.take() {
                return outputs;
            }
            state = self.0.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// As [`wait`](Self::wait), for at most `limit`. The result is `None` if the run is not finished; another call
    /// waits again.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, limit: Duration) -> Option<Result<Vec<HostTensor>>> {
        let start = Instant::now();
        let mut state = self.0.lock();
        loop {
            if let Some(outputs) = state.take() {
                return Some(outputs);
            }
            let left = limit.checked_sub(start.elapsed()).filter(|left| !left.is_zero())?;
            state = self.0.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether the run is finished, with outputs or with an error.
    pub fn is_done(&self) -> bool {
        !matches!(*self.0.lock(), State::Waiting(_))
    }
}

impl Future for Pending {
    type Output = Outputs;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outputs> {
        // Cloning and dropping a waker is its owner's code, which may come back to this run: not under the lock.
        let waker = context.waker().clone();
        let mut state = self.0.lock();
        if let Some(outputs) = state.take() {
            drop(state);
            return Poll::Ready(outputs);
        }
        // The last task that asked is the one that is woken.
        let before = mem::replace(&mut *state, State::Waiting(Some(waker)));
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // The waker may own the task that owns this.
        let before = mem::replace(&mut *self.0.lock(), State::Taken);
        drop(before);
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("done", &self.is_done()).finish()
    }
}
