//! The phases of work that a caller may want to follow, time or stop. The thread that works has one recorder, so that
//! rooms tell their phases without knowing the listener. Knows nothing of what the phases do.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    fmt,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crate::error::{Error, ErrorKind, Result};
use crate::limit::TimeLimit;
use crate::span::NamedRange;

/// A phase of the work from a model to a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// A framework's model becomes ONNX.
    Export,
    /// The graph is adapted to the backend.
    Passes,
    /// The crate checks whether the backend supports the model.
    Check,
    /// The engine cache is checked: the model is hashed, and an entry is read.
    Cache,
    /// Another process or thread builds the same engine.
    Wait,
    /// The backend's parser reads the model.
    Parse,
    /// The backend builds an engine.
    Build,
    /// A new engine is verified on another backend.
    Verify,
    /// The engine is written to the cache.
    Store,
    /// The engine is loaded.
    Load,
    /// The backend compiles kernels and creates the first context.
    Kernels,
    /// Precisions are tried: in each step, a model is timed or compared.
    Search,
}

impl Phase {
    /// The name in reports and JSON, such as `build`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Export => "export",
            Self::Passes => "passes",
            Self::Check => "check",
            Self::Cache => "cache",
            Self::Wait => "wait",
            Self::Parse => "parse",
            Self::Build => "build",
            Self::Verify => "verify",
            Self::Store => "store",
            Self::Load => "load",
            Self::Kernels => "kernels",
            Self::Search => "search",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// An event that a [progress callback](crate::OptimizeOptions::progress) gets.
///
/// ```
/// use std::ops::ControlFlow;
/// use accelerant::{OptimizeOptions, Phase, Progress};
///
/// let options = OptimizeOptions::new().progress(|event| match event {
///     Progress::Started { phase: Phase::Build } => ControlFlow::Break(()),      // build nothing
///     _ => ControlFlow::Continue(()),
/// });
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A phase begins. Phases may nest.
    Started {
        /// The phase.
        phase: Phase,
    },
    /// A step of a phase is finished. A phase that waits sends such an event regularly, with a `total` of 0.
    Step {
        /// The phase.
        phase: Phase,
        /// The part of the phase, as the backend names it.
        part: &'a str,
        /// The number of finished steps of this part.
        done: usize,
        /// The expected number of steps of this part; 0 if the number is not known.
        total: usize,
    },
    /// A phase has ended, successfully or with an error.
    Finished {
        /// The phase.
        phase: Phase,
        /// The time of the phase, including the phases inside it.
        took: Duration,
    },
}

/// A progress callback. [`ControlFlow::Break`] stops the work.
pub type ProgressCallback = dyn Fn(Progress<'_>) -> ControlFlow<()> + Send + Sync;

/// Whom to tell, where it is kept among options.
#[derive(Clone, Default)]
pub(crate) struct Follower(pub(crate) Option<Arc<ProgressCallback>>);

impl fmt::Debug for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a callback" } else { "nobody" })
    }
}

/// Names of passes, and in how many places each changed a graph.
pub(crate) type Passes = Vec<(Cow<'static, str>, usize)>;

/// What was recorded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record {
    /// Each phase once, in the order in which they began, without the time of the phases inside.
    pub(crate) phases: Vec<(Phase, Duration)>,
    /// The passes that changed something, and in how many places.
    pub(crate) passes: Passes,
    /// Warnings of a library, each once.
    pub(crate) warnings: Vec<String>,
}

/// Takes down what a thread does, and passes it on to the caller's callback.
#[derive(Default)]
pub(crate) struct Recorder {
    callback: Option<Arc<ProgressCallback>>,
    limit: Option<TimeLimit>,
    memory: Option<u64>,
    threads: Option<usize>,
    stopped: AtomicBool,
    record: Mutex<Record>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Recorder>>> = const { RefCell::new(None) };
    /// The time of the phases that ended inside the one that goes on.
    static INNER: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The most warnings that are kept: a network of many layers may give the same kind for each.
const MOST_WARNINGS: usize = 64;

impl Recorder {
    pub(crate) fn new(
        callback: Option<Arc<ProgressCallback>>,
        limit: Option<TimeLimit>,
        memory: Option<u64>,
    ) -> Arc<Self> {
        Arc::new(Self { callback, limit, memory, ..Self::default() })
    }

