//! Batches at the same time: each worker has its own copy of the model and its part of the processors. One copy on many
//! processors leaves most of them idle, since a model that gives all its values is one small operator after another.

use std::num::NonZero;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ahead::Placed;
use super::seen::Seen;
use super::threshold::Method;
use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::progress::{self, Recorder};
use crate::spec::Signature;
use crate::tensor::HostTensor;

/// Processors that one copy keeps busy, and the most copies, each of which takes the memory of a batch's values.
const PROCESSORS: usize = 4;
const MOST: usize = 4;

/// As large as that of a program's first thread: parsers of models need it.
const STACK: usize = 8 << 20;

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("no thread for a calibration: {error}")).with_source(error)
}

pub(super) struct Workers<'a> {
    /// How many batches run at the same time.
    pub(super) count: usize,
    processors: usize,
    method: Method,
    registry: &'a Registry,
    observed: &'a OnnxModel,
    /// That of the model as it was.
    signature: &'a Signature,
}

/// Where the time of a worker went.
#[derive(Default)]
struct Times {
    built: Duration,
    ran: Duration,
    looked: Duration,
}

impl<'a> Workers<'a> {
    pub(super) fn new(
        method: Method,
        registry: &'a Registry,
        observed: &'a OnnxModel,
        signature: &'a Signature,
    ) -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let count = (processors / PROCESSORS).clamp(1, MOST);
        Self { count, processors, method, registry, observed, signature }
    }

    /// What all batches show. Batches go to the workers in turn, so that the same samples always give the same ranges.
    pub(super) fn run(
        &self,
        batches: impl Iterator<Item = Result<Vec<HostTensor>>>,
    ) -> Result<Seen> {
        let whole = progress::current();
        let threads = (self.processors / self.count).max(1);
        let (all, wrong) = thread::scope(|scope| {
            let mut wrong = None;
            let mut senders = Vec::new();
            let mut workers = Vec::new();
            for (place, batch) in batches.enumerate() {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(e) => {
                        wrong = Some((place, e));
                        break;
                    }
                };
                if place < self.count {
                    let (sender, receiver) = sync_channel(1);
                    let recorder = match self.count {
                        1 => whole.clone(),
                        _ => Some(Recorder::sharing(whole.as_deref(), threads)),
                    };
                    let work = move || match recorder {
                        Some(recorder) => recorder.during(|| self.work(&receiver, threads)),
                        None => self.work(&receiver, threads),
                    };
                    let named = thread::Builder::new().name("accelerant-calibrate".to_owned());
                    match named.stack_size(STACK).spawn_scoped(scope, work) {
                        Ok(worker) => workers.push(worker),
                        Err(e) => {
                            wrong = Some((place, no_thread(e)));
                            break;
                        }
                    }
                    senders.push(sender);
                }
                // A worker that failed takes no more, and says why below.
                if senders[place % self.count].send((place, batch)).is_err() {
                    break;
                }
            }
            drop(senders);
            let mut all = Vec::new();
            for worker in workers {
                all.push(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            (all, wrong)
        });
        let mut seen = Seen::new(self.method, threads);
        let mut first = wrong;
        for worker in all {
            match worker {
                Ok(own) => seen.merge(own),
                Err((place, e)) if first.as_ref().is_none_or(|(other, _)| place < *other) => {
                    first = Some((place, e));
                }
                Err(_) => {}
            }
        }
        first.map_or(Ok(seen), |(_, error)| Err(error))
    }

    /// One worker. An error has the place of its batch.
    fn work(
        &self,
        batches: &Receiver<Placed>,
        threads: usize,
    ) -> std::result::Result<Seen, (usize, Error)> {
        let mut seen = Seen::new(self.method, threads);
        let mut times = Times::default();
        let mut made = None;
        while let Ok((place, batch)) = batches.recv() {
            let at = |e: Error| (place, e.at_item(place));
            // What is wrong with the samples themselves is told first.
            seen.add_inputs(&self.signature.inputs, &batch).map_err(at)?;
            if made.is_none() {
                let start = Instant::now();
                let compiled = self.registry.compile(|_| Ok(self.observed.clone()));
                made = Some(compiled.map_err(|e| (place, e))?);
                times.built = start.elapsed();
            }
            let Some(compiled) = &made else { continue };
            let outputs = &compiled.executable.signature().outputs;
            let (start, mut looked) = (Instant::now(), Duration::ZERO);
            let look = &mut |values: &[Option<&[f32]>]| {
                let start = Instant::now();
                let each = outputs.iter().zip(values);
                let floats = each.filter_map(|(spec, values)| Some((&*spec.name, (*values)?)));
                let added = seen.add(&floats.collect());
                looked = start.elapsed();
                added
            };
            compiled.executable.look(&batch, look).map_err(at)?;
            times.ran += start.elapsed().saturating_sub(looked);
            times.looked += looked;
        }
        let Times { built, ran, looked } = times;
        tracing::debug!(
            target: "accelerant::runtime",
            "calibrate: a worker of {} built in {built:.2?}, ran in {ran:.2?}, looked in {looked:.2?}",
            self.count
        );
        Ok(seen)
    }
}
