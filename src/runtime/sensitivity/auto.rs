//! The precision that pays: each is timed where a GPU is, and what is faster is measured against what may be lost.
//!
//! The number of builds does not grow with the model: layers of the same sizes are one measurement of time, and layers
//! that follow each other are one measurement of what is lost.

use super::bench::Bench;
use super::clock::Clock;
use super::tried::{TimedGroup, Tried};
use super::{Metric, SEARCH, Search, groups, quantized};
use crate::backend::{BackendKind, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::{Precision, PrecisionOptions, Ranges};
use crate::export::{OnnxModel, Target};
use crate::limit::TimeLimit;
use crate::progress::{Phase, step};
use crate::runtime::OptimizeOptions;
use crate::tensor::HostTensor;

/// A precision is kept only where it takes at most this part of the time of the best one before.
const WORTH: f64 = 0.98;
/// Groups of layers that are timed by themselves for a precision.
const MOST_GROUPS: usize = 4;
/// Parts of a model that are compared by themselves for a precision.
const MOST_PARTS: usize = 16;

/// Chooses a precision by measured time and accuracy.
///
/// ```no_run
/// use std::time::Duration;
/// use accelerant::export::OnnxModel;
/// use accelerant::precision::{Auto, Calibration, Method};
/// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Registry, TimeLimit};
///
/// # fn batches() -> Vec<Vec<HostTensor>> { Vec::new() }
/// let model = OnnxModel::open("model.onnx")?;
/// let options = OptimizeOptions::new();
/// let ranges = Calibration::new(Method::Mse).run(&model, &Registry::default(), batches())?;
/// let limit = TimeLimit::of(Duration::from_secs(120));
/// let auto = Auto::new(0.01).ranges(ranges).time_limit(&limit);
/// let (chosen, tried) = auto.run(&model, &options, &Registry::default(), &batches())?;
/// tried.iter().for_each(|tried| println!("{tried}"));
/// let fast = InferenceModule::compile(&model, &options.precision(chosen))?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auto {
    max_drop: f64,
    metric: Metric,
    candidates: Option<Vec<PrecisionOptions>>,
    ranges: Option<Ranges>,
    limit: Option<TimeLimit>,
    on_host: bool,
}

impl Auto {
    /// Tries all precisions. `max_drop` is the allowed loss by the [metric](Self::metric).
    ///
    /// `Auto` skips precisions that cannot be better. `Auto` skips `Mixed` and `Bf16` after fp16 was taken, and all
    /// precisions that build on fp16 if fp16 alone loses too much.
    pub const fn new(max_drop: f64) -> Self {
        let (candidates, ranges, limit) = (None, None, None);
        Self { max_drop, metric: Metric::Cosine, candidates, ranges, limit, on_host: false }
    }