    /// For work on a thread beside others that does the same: with the callback and the limits of `whole`, and so many
    /// threads for what it makes.
    pub(crate) fn sharing(whole: Option<&Self>, threads: usize) -> Arc<Self> {
        let of = |whole: &Self| (whole.callback.clone(), whole.limit.clone(), whole.memory);
        let (callback, limit, memory) = whole.map(of).unwrap_or_default();
        Arc::new(Self { callback, limit, memory, threads: Some(threads), ..Self::default() })
    }

    /// Makes this the recorder of the thread while `work` goes on.
    pub(crate) fn during<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct Before(Option<Arc<Recorder>>);
        impl Drop for Before {
            fn drop(&mut self) {
                CURRENT.set(self.0.take());
            }
        }
        let _before = Before(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// What was recorded so far.
    pub(crate) fn record(&self) -> Record {
        self.lock().clone()
    }

    /// Tells a step, from any thread. Whether the work goes on.
    pub(crate) fn step(&self, phase: Phase, part: &str, done: usize, total: usize) -> bool {
        self.tell(Progress::Step { phase, part, done, total });
        !self.is_stopped()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed) || self.over().is_some()
    }

    /// The error of a limit that is over.
    fn over(&self) -> Option<Error> {
        self.limit.as_ref()?.check().err()
    }

    fn tell(&self, event: Progress<'_>) {
        let Some(callback) = &self.callback else { return };
        // A step may be told by a library's thread, through which no panic may go: it stops the work instead.
        let wish = catch_unwind(AssertUnwindSafe(|| callback(event)));
        if !matches!(wish, Ok(ControlFlow::Continue(()))) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // The record is whole at every point where a panic could leave it.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn began(&self, phase: Phase) {
        let mut record = self.lock();
        if phase == Phase::Export {
            // Another backend is tried, for which the model is written anew.
            record.passes.clear();
        }
        if !record.phases.iter().any(|(known, _)| *known == phase) {
            record.phases.push((phase, Duration::ZERO));
        }
    }

