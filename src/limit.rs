//! A limit of time for a run or a compilation, and a way to cancel from another thread. Knows nothing of the work.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::error::{Error, ErrorKind, Result};

/// A time limit for [runs](crate::InferenceModule::run_within) and
/// [compilations](crate::OptimizeOptions::compile_limit), which can be cancelled. Clones are the same limit.
///
/// The caller gets [`ErrorKind::TimedOut`] soon after the limit is over. ONNX Runtime and tract stop before the next
/// node of the model. A started node cannot be stopped, such as a large matrix multiplication, and on tract also a
/// recurrent layer, a `Scan` or an `If`. Such a run goes on in the background, its results are dropped, and the error
/// says so. [`InferenceModule::overdue_runs`](crate::InferenceModule::overdue_runs) counts these overdue runs. tract
/// runs other requests beside overdue runs; a session of ONNX Runtime runs the next request after them.
///
/// A run on TensorRT cannot be stopped after the device has started it. If the limit is over before, the run does not
/// start.
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

/// So long a caller waits for work that was told to stop.
const A_LITTLE: Duration = Duration::from_millis(20);
/// As large as that of a program's first thread.
const STACK: usize = 8 << 20;

/// Work on a thread of its own.
struct Job<T> {
    done: AtomicBool,
    end: Mutex<End<T>>,
}

enum End<T> {
    /// It goes on, and the caller waits.
    Open,
    /// It goes on, and nobody waits.
    Left,
    Done(thread::Result<T>),
}

/// How much work goes on that outlived its limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overdue(Arc<AtomicUsize>);

#[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
impl Overdue {
    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Waits until less than `most` of it goes on, and no longer than `limit`.
    ///
    /// # Errors
    /// That the limit is over, and why the work did not begin.
    pub(crate) fn expect_fewer_than(&self, most: usize, limit: &TimeLimit) -> Result<()> {
        loop {
            let count = self.count();
            if count < most {
                return limit.check();
            }
            limit.check().map_err(|e| {
                let text = format!("{}; {count} before it outlived their limits", e.message());
                Error::new(e.kind(), text)
            })?;
            thread::sleep(BETWEEN_LOOKS);
        }
    }
}

/// So often somebody who waits for overdue work looks.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1);

impl TimeLimit {
    /// A limit that starts now, and not with the run.
    pub fn of(time: Duration) -> Self {
        Self::until(time, Instant::now().checked_add(time))
    }

    /// A limit without a time, which can be [cancelled](Self::cancel).
    pub fn none() -> Self {
        Self::until(Duration::MAX, None)
    }