    /// Sets the metric of the loss; the default is [`Metric::Cosine`].
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Tries exactly these precisions, in this order.
    #[must_use]
    pub fn candidates<P: Into<PrecisionOptions>>(
        mut self,
        all: impl IntoIterator<Item = P>,
    ) -> Self {
        self.candidates = Some(all.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the ranges for all candidates. Without ranges, candidates that need ranges are skipped.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }

    /// Sets a time limit. When the limit is over, `Auto` takes the best precision so far, and reports the skipped
    /// candidates. The limit also replaces the options' [`compile_limit`](OptimizeOptions::compile_limit) in each
    /// build. A [cancelled](TimeLimit::cancel) limit ends the search with an error.
    #[must_use]
    pub fn time_limit(mut self, limit: &TimeLimit) -> Self {
        self.limit = Some(limit.clone());
        self
    }

    /// Without a GPU, measures calls on the host, with the first backend of the options that runs.
    #[must_use]
    pub const fn timed_on_host(mut self) -> Self {
        self.on_host = true;
        self
    }

    /// Chooses a precision. The result is the precision, and a report of all candidates. The first candidate is
    /// `Fp32`, which `Auto` takes if no other precision is better.
    ///
    /// If `options` lead to a module on TensorRT, `Auto` builds and times each candidate. `Auto` takes only a
    /// candidate that is at least 2 % faster than the best so far. If a precision of 8 or 4 bits is not faster, `Auto`
    /// times its layers in at most four groups of the same sizes, and quantizes only the faster groups. `Auto`
    /// measures the loss of a faster candidate on `portable`, as a [`Search`] does, in at most 16
    /// [parts](Search::parts). Without a GPU, `Auto` measures no times, and takes the first precision that loses
    /// little enough.
    ///
    /// For each precision, `Auto` builds at most 7 engines and compares at most 22 models, whatever the number of
    /// layers. The [callback](OptimizeOptions::progress) of the options gets each step as [`Phase::Search`], and can
    /// stop the search. `Auto` writes no files, even if the options ask for files.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid limit, without samples, and for a metric that fails or returns no
    /// number for the outputs in fp32; the errors of the fp32 model; [`ErrorKind::Cancelled`]. The errors of a
    /// candidate are in [`Tried`].
    pub fn run(
        &self,
        model: &OnnxModel,
        options: &OptimizeOptions,
        portable: &Registry,
        batches: &[Vec<HostTensor>],
    ) -> Result<(PrecisionOptions, Vec<Tried>)> {
        let first = batches.first().ok_or_else(|| {
            Error::new(ErrorKind::InvalidArgument, "there are no samples").in_operation(SEARCH)
        })?;
        let plain = self.search(PrecisionOptions::new(Precision::Fp32));
        plain.check(model, batches).map_err(|e| e.in_operation(SEARCH))?;
        let mut options = options.clone().without_files();
        if let Some(limit) = &self.limit {
            options = options.compile_limit(limit);
        }
        let kinds = [BackendKind::TensorRtRtx, BackendKind::TensorRt];
        let backend = kinds.iter().find_map(|kind| options.backends().get(kind).ok());
        let target = backend.map_or_else(Target::tensorrt, |backend| backend.target());
        let recorder = options.recorder();
        let mut work = Work {
            auto: self,
            target,
            clock: Clock::new(model, options, first, self.on_host),
            bench: Bench::new(model, portable, batches, self.limit.clone()),
        };
        recorder.during(|| work.choose())
    }

    /// Whether candidates need ranges, and there are none.
    pub(in crate::runtime) fn needs_ranges(&self) -> bool {
        let needs =
            |one: &PrecisionOptions| matches!(one.precision(), Precision::Int8 | Precision::Fp8);
        self.ranges.is_none() && self.candidates.as_ref().is_none_or(|all| all.iter().any(needs))
    }

    fn search(&self, options: PrecisionOptions) -> Search {
        Search::new(options, self.max_drop).metric(self.metric.clone()).parts(MOST_PARTS)
    }

    fn wanted(&self) -> Vec<PrecisionOptions> {
        use Precision::{Bf16, Fp8, Fp16, Int4Weights, Int8, Mixed};
        let usual = || [Fp16, Mixed, Bf16, Int8, Fp8, Int4Weights].map(PrecisionOptions::new);
        let all = self.candidates.clone().unwrap_or_else(|| usual().into());
        let ranged = |one: PrecisionOptions| match &self.ranges {
            Some(ranges) => one.ranges(ranges.clone()),
            None => one,
        };
        all.into_iter().map(ranged).collect()
    }

    /// Why a candidate cannot pay, by what was tried before.
    fn needless(&self, precision: Precision, tried: &[Tried], at: usize) -> Option<String> {
        if self.candidates.is_some() {
            return None;
        }
        let half = tried.iter().find(|tried| tried.precision == Precision::Fp16)?;
        match (precision, half.drop) {
            (Precision::Mixed, _) if tried[at].precision == Precision::Fp16 => {
                Some("fp16 is taken, and has fewer bits everywhere".into())
            }
            (Precision::Bf16, _) if tried[at].precision == Precision::Fp16 => {
                Some("fp16 is taken, and has more digits in as many bits".into())
            }
            (_, Some(drop)) if precision.is_quantized() && drop > self.max_drop => Some(format!(
                "half precision alone loses {drop:.3e}, more than {:.3e}",
                self.max_drop
            )),
            _ => None,
        }
    }

    /// Whether this is the error of the own limit of time, after which the best until then is taken.
    fn is_over(&self, error: &Error) -> bool {
        let over =
            |limit: &TimeLimit| limit.check().is_err_and(|e| e.kind() == ErrorKind::TimedOut);
        error.kind() == ErrorKind::TimedOut && self.limit.as_ref().is_some_and(over)
    }
}

/// A search that goes on.
struct Work<'a> {
    auto: &'a Auto,
    target: Target,
    clock: Clock<'a>,
    bench: Bench<'a>,
}

/// Whether a time is better than the best before; where nothing is timed, all are.
fn is_faster(time: Option<f64>, best: Option<f64>) -> bool {
    time.zip(best).is_none_or(|(time, best)| time <= WORTH * best)
}

