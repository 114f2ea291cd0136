//! Progress on a terminal: which phase goes on, and how far it is. Nothing is shown where stderr is a file or a pipe.

use std::{
    io::IsTerminal,
    ops::ControlFlow,
    sync::{Mutex, PoisonError},
    time::Duration,
};

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
        let begun = Mutex::new(Begun::default());
        options.progress(move |event| {
            match event {
                Progress::Started { phase } => {
                    begun.lock().unwrap_or_else(PoisonError::into_inner).0.push(phase);
                    apart::work(&format!("the phase `{phase}`"), phase == Phase::Parse);
                    bar.set_message(phase.to_string());
                }
                Progress::Finished { phase, .. } => {
                    let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
                    apart::work(&begun.after(phase), false);
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

/// The phases that go on, the innermost last.
#[derive(Default)]
struct Begun(Vec<Phase>);

impl Begun {
    /// What goes on after a phase is over.
    fn after(&mut self, phase: Phase) -> String {
        if let Some(place) = self.0.iter().rposition(|known| *known == phase) {
            self.0.remove(place);
        }
        match self.0.last() {
            Some(outer) => format!("the phase `{outer}`"),
            None => format!("what follows the phase `{phase}`"),
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_is_over_is_not_where_the_work_is() {
        let mut begun = Begun(vec![Phase::Check, Phase::Export, Phase::Passes]);
        assert_eq!(begun.after(Phase::Passes), "the phase `export`");
        assert_eq!(begun.after(Phase::Export), "the phase `check`");
        assert_eq!(begun.after(Phase::Check), "what follows the phase `check`");
        // Of work on several threads, whichever ends first.
        begun.0.extend([Phase::Build, Phase::Load]);
        assert_eq!(begun.after(Phase::Build), "the phase `load`");
    }
}
