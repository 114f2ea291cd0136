//! What is measured of a network before and after, and its table.

use std::fmt::Write;
use std::time::{Duration, Instant};

use ndarray::{Array2, Axis};

/// Median wall-clock times of one call, result on the host.
#[derive(Clone, Copy)]
pub struct Timing {
    /// One image.
    pub latency: Duration,
    /// A whole batch.
    pub batch: Duration,
}

pub struct Report {
    pub framework: &'static str,
    pub backend: String,
    pub reasons: Vec<String>,
    pub native_accuracy: f64,
    pub optimized_accuracy: f64,
    /// Of any two scores, native and optimized.
    pub difference: f32,
    /// The largest score there is, as an absolute value.
    pub largest: f32,
    /// What `difference` may be, relative to `largest`.
    pub tolerance: f32,
    pub engine_size: usize,
    pub engine_by: String,
    pub build_time: Duration,
    /// Native and optimized, if they were measured.
    pub timings: Option<[Timing; 2]>,
    pub batch: usize,
}

impl Report {
    /// The demo fails when it shows anything else than this.
    pub fn check(&self) -> Result<(), String> {
        if self.native_accuracy < 0.95 {
            return Err(format!(
                "{}: accuracy {:.4} is under 0.95",
                self.framework, self.native_accuracy
            ));
        }
        let relative = self.difference / self.largest;
        if relative.is_nan() || relative > self.tolerance {
            let tolerance = self.tolerance;
            return Err(format!(
                "{}: scores differ by {relative:.1e}, over {tolerance:.0e}",
                self.framework
            ));
        }
        if self.native_accuracy != self.optimized_accuracy {
            let (native, optimized) = (self.native_accuracy, self.optimized_accuracy);
            return Err(format!("{}: accuracy {native:.4} became {optimized:.4}", self.framework));
        }
        Ok(())
    }
}

pub fn accuracy(scores: &Array2<f32>, labels: &[u32]) -> f64 {
    let best = |row: ndarray::ArrayView1<f32>| {
        row.iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .map_or(0, |(digit, _)| digit as u32)
    };
    let right =
        scores.axis_iter(Axis(0)).zip(labels).filter(|(row, label)| best(*row) == **label).count();
    right as f64 / labels.len() as f64
}

/// The median time of a call after 20 to warm up: 201 calls, or as many as fit into a second.
pub fn median(mut call: impl FnMut()) -> Duration {
    (0..20).for_each(|_| call());
    let start = Instant::now();
    let mut times = Vec::new();
    while times.len() < 201 && (times.len() < 5 || start.elapsed() < Duration::from_secs(1)) {
        let start = Instant::now();
        call();
        times.push(start.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// A Markdown table, a column for each framework, and the reasons below it.
pub fn table(reports: &[Report]) -> String {
    type Cell = Box<dyn Fn(&Report) -> String>;
    let latency = |r: &Report, i: usize| match r.timings {
        Some(timings) => format!("{:.1} µs", timings[i].latency.as_secs_f64() * 1e6),
        None => "not measured".to_owned(),
    };
    let rate = |r: &Report, i: usize| match r.timings {
        Some(timings) => format!("{:.0} images/s", r.batch as f64 / timings[i].batch.as_secs_f64()),
        None => "not measured".to_owned(),
    };
    let rows: Vec<(&str, Cell)> = vec![
        ("", Box::new(|r| r.framework.to_owned())),
        ("backend that ran", Box::new(|r| r.backend.clone())),
        ("accuracy, native", Box::new(|r| format!("{:.2} %", r.native_accuracy * 100.0))),
        ("accuracy, optimized", Box::new(|r| format!("{:.2} %", r.optimized_accuracy * 100.0))),
        ("largest absolute difference of a score", Box::new(|r| format!("{:.1e}", r.difference))),
        (
            "relative to the largest score (allowed)",
            Box::new(|r| format!("{:.1e} ({:.0e})", r.difference / r.largest, r.tolerance)),
        ),
        ("engine", Box::new(|r| format!("{} bytes by {}", r.engine_size, r.engine_by))),
        ("build time", Box::new(|r| format!("{:.2} s", r.build_time.as_secs_f64()))),
        ("latency, native (CPU)", Box::new(move |r| latency(r, 0))),
        ("latency, optimized", Box::new(move |r| latency(r, 1))),
        ("throughput, native (CPU), batch 64", Box::new(move |r| rate(r, 0))),
        ("throughput, optimized, batch 64", Box::new(move |r| rate(r, 1))),
    ];
    let mut lines: Vec<Vec<String>> = Vec::new();
    for (title, cell) in &rows {
        lines.push(std::iter::once((*title).to_owned()).chain(reports.iter().map(cell)).collect());
    }
    let widths: Vec<usize> = (0..=reports.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell}{} ", " ".repeat(width - cell.chars().count()));
        }
        text.push_str("|\n");
        if i == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    let mut reasons: Vec<&String> = reports.iter().flat_map(|report| &report.reasons).collect();
    reasons.sort();
    reasons.dedup();
    for reason in reasons {
        let _ = writeln!(text, "\npassed over {reason}");
    }
    text
}