    fn ended(&self, phase: Phase, own: Duration) {
        let mut record = self.lock();
        if let Some((_, time)) = record.phases.iter_mut().find(|(known, _)| *known == phase) {
            *time += own;
        }
    }
}

/// The recorder of this thread.
pub(crate) fn current() -> Option<Arc<Recorder>> {
    CURRENT.with_borrow(Clone::clone)
}

/// The error of work that the caller's callback or limit stopped.
pub(crate) fn stopped() -> Error {
    current()
        .and_then(|recorder| recorder.over())
        .unwrap_or_else(|| Error::new(ErrorKind::Cancelled, "stopped by the progress callback"))
}

/// The limit of the work of this thread.
#[cfg_attr(not(feature = "ort"), allow(dead_code))]
pub(crate) fn limit() -> Option<TimeLimit> {
    current()?.limit.clone()
}

/// How many threads what is made may use, where others are made beside it.
#[cfg_attr(not(feature = "ort"), allow(dead_code))]
pub(crate) fn threads() -> Option<usize> {
    current()?.threads
}

/// How many bytes the values of a run may take, as the caller of this thread's work says.
#[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
pub(crate) fn memory() -> Option<u64> {
    current()?.memory
}

/// Whether the work of this thread may go on, asked between two steps that nobody is told of.
///
/// # Errors
/// [`ErrorKind::Cancelled`] and [`ErrorKind::TimedOut`].
#[cfg_attr(not(feature = "tract"), allow(dead_code))]
pub(crate) fn go_on() -> Result<()> {
    match current() {
        Some(recorder) if recorder.is_stopped() => Err(stopped()),
        _ => Ok(()),
    }
}

/// Does a phase of the work, which is timed and told. The callback may stop the work before and after.
///
/// # Errors
/// Those of `work`, and [`ErrorKind::Cancelled`].
pub(crate) fn phase<T>(phase: Phase, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _range = NamedRange::of_phase(phase.name());
    let Some(recorder) = current() else { return work() };
    if recorder.is_stopped() {
        return Err(stopped());
    }
    recorder.began(phase);
    recorder.tell(Progress::Started { phase });
    let outer = INNER.replace(Duration::ZERO);
    let start = Instant::now();
    let result = match recorder.is_stopped() {
        true => Err(stopped()),
        false => work(),
    };
    let took = start.elapsed();
    recorder.ended(phase, took.saturating_sub(INNER.get()));
    INNER.set(outer + took);
    recorder.tell(Progress::Finished { phase, took });
    match (result, recorder.is_stopped()) {
        (Ok(_), true) => Err(stopped()),
        (result, _) => result,
    }
}

/// Tells a step of a phase of this thread.
///
/// # Errors
/// [`ErrorKind::Cancelled`] when the callback stops the work.
pub(crate) fn step(phase: Phase, part: &str, done: usize, total: usize) -> Result<()> {
    match current() {
        Some(recorder) if !recorder.step(phase, part, done, total) => Err(stopped()),
        _ => Ok(()),
    }
}

/// Notes that a pass changed a graph in so many places.
pub(crate) fn changed(pass: &'static str, places: usize) {
    if let Some(recorder) = current() {
        let mut record = recorder.lock();
        match record.passes.iter_mut().find(|(known, _)| *known == pass) {
            // In the bodies of branches and loops, and in the graph around them.
            Some((_, count)) => *count += places,
            None => record.passes.push((pass.into(), places)),
        }
    }
}

/// The passes that changed a graph of this thread's work so far.
pub(crate) fn passes() -> Passes {
    current().map_or_else(Vec::new, |recorder| recorder.lock().passes.clone())
}

/// Notes the passes that changed the graph of an engine when the engine was built, all that there are.
pub(crate) fn changed_before(passes: Passes) {
    if let Some(recorder) = current() {
        recorder.lock().passes = passes;
    }
}

/// Notes a warning of a library.
#[cfg_attr(not(feature = "_tensorrt"), allow(dead_code))]
pub(crate) fn warned(text: &str) {
    if let Some(recorder) = current() {
        let mut record = recorder.lock();
        if record.warnings.len() < MOST_WARNINGS && !record.warnings.iter().any(|w| w == text) {
            record.warnings.push(text.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[test]
    fn a_phase_has_its_own_time_alone_and_comes_once() {
        let recorder = Recorder::new(None, None, None);
        recorder.during(|| {
            for _ in 0..2 {
                phase(Phase::Export, || {
                    phase(Phase::Passes, || {
                        sleep(SHORT);
                        Ok(())
                    })
                })
                .unwrap();
            }
        });
        let phases = recorder.record().phases;
        let names: Vec<_> = phases.iter().map(|(phase, _)| *phase).collect();
        assert_eq!(names, [Phase::Export, Phase::Passes]);
        assert!(phases[1].1 >= 2 * SHORT && phases[0].1 < SHORT, "{phases:?}");
        assert!(current().is_none());
    }

    #[test]
    fn a_callback_stops_the_work_also_by_a_panic() {
        let stop: [Arc<ProgressCallback>; 2] =
            [Arc::new(|_| ControlFlow::Break(())), Arc::new(|_| panic!("a callback of the test"))];
        for callback in stop {
            let recorder = Recorder::new(Some(callback), None, None);
            let done = Cell::new(false);
            let work = || {
                done.set(true);
                Ok(())
            };
            let error = recorder.during(|| phase(Phase::Build, work)).unwrap_err();
            assert_eq!((error.kind(), done.get()), (ErrorKind::Cancelled, false));
        }
    }

    #[test]
    fn work_without_a_recorder_is_just_done() {
        assert_eq!(phase(Phase::Build, || Ok(7)).unwrap(), 7);
        changed("pass", 1);
        warned("warning");
    }
}
