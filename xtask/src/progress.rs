//! What a waiting person sees on stderr: a spinner or a bar on a terminal, one line elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

pub(crate) fn spinner(message: String) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    announce(&bar, &message);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar.set_message(message);
    bar
}

pub(crate) fn bytes(message: String, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    announce(&bar, &message);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{wide_bar}] {bytes}/{total_bytes}") {
        bar.set_style(style);
    }
    bar.set_message(message);
    bar
}

fn announce(bar: &ProgressBar, message: &str) {
    if bar.is_hidden() {
        eprintln!("{message}");
    }
}