impl Work<'_> {
    fn choose(&mut self) -> Result<(PrecisionOptions, Vec<Tried>)> {
        let checked = self.bench.check(&self.auto.metric, self.auto.max_drop);
        checked.map_err(|e| e.in_operation(SEARCH))?;
        let mut chosen = PrecisionOptions::new(Precision::Fp32);
        let mut best = self.clock.time(&chosen, "fp32")?;
        let built = self.clock.built();
        let base = Tried::new(Precision::Fp32);
        let mut tried = vec![Tried { milliseconds: best, drop: Some(0.0), built, ..base }];
        let mut at = 0;
        for wanted in self.auto.wanted() {
            let precision = wanted.precision();
            let mut told = Tried::new(precision);
            let (built, compared) = (self.clock.built(), self.bench.compared());
            let over = self.auto.limit.as_ref().and_then(|limit| limit.check().err());
            match over {
                Some(e) if !self.auto.is_over(&e) => return Err(e),
                Some(e) => told.left_out = Some(e.message().to_owned()),
                None => told.left_out = self.auto.needless(precision, &tried, at),
            }
            if told.left_out.is_none() {
                match self.candidate(wanted, &mut told, best) {
                    Err(e) if self.auto.is_over(&e) => told.left_out = Some(e.to_string()),
                    Err(e) if e.is_stop() => return Err(e),
                    Err(e) => told.error = Some(e.to_string()),
                    Ok(Some(suited)) if self.clock.runs() || at == 0 => {
                        (best, chosen, at) = (told.milliseconds, suited, tried.len());
                    }
                    Ok(_) => {}
                }
            }
            (told.built, told.compared) =
                (self.clock.built() - built, self.bench.compared() - compared);
            tried.push(told);
        }
        tried[at].chosen = true;
        Ok((chosen, tried))
    }

    /// The options with which a precision is faster and loses little enough, if there are any.
    fn candidate(
        &mut self,
        mut wanted: PrecisionOptions,
        told: &mut Tried,
        best: Option<f64>,
    ) -> Result<Option<PrecisionOptions>> {
        // What is refused is refused before anything is built.
        let written = self.bench.model.with_precision(self.target, wanted.clone())?;
        if self.clock.runs() {
            told.milliseconds = self.clock.time(&wanted, wanted.precision().name())?;
            if !is_faster(told.milliseconds, best) {
                match self.paying(&wanted, &quantized(&written), &written, told, best)? {
                    Some(paying) => wanted = paying,
                    None => return Ok(None),
                }
            }
        }
        step(Phase::Search, &format!("what {} loses", wanted.precision()), 0, 0)?;
        let (suited, drop, in_half) = self.auto.search(wanted).suited(self.target, &self.bench)?;
        told.drop = Some(drop);
        told.in_half += in_half;
        if drop > self.auto.max_drop {
            let text = format!("it loses {drop:.3e}, more than {:.3e}", self.auto.max_drop);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if in_half > 0 && self.clock.runs() {
            let name = format!("{} with {} layers in half", told.precision, told.in_half);
            told.milliseconds = self.clock.time(&suited, &name)?;
            if !is_faster(told.milliseconds, best) {
                return Ok(None);
            }
        }
        Ok(Some(suited))
    }

    /// The options in which those layers alone have fewer bits that are faster with them, if that is worth it.
    fn paying(
        &mut self,
        wanted: &PrecisionOptions,
        layers: &[String],
        written: &OnnxModel,
        told: &mut Tried,
        best: Option<f64>,
    ) -> Result<Option<PrecisionOptions>> {
        let all = groups::of(written, layers);
        if all.len() < 2 {
            return Ok(None);
        }
        let only = |kept: &[String]| {
            let others = layers.iter().filter(|layer| !kept.contains(layer));
            wanted.clone().in_half(others.cloned())
        };
        let mut kept = Vec::new();
        let mut last = None;
        for group in all.iter().take(MOST_GROUPS) {
            let name = format!("{} of {} alone", told.precision, group.name);
            let time = self.clock.time(&only(&group.layers), &name)?;
            let Some(milliseconds) = time else { return Ok(None) };
            let faster = best.is_some_and(|best| milliseconds < best);
            let (name, layers) = (group.name.clone(), group.layers.len());
            told.groups.push(TimedGroup { name, layers, milliseconds, faster });
            if faster {
                kept.extend(group.layers.iter().cloned());
                last = time;
            }
        }
        if kept.is_empty() {
            return Ok(None);
        }
        let paying = only(&kept);
        let time = match told.groups.iter().filter(|group| group.faster).count() {
            1 => last,
            _ => self.clock.time(&paying, &format!("the faster layers in {}", told.precision))?,
        };
        if !is_faster(time, best) {
            return Ok(None);
        }
        told.milliseconds = time;
        told.in_half = layers.len() - kept.len();
        Ok(Some(paying))
    }
}
