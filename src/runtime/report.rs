//! The report of how a module was made, for people and programs: values and their text.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Serialize, Serializer};

use super::sensitivity::Tried;
use crate::backend::Rejection;
use crate::cache::CacheUse;
use crate::export::precision::PrecisionReport;
use crate::progress::{Phase, Record};

/// The report on the creation of a module: the backend, whether the cache had the engine, and the time of each phase.
///
/// The report prints as text. [`Serialize`] writes the report for programs, with durations in seconds.
///
/// ```
/// # use accelerant::{DType, InferenceModule, OptimizeOptions, export::GraphBuilder};
/// # let graph = GraphBuilder::new("double");
/// # let x = graph.input("x", DType::F32, [3])?;
/// # graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
/// println!("{}", module.report());
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ModuleReport {
    /// The name of the backend that runs.
    pub backend: String,
    /// Library and version of the backend that runs.
    pub description: String,
    /// Inputs and outputs.
    pub signature: String,
    /// The bytes of the engine without its header.
    pub engine_bytes: u64,
    /// Whether the cache had the engine. If [`save_engine`](crate::OptimizeOptions::save_engine) was used, this is the
    /// saved engine, and otherwise the engine that runs.
    pub cache: CacheUse,
    /// Each phase of the work, in order.
    pub phases: Vec<PhaseTime>,
    /// The time of the first run on host tensors, after this run.
    #[serde(serialize_with = "optional_seconds", rename = "first_run_seconds")]
    pub first_run: Option<Duration>,
    /// The passes that changed the graph. If the cache had the engine, the passes may have run only at an earlier
    /// start, and [`phases`](Self::phases) then has no time of passes.
    pub passes: Vec<PassChange>,
    /// The type of each layer, if the options have a precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<PrecisionReport>,
    /// The precisions that were tried, with [`auto_precision`](crate::OptimizeOptions::auto_precision).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// The warnings of the backend's library.
    pub warnings: Vec<String>,
    /// The skipped backends.
    pub rejected: Vec<RejectedBackend>,
}

/// The time of a phase.
#[derive(Clone, Copy, Debug, Serialize)]
#[non_exhaustive]
pub struct PhaseTime {
    /// The phase.
    pub phase: Phase,
    /// The time of the phase, without the phases inside it.
    #[serde(serialize_with = "seconds", rename = "seconds")]
    pub time: Duration,
}

/// The number of changes that a pass made.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PassChange {
    /// The pass.
    pub pass: String,
    /// The number of places in which the pass changed the graph.
    pub places: usize,
}

/// A skipped backend.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct RejectedBackend {
    /// The name of the backend.
    pub backend: String,
    /// The reason of the backend.
    pub reason: String,
}

impl RejectedBackend {
    pub(super) fn of(rejection: &Rejection) -> Self {
        Self { backend: rejection.kind.to_string(), reason: rejection.reason.to_string() }
    }
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn optional_seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64()).serialize(serializer)
}

impl ModuleReport {
    /// The time of a phase; zero for a phase that was not needed.
    pub fn time(&self, phase: Phase) -> Duration {
        let of = |time: &&PhaseTime| time.phase == phase;
        self.phases.iter().find(of).map_or(Duration::ZERO, |time| time.time)
    }

    /// The time of all phases.
    pub fn total(&self) -> Duration {
        self.phases.iter().map(|time| time.time).sum()
    }

    pub(super) fn add(&mut self, record: Record) {
        let Record { phases, passes, warnings } = record;
        self.phases = phases.into_iter().map(|(phase, time)| PhaseTime { phase, time }).collect();
        let changes = passes.into_iter();
        let change =
            |(pass, places): (Cow<'_, str>, usize)| PassChange { pass: pass.into(), places };
        self.passes = changes.map(change).collect();
        self.warnings = warnings;
    }
}

impl fmt::Display for ModuleReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backend    {}: {}", self.backend, self.description)?;
        writeln!(f, "model      {}", self.signature)?;
        writeln!(f, "engine     {} bytes", self.engine_bytes)?;
        writeln!(f, "cache      {}", self.cache)?;
        for (i, PhaseTime { phase, time }) in self.phases.iter().enumerate() {
            let head = if i == 0 { "time" } else { "" };
            writeln!(f, "{head:<10} {phase:<8} {}", Seconds(*time))?;
        }
        writeln!(f, "           {:<8} {}", "total", Seconds(self.total()))?;
        if let Some(first) = self.first_run {
            writeln!(f, "first run  {}", Seconds(first))?;
        }
        let changes = self.passes.iter().map(|change| {
            let s = if change.places == 1 { "" } else { "s" };
            format!("{}: {} place{s}", change.pass, change.places)
        });
        list(f, "passes", changes)?;
        let precision = self.precision.as_ref().map(ToString::to_string).unwrap_or_default();
        list(f, "precision", precision.lines().map(str::to_owned))?;
        list(f, "tried", self.tried.iter().map(ToString::to_string))?;
        list(f, "warnings", self.warnings.iter().map(|text| text.replace('\n', " ")))?;
        let rejected = self.rejected.iter();
        list(f, "not taken", rejected.map(|r| format!("{}: {}", r.backend, r.reason)))
    }
}

/// A heading with lines; nothing without lines.
fn list(
    f: &mut fmt::Formatter<'_>,
    head: &str,
    lines: impl Iterator<Item = String>,
) -> fmt::Result {
    for (i, line) in lines.enumerate() {
        writeln!(f, "{:<10} {line}", if i == 0 { head } else { "" })?;
    }
    Ok(())
}

struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3} s", self.0.as_secs_f64())
    }
}
