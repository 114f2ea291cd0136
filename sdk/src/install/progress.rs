//! What a waiting person sees on stderr: a spinner or a bar on a terminal, one line elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Shows nothing from now on.
pub fn quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

fn bar(new: fn() -> ProgressBar) -> ProgressBar {
    if QUIET.load(Ordering::Relaxed) { ProgressBar::hidden() } else { new() }
}

/// Something that takes a while.
pub fn spinner(message: String) -> ProgressBar {
    let bar = bar(ProgressBar::new_spinner);
    announce(&bar, &message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar.set_message(message);
    bar
}

/// So many bytes that go by.
pub fn bytes(message: String, total: u64) -> ProgressBar {
    let bar = bar(ProgressBar::no_length);
    bar.set_length(total);
    announce(&bar, &message);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar
}

/// A line of its own.
pub(super) fn say(line: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        eprintln!("{line}");
    }
}

fn announce(bar: &ProgressBar, message: &str) {
    if bar.is_hidden() {
        say(message);
    }
}
