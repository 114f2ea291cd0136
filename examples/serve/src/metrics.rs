//! What is counted, and its text for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::fail::CLIENT_GONE;
use crate::gauge::{Gauge, One};
use crate::respond;
use crate::server::Server;

/// Upper ends of the classes of times, in seconds.
const CLASSES: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What becomes of a request to a model.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Ok,
    /// Statuses of the class 4xx.
    Refused,
    /// The status 503.
    Shed,
    Failed,
    /// The body or the result did not come in time.
    TimedOut,
    /// The client was gone before the answer, or took nothing of it.
    Gone,
}

/// All of them, and their names.
const OUTCOMES: [(Outcome, &str); 6] = [
    (Outcome::Ok, "ok"),
    (Outcome::Refused, "refused"),
    (Outcome::Shed, "shed"),
    (Outcome::Failed, "failed"),
    (Outcome::TimedOut, "timed_out"),
    (Outcome::Gone, "gone"),
];

/// What became of requests to one model.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    counts: [AtomicU64; OUTCOMES.len()],
    /// Of requests that went well.
    times: [AtomicU64; CLASSES.len()],
    nanos: AtomicU64,
    others_nanos: AtomicU64,
}

/// A request to a model. It is counted once: with its end, or else when it is dropped, since then nobody waits for it.
#[derive(Debug)]
pub(crate) struct Counted {
    outcomes: Arc<Outcomes>,
    start: Instant,
    ended: bool,
}

impl Counted {
    pub(crate) fn new(outcomes: &Arc<Outcomes>) -> Self {
        Self { outcomes: outcomes.clone(), start: Instant::now(), ended: false }
    }

    /// The end of the request, by the status of its answer.
    pub(crate) fn end(mut self, status: StatusCode) {
        let outcome = match status {
            StatusCode::SERVICE_UNAVAILABLE => Outcome::Shed,
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => Outcome::TimedOut,
            status if status.as_u16() == CLIENT_GONE => Outcome::Gone,
            status if status.is_client_error() => Outcome::Refused,
            status if status.is_server_error() => Outcome::Failed,
            _ => Outcome::Ok,
        };
        self.ended = true;
        self.outcomes.count(outcome, self.start.elapsed());
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !self.ended {
            self.outcomes.count(Outcome::Gone, self.start.elapsed());
        }
    }
}

impl Outcomes {
    fn count(&self, outcome: Outcome, took: Duration) {
        let nanos = took.as_nanos() as u64;
        if let Outcome::Ok = outcome {
            let class = CLASSES.iter().position(|end| took.as_secs_f64() <= *end);
            if let Some(class) = class {
                self.times[class].fetch_add(1, Relaxed);
            }
            self.nanos.fetch_add(nanos, Relaxed);
        } else {
            self.others_nanos.fetch_add(nanos, Relaxed);
        }
        self.counts[outcome as usize].fetch_add(1, Relaxed);
    }

    fn of(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize].load(Relaxed)
    }

    /// How many requests went well, and their nanoseconds.
    pub(crate) fn good(&self) -> (u64, u64) {
        (self.of(Outcome::Ok), self.nanos.load(Relaxed))
    }

    /// How many did not, and their nanoseconds.
    pub(crate) fn bad(&self) -> (u64, u64) {
        let others = OUTCOMES.iter().skip(1).map(|(outcome, _)| self.of(*outcome)).sum();
        (others, self.others_nanos.load(Relaxed))
    }
}

/// Counts that belong to no model.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    accepted: AtomicU64,
    pub(crate) connections: Gauge,
    /// Requests whose answers were not given to their connections as a whole.
    pub(crate) due: Gauge,
    /// Connections that have bytes which the system does not take yet.
    pub(crate) unsent: Gauge,
}

impl Metrics {
    /// Counts a request, which is due until the answer is through.
    pub(crate) fn accept(&self) -> One {
        self.accepted.fetch_add(1, Relaxed);
        self.due.one()
    }

