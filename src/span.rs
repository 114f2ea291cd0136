//! Ranges of time with the names of models, for whoever follows a program: spans of `tracing`, and with the feature `nvtx`
//! ranges that NVIDIA's profilers show. Knows nothing of the work within.

use tracing::span::EnteredSpan;

/// A range that goes on until it is dropped, on this thread.
pub(crate) struct NamedRange {
    _span: EnteredSpan,
    #[cfg(feature = "nvtx")]
    _pushed: pushed::Pushed,
}

impl NamedRange {
    /// A phase between a model and a module that runs.
    pub(crate) fn of_phase(phase: &str) -> Self {
        Self {
            _span: tracing::debug_span!(target: "accelerant", "phase", name = phase).entered(),
            #[cfg(feature = "nvtx")]
            _pushed: pushed::Pushed::new(format_args!("{phase}")),
        }
    }

    /// All phases of a model.
    pub(crate) fn of_making(model: &str) -> Self {
        Self {
            _span: tracing::debug_span!(target: "accelerant", "make", model).entered(),
            #[cfg(feature = "nvtx")]
            _pushed: pushed::Pushed::new(format_args!("make {model}")),
        }
    }

    /// A run of a model on host tensors.
    pub(crate) fn of_run(model: &str) -> Self {
        Self {
            _span: tracing::trace_span!(target: "accelerant", "run", model).entered(),
            #[cfg(feature = "nvtx")]
            _pushed: pushed::Pushed::new(format_args!("run {model}")),
        }
    }

    /// Giving a run to a device, which works on when the range is over.
    pub(crate) fn of_enqueue(model: &str) -> Self {
        Self {
            _span: tracing::trace_span!(target: "accelerant", "enqueue", model).entered(),
            #[cfg(feature = "nvtx")]
            _pushed: pushed::Pushed::new(format_args!("enqueue {model}")),
        }
    }
}

#[cfg(feature = "nvtx")]
mod pushed {
    use std::fmt::Arguments;

    /// A range of NVTX on this thread. Without a profiler the library does nothing.
    pub(super) struct Pushed(());

    impl Pushed {
        pub(super) fn new(text: Arguments<'_>) -> Self {
            // NVTX takes a text of C, and names are whatever a file has.
            let text = text.to_string().replace('\0', " ");
            nvtx::range_push!("{text}");
            Self(())
        }
    }

    impl Drop for Pushed {
        fn drop(&mut self) {
            nvtx::range_pop!();
        }
    }
}
