//! Progress on a terminal: which phase goes on, and how far it is. Nothing is shown where stderr is a file or a pipe.

use std::{io::IsTerminal, ops::ControlFlow, time::Duration};

use accelerant::{OptimizeOptions, Phase, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{apart, terminal};

/// A line that is gone when it is dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Says what goes on.
    pub(crate) fn say(&self, text: impl Into<String>) {
        let text = text.into();
        apart::work(&text, false);
        self.0.set_message(terminal::name(&text).into_owned());
    }

    /// Says that the model runs from now on.
    pub(crate) fn runs(&self, text: &'static str) {
        apart::runs(text);
        self.0.set_message(text);
    }

    /// The options, followed by this bar.
    pub(crate) fn follow(&self, options: OptimizeOptions) -> OptimizeOptions {
        let bar = self.0.clone();
        options.progress(move |event| {
            match event {
                Progress::Started { phase } => {
                    apart::work(&format!("the phase `{phase}`"), phase == Phase::Parse);
                    bar.set_message(phase.to_string());
                }
                Progress::Step { phase, part, total: 0, .. } => {
                    bar.set_message(format!("{phase}: {}", terminal::name(part)));
                }
                Progress::Step { phase, part, done, total } => {
                    bar.set_message(format!("{phase}: {} {done}/{total}", terminal::name(part)));
                }
                _ => {}
            }
            ControlFlow::Continue(())
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