    /// Whether no client waits for anything.
    pub(crate) fn is_quiet(&self) -> bool {
        self.due.count() == 0 && self.unsent.count() == 0
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }
}

/// The answer to `GET /metrics`.
pub(crate) async fn metrics(State(server): State<Arc<Server>>) -> Response {
    let mut page = Page::default();
    let metrics = &server.metrics;
    page.counter("accelerant_accepted_total", "Requests of all kinds.", metrics.accepted());
    let open = metrics.connections.count() as u64;
    page.gauge("accelerant_connections", "Open connections.", open);
    let taken = server.room.taken() as u64;
    page.gauge("accelerant_body_bytes", "Memory of requests' bodies.", taken);
    let models = || server.models.values();
    let of_models = models().map(|model| (model.name(), &*model.outcomes));
    let of_text = server.text.iter().map(|model| (model.name(), &*model.outcomes));
    let outcomes: Vec<_> = of_models.chain(of_text).collect();
    page.outcomes(&outcomes);
    page.head("accelerant_running", "gauge", "Requests that wait or run.");
    for model in models() {
        page.line("accelerant_running", model.name(), "", model.running() as u64);
    }
    let batched: Vec<_> =
        models().filter_map(|model| Some((model.name(), model.counters()?))).collect();
    page.head("accelerant_batches_total", "counter", "Batches that were run.");
    for (name, counters) in &batched {
        page.line("accelerant_batches_total", name, "", counters.batches);
    }
    page.head("accelerant_rows_total", "counter", "Rows of requests in these batches.");
    for (name, counters) in &batched {
        page.line("accelerant_rows_total", name, "", counters.rows);
    }
    if let Some(model) = &server.text {
        let (name, counters) = (model.name(), model.counters());
        page.head("accelerant_tokens_total", "counter", "Tokens of prompts and of answers.");
        for (kind, count) in
            [("prompt", counters.prompt_tokens), ("generated", counters.generated_tokens)]
        {
            page.line("accelerant_tokens_total", name, &format!(",kind=\"{kind}\""), count);
        }
        page.head("accelerant_passes_total", "counter", "Passes over the batch of texts.");
        page.line("accelerant_passes_total", name, "", counters.passes);
        page.head("accelerant_generations", "gauge", "Texts that wait or are generated.");
        page.line("accelerant_generations", name, "", counters.running + counters.waiting);
        page.head("accelerant_generations_waiting", "gauge", "Those of them that wait.");
        page.line("accelerant_generations_waiting", name, "", counters.waiting);
    }
    respond::text(page.0)
}

/// The text. Names of models have no characters that it would have to escape.
#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, model: &str, more: &str, value: u64) {
        let _ = writeln!(self.0, "{name}{{model=\"{model}\"{more}}} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn outcomes(&mut self, all: &[(&str, &Outcomes)]) {
        let name = "accelerant_requests_total";
        self.head(name, "counter", "Requests to a model, by what became of them.");
        for (model, outcomes) in all {
            for (outcome, what) in OUTCOMES {
                self.line(name, model, &format!(",outcome=\"{what}\""), outcomes.of(outcome));
            }
        }
        let name = "accelerant_request_seconds";
        self.head(name, "histogram", "How long requests that went well took.");
        for (model, outcomes) in all {
            // Read first, so that no class has more than there are in all.
            let mut so_far = 0;
            let classes: Vec<u64> = outcomes.times.iter().map(|time| time.load(Relaxed)).collect();
            for (end, count) in CLASSES.iter().zip(classes) {
                so_far += count;
                self.line(&format!("{name}_bucket"), model, &format!(",le=\"{end}\""), so_far);
            }
            let (count, nanos) = outcomes.good();
            let count = count.max(so_far);
            self.line(&format!("{name}_bucket"), model, ",le=\"+Inf\"", count);
            let seconds = nanos as f64 / 1e9;
            let _ = writeln!(self.0, "{name}_sum{{model=\"{model}\"}} {seconds}");
            self.line(&format!("{name}_count"), model, "", count);
        }
    }
}
