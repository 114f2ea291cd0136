//! Counts and times of requests, as text that Prometheus reads.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use accelerant::ErrorKind;

use crate::models::Models;

/// Upper ends of the buckets, in seconds.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];

/// Of one model.
#[derive(Default)]
pub(crate) struct Metrics {
    succeeded: AtomicU64,
    shed: AtomicU64,
    failed: AtomicU64,
    nanoseconds: AtomicU64,
    buckets: [AtomicU64; BUCKETS.len()],
}

impl Metrics {
    pub(crate) fn record(&self, took: Duration, failure: Option<ErrorKind>) {
        match failure {
            Some(ErrorKind::QueueFull) => self.shed.fetch_add(1, Relaxed),
            Some(_) => self.failed.fetch_add(1, Relaxed),
            None => {
                let seconds = took.as_secs_f64();
                if let Some(at) = BUCKETS.iter().position(|&end| seconds <= end) {
                    self.buckets[at].fetch_add(1, Relaxed);
                }
                self.nanoseconds.fetch_add(took.as_nanos() as u64, Relaxed);
                self.succeeded.fetch_add(1, Relaxed)
            }
        };
    }
}

/// The page of all models.
pub(crate) fn page(models: &Models) -> String {
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let label = |name: &str| name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");

    let name = "accelerant_requests_total";
    head(&mut text, name, "counter", "Requests by how they ended.");
    for model in models.all() {
        let metrics = &model.metrics;
        let ends = [
            ("success", &metrics.succeeded),
            ("shed", &metrics.shed),
            ("failure", &metrics.failed),
        ];
        for (end, count) in ends {
            let (model, count) = (label(&model.name), count.load(Relaxed));
            let _ = writeln!(text, "{name}{{model=\"{model}\",result=\"{end}\"}} {count}");
        }
    }

    let name = "accelerant_request_seconds";
    head(&mut text, name, "histogram", "From the arrival of a request to its result.");
    for model in models.all() {
        let (metrics, model) = (&model.metrics, label(&model.name));
        // The last bucket has all requests, those too that ended since the others were read.
        let mut below = 0;
        for (end, count) in BUCKETS.iter().zip(&metrics.buckets) {
            below += count.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{model=\"{model}\",le=\"{end}\"}} {below}");
        }
        let count = metrics.succeeded.load(Relaxed).max(below);
        let seconds = metrics.nanoseconds.load(Relaxed) as f64 / 1e9;
        let _ = writeln!(text, "{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{model=\"{model}\"}} {seconds}");
        let _ = writeln!(text, "{name}_count{{model=\"{model}\"}} {count}");
    }

    for (name, help, which) in [
        ("accelerant_batches_total", "Batches that were run.", 0),
        ("accelerant_batched_rows_total", "Rows of these batches.", 1),
    ] {
        head(&mut text, name, "counter", help);
        for model in models.all() {
            if let Some((batches, rows)) = model.batches() {
                let count = if which == 0 { batches } else { rows };
                let _ = writeln!(text, "{name}{{model=\"{}\"}} {count}", label(&model.name));
            }
        }
    }
    text
}
