//! The progress of a build: what C++ tells, and what a caller hears.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// A step of a build, told while it goes on.
///
/// Phases nest, and their names are the library's own; they differ between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgressEvent<'a> {
    /// A phase begins.
    Started {
        /// The phase.
        phase: &'a str,
        /// The phase it belongs to.
        parent: Option<&'a str>,
        /// The number of steps it is expected to take.
        steps: usize,
    },
    /// A step is done.
    Step {
        /// The phase.
        phase: &'a str,
        /// Which step, counted from 0.
        step: usize,
    },
    /// A phase is over, perhaps before all its steps.
    Finished {
        /// The phase.
        phase: &'a str,
    },
}

/// A progress callback; [`ControlFlow::Break`] stops the build.
pub type ProgressFn = dyn Fn(ProgressEvent<'_>) -> ControlFlow<()> + Send + Sync;

/// What C++ calls while it builds: the user's callback, if there is one.
pub(crate) struct Progress {
    callback: Option<Arc<ProgressFn>>,
    stopped: AtomicBool,
}

impl Progress {
    pub(crate) fn new(callback: Option<Arc<ProgressFn>>) -> Self {
        Self { callback, stopped: AtomicBool::new(false) }
    }

    /// Whether the callback wanted the build stopped.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn tell(&self, event: ProgressEvent<'_>) {
        let Some(callback) = &self.callback else { return };
        // A panic must not cross into C++: it stops the build instead.
        let wish = catch_unwind(AssertUnwindSafe(|| callback(event)));
        if !matches!(wish, Ok(ControlFlow::Continue(()))) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    pub(crate) fn phase_started(&self, phase: &str, parent: &str, steps: i32) {
        let parent = (!parent.is_empty()).then_some(parent);
        let steps = steps.max(0) as usize;
        self.tell(ProgressEvent::Started { phase, parent, steps });
    }

    pub(crate) fn step_finished(&self, phase: &str, step: i32) -> bool {
        self.tell(ProgressEvent::Step { phase, step: step.max(0) as usize });
        !self.stopped()
    }

    pub(crate) fn phase_finished(&self, phase: &str) {
        self.tell(ProgressEvent::Finished { phase });
    }
}