    fn until(time: Duration, deadline: Option<Instant>) -> Self {
        let (cancelled, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { time, deadline, cancelled, changed }))
    }

    /// Cancels all work with this limit, also work that starts later.
    pub fn cancel(&self) {
        *self.lock() = true;
        self.0.changed.notify_all();
    }

    /// Checks whether time is left. Your own backend calls this method between two steps of a run.
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

    /// Does `work` on a thread of its own. When the limit is over before `work` ends, `stop` is called, and the caller
    /// gets the error soon, also where `work` cannot be stopped: `overdue` counts that work until it ends by itself. The
    /// work owns all that it uses, so nothing that it uses is gone before.
    #[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
    pub(crate) fn apart<T: Send + 'static>(
        &self,
        overdue: &Overdue,
        stop: impl FnOnce(),
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.check()?;
        let job = Arc::new(Job { done: AtomicBool::new(false), end: Mutex::new(End::Open) });
        let (limit, its, count) = (self.clone(), job.clone(), overdue.clone());
        let worker = move || {
            let ended = catch_unwind(AssertUnwindSafe(work));
            let mut end = its.end.lock().unwrap_or_else(PoisonError::into_inner);
            let left = matches!(*end, End::Left);
            if left {
                drop(end);
                // Its memory is free before the work is no longer counted.
                drop(ended);
                count.0.fetch_sub(1, Ordering::Relaxed);
            } else {
                *end = End::Done(ended);
                drop(end);
            }
            its.done.store(true, Ordering::Relaxed);
            let _changing = limit.lock();
            limit.0.changed.notify_all();
        };
        let thread = thread::Builder::new().name("accelerant-limit".to_owned());
        thread.stack_size(STACK).spawn(worker).map_err(|e| {
            Error::new(ErrorKind::Io, format!("no thread for a time limit: {e}")).with_source(e)
        })?;
        if self.is_over_before(&job.done) {
            stop();
            self.wait_a_little(&job.done);
        }
        let mut end = job.end.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *end, End::Left) {
            End::Done(ended) => ended.map_err(|panic| resume_unwind(panic)),
            End::Open | End::Left => {
                overdue.0.fetch_add(1, Ordering::Relaxed);
                drop(end);
                let over = self.check().err();
                let error = over.unwrap_or_else(|| Error::new(ErrorKind::TimedOut, "it is over"));
                let text =
                    format!("{}; it could not be stopped, and still goes on", error.message());
                Err(Error::new(error.kind(), text))
            }
        }
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

    /// Waits for work that was told to stop.
    fn wait_a_little(&self, done: &AtomicBool) {
        let until = Instant::now() + A_LITTLE;
        let mut cancelled = self.lock();
        while !done.load(Ordering::Relaxed) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let changed = &self.0.changed;
            cancelled =
                changed.wait_timeout(cancelled, left).unwrap_or_else(PoisonError::into_inner).0;
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

    const LONG: Duration = Duration::from_secs(20);

    fn limit_of(kind: ErrorKind) -> TimeLimit {
        match kind {
            ErrorKind::TimedOut => TimeLimit::of(Duration::from_millis(200)),
            _ => {
                let limit = TimeLimit::none();
                let other = limit.clone();
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(200));
                    other.cancel();
                });
                limit
            }
        }
    }

    #[test]
    fn work_is_stopped_by_time_and_by_another_thread() {
        for kind in [ErrorKind::TimedOut, ErrorKind::Cancelled] {
            let limit = limit_of(kind);
            let (stop, stopped) = mpsc::channel();
            let overdue = Overdue::default();
            let work = move || stopped.recv_timeout(LONG);
            let ended = limit.apart(&overdue, || stop.send(()).unwrap(), work).unwrap();
            assert!(ended.is_ok(), "{kind:?}: nobody stopped it");
            assert_eq!(overdue.count(), 0);
            assert_eq!(limit.check().unwrap_err().kind(), kind);
            let again = limit.apart(&overdue, || (), || -> u8 { panic!("it began") });
            assert_eq!(again.unwrap_err().kind(), kind);
        }
    }

    #[test]
    fn work_that_cannot_be_stopped_is_left_and_counted_until_it_ends() {
        for kind in [ErrorKind::TimedOut, ErrorKind::Cancelled] {
            let limit = limit_of(kind);
            let overdue = Overdue::default();
            let (end, ended) = mpsc::channel::<()>();
            let start = Instant::now();
            let work = move || {
                let _ = ended.recv_timeout(LONG);
            };
            let error = limit.apart(&overdue, || (), work).unwrap_err();
            assert_eq!(error.kind(), kind);
            assert!(error.message().contains("still goes on"), "{error}");
            assert!(start.elapsed() < LONG / 2, "{:?}", start.elapsed());
            assert_eq!(overdue.count(), 1);
            let soon = TimeLimit::of(Duration::from_millis(20));
            let refused = overdue.expect_fewer_than(1, &soon).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::TimedOut);
            end.send(()).unwrap();
            overdue.expect_fewer_than(1, &TimeLimit::of(LONG)).unwrap();
            assert_eq!(overdue.count(), 0);
        }
    }

    #[test]
    fn what_is_done_in_time_is_not_stopped_and_nobody_waits_for_the_limit() {
        for limit in [TimeLimit::of(Duration::MAX), TimeLimit::of(180 * LONG), TimeLimit::none()] {
            let (start, overdue) = (Instant::now(), Overdue::default());
            assert_eq!(limit.apart(&overdue, || panic!("it was stopped"), || 7).unwrap(), 7);
            assert!(start.elapsed() < LONG);
            limit.check().unwrap();
            let work = || -> u8 { panic!("of the work") };
            let panics = || limit.apart(&overdue, || (), work).unwrap();
            let panic = catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"of the work"));
            assert_eq!(overdue.count(), 0);
        }
    }
}
