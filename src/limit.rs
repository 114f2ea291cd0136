//! A limit of time for a run or a compilation, and a way to cancel from another thread. Knows nothing of the work.

use std::{
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, ErrorKind, Result};

/// A time limit, and a way to cancel, for [runs](crate::InferenceModule::run_within) and
/// [compilations](crate::OptimizeOptions::compile_limit). Clones are the same limit.
///
/// ONNX Runtime and tract stop before the next node of the model. A node that has begun ends first: a large matrix
/// product, and on tract also a recurrent layer, a `Scan` or an `If`. A run on TensorRT cannot be stopped once the device
/// has the run. If the limit is over before, the run does not begin.
///
/// ```
/// use std::{thread, time::Duration};
/// use accelerant::{ErrorKind, TimeLimit};
/// # use accelerant::{BackendKind, DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
/// # let graph = GraphBuilder::new("double");
/// # let x = graph.input("x", DType::F32, [3])?;
/// # graph.output("y", &x.affine(2.0, 0.0)?)?;
/// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
/// # let inputs = [HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])];
/// let limit = TimeLimit::of(Duration::from_secs(2));
/// let outputs = module.run_within(&inputs, &limit)?;
///
/// // Any thread may cancel the limit.
/// let limit = TimeLimit::none();
/// let other = limit.clone();
/// thread::spawn(move || other.cancel()).join().unwrap();
/// assert_eq!(module.run_within(&inputs, &limit).unwrap_err().kind(), ErrorKind::Cancelled);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct TimeLimit(Arc<Inner>);

struct Inner {
    time: Duration,
    /// `None` is never.
    deadline: Option<Instant>,
    cancelled: Mutex<bool>,
    /// It was cancelled, or some work that was watched is done.
    changed: Condvar,
}

impl TimeLimit {
    /// A limit that ends this long after now, and not after the run begins.
    pub fn of(time: Duration) -> Self {
        Self::until(time, Instant::now().checked_add(time))
    }

    /// No limit of time. The limit can be [cancelled](Self::cancel).
    pub fn none() -> Self {
        Self::until(Duration::MAX, None)
    }

    fn until(time: Duration, deadline: Option<Instant>) -> Self {
        let (cancelled, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { time, deadline, cancelled, changed }))
    }

    /// Ends all work that has this limit, also work that begins later.
    pub fn cancel(&self) {
        *self.lock() = true;
        self.0.changed.notify_all();
    }

    /// Whether time is left. A backend of your own calls this method between two steps of a run.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] and [`ErrorKind::TimedOut`].
    pub fn check(&self) -> Result<()> {
        if *self.lock() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled through its time limit"));
        }
        match self.0.deadline {
            Some(deadline) if Instant::now() >= deadline => {
                let text = format!("the time limit of {:?} is over", self.0.time);
                Err(Error::new(ErrorKind::TimedOut, text))
            }
            _ => Ok(()),
        }
    }

    /// Does `work`, and calls `stop` from another thread as soon as the limit is over.
    #[cfg_attr(not(feature = "ort"), allow(dead_code))]
    pub(crate) fn watched<T>(
        &self,
        stop: impl Fn() + Send + Sync,
        work: impl FnOnce() -> T,
    ) -> Result<T> {
        /// Ends the watch also where `work` panics.
        struct Done<'a>(&'a TimeLimit, &'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                let _changing = self.0.lock();
                self.1.store(true, Ordering::Relaxed);
                self.0.0.changed.notify_all();
            }
        }
        self.check()?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = || {
                if self.is_over_before(&done) {
                    stop();
                }
            };
            let watcher = thread::Builder::new().name("accelerant-limit".to_owned());
            watcher.spawn_scoped(scope, watch).map_err(|e| {
                Error::new(ErrorKind::Io, format!("no thread for a time limit: {e}")).with_source(e)
            })?;
            let _done = Done(self, &done);
            Ok(work())
        })
    }

    /// Waits until the limit is over or `done` is set, and says whether the limit is over.
    fn is_over_before(&self, done: &AtomicBool) -> bool {
        let mut cancelled = self.lock();
        loop {
            if done.load(Ordering::Relaxed) {
                return false;
            }
            if *cancelled {
                return true;
            }
            let changed = &self.0.changed;
            cancelled = match self.0.deadline {
                None => changed.wait(cancelled).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return true;
                    }
                    changed.wait_timeout(cancelled, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.0.cancelled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.deadline {
            Some(_) => write!(f, "TimeLimit({:?})", self.0.time),
            None => f.write_str("TimeLimit(none)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn what_is_watched_is_stopped_by_time_and_by_another_thread() {
        for kind in [ErrorKind::TimedOut, ErrorKind::Cancelled] {
            let limit = match kind {
                ErrorKind::TimedOut => TimeLimit::of(Duration::from_millis(500)),
                _ => TimeLimit::none(),
            };
            let (stop, stopped) = mpsc::channel();
            let (other, cancels) = (limit.clone(), kind == ErrorKind::Cancelled);
            let wait = || {
                if cancels {
                    thread::spawn(move || other.cancel());
                }
                stopped.recv_timeout(Duration::from_secs(20))
            };
            let ended = limit.watched(|| stop.send(()).unwrap(), wait).unwrap();
            assert!(ended.is_ok(), "{kind:?}: nobody stopped it");
            assert_eq!(limit.check().unwrap_err().kind(), kind);
            assert_eq!(limit.watched(|| (), || ()).unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn what_is_done_in_time_is_not_stopped_and_nobody_waits_for_the_limit() {
        for limit in [
            TimeLimit::of(Duration::MAX),
            TimeLimit::of(Duration::from_secs(3600)),
            TimeLimit::none(),
        ] {
            let start = Instant::now();
            assert_eq!(limit.watched(|| panic!("it was stopped"), || 7).unwrap(), 7);
            assert!(start.elapsed() < Duration::from_secs(60));
            limit.check().unwrap();
        }
    }
}
