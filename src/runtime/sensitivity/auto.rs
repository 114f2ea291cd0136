//! The precision that pays: each is measured against what may be lost, and where a GPU is, against the clock.

use serde::{Deserialize, Serialize};

use super::super::{InferenceModule, OptimizeOptions};
use super::{Metric, SEARCH, Search};
use crate::backend::{BackendKind, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::{Precision, PrecisionOptions, Ranges};
use crate::export::{OnnxModel, Target};
use crate::tensor::HostTensor;

/// A precision is kept only where it takes at most this part of the time of the best one before.
const WORTH: f64 = 0.98;
#[cfg(feature = "cuda")]
const WARM_UP: usize = 20;
#[cfg(feature = "cuda")]
const RUNS: usize = 100;

/// Chooses a precision.
///
/// ```no_run
/// use accelerant::export::OnnxModel;
/// use accelerant::precision::{Auto, Calibration, Method};
/// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Registry};
///
/// # fn batches() -> Vec<Vec<HostTensor>> { Vec::new() }
/// let model = OnnxModel::open("model.onnx")?;
/// let options = OptimizeOptions::new();
/// let ranges = Calibration::new(Method::Mse).run(&model, &Registry::default(), batches())?;
/// let auto = Auto::new(0.01).ranges(ranges);
/// let (chosen, tried) = auto.run(&model, &options, &Registry::default(), &batches())?;
/// tried.iter().for_each(|tried| println!("{tried:?}"));
/// let fast = InferenceModule::compile(&model, &options.precision(chosen))?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Auto {
    max_drop: f64,
    metric: Metric,
    candidates: Vec<PrecisionOptions>,
    ranges: Option<Ranges>,
}

/// What became of one precision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Tried {
    /// The precision.
    pub precision: Precision,
    /// What is lost, as the metric counts it; with layers that stay in half precision, where it has some.
    pub drop: Option<f64>,
    /// How many layers stay in half precision because of what they lose.
    pub in_half: usize,
    /// The median of the milliseconds of a call on tensors in device memory, where a GPU is.
    pub milliseconds: Option<f64>,
    /// Why it cannot be chosen.
    pub error: Option<String>,
    /// Whether it was chosen.
    pub chosen: bool,
}

impl Auto {
    /// All precisions that lose no more than `max_drop`, as the [metric](Self::metric) counts it.
    pub fn new(max_drop: f64) -> Self {
        use Precision::{Bf16, Fp8, Fp16, Int4Weights, Int8, Mixed};
        let all = [Fp16, Mixed, Bf16, Int8, Fp8, Int4Weights];
        let candidates = all.map(PrecisionOptions::new).into();
        Self { max_drop, metric: Metric::Cosine, candidates, ranges: None }
    }

    /// How what is lost is counted; [`Metric::Cosine`] otherwise.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Tries these and no others, in this order.
    #[must_use]
    pub fn candidates<P: Into<PrecisionOptions>>(
        mut self,
        all: impl IntoIterator<Item = P>,
    ) -> Self {
        self.candidates = all.into_iter().map(Into::into).collect();
        self
    }

    /// Ranges for all candidates; those that need some are passed over without.
    #[must_use]
    pub fn ranges(mut self, ranges: Ranges) -> Self {
        self.ranges = Some(ranges);
        self
    }

    /// The precision to take, and what became of all, with `Fp32` first, which is taken where none is better.
    ///
    /// What is lost is measured on `portable`, as a [`Search`] does. Where `options` give a module on TensorRT, each
    /// candidate is built and timed, and one that is not at least 2 % faster than the best before is not taken. Without
    /// a GPU nothing can be timed, and the first that loses little enough is taken.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a drop that is none and without samples; what the model in 32 bits comes to.
    /// Those of a candidate are told in what is tried.
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
        let plain = PrecisionOptions::new(Precision::Fp32);
        let search = Search::new(plain.clone(), self.max_drop).metric(self.metric.clone());
        search.check(model, batches).map_err(|e| e.in_operation(SEARCH))?;
        let kinds = [BackendKind::TensorRtRtx, BackendKind::TensorRt];
        let backend = kinds.iter().find_map(|kind| options.backends().get(kind).ok());
        let target = backend.map_or_else(Target::tensorrt, |backend| backend.target());

        let base = milliseconds(model, options, &plain, first)?;
        let mut tried = vec![Tried { milliseconds: base, ..Tried::new(Precision::Fp32) }];
        tried[0].drop = Some(0.0);
        let (mut best, mut chosen, mut at) = (base, plain, 0);
        for candidate in &self.candidates {
            let wanted = match &self.ranges {
                Some(ranges) => candidate.clone().ranges(ranges.clone()),
                None => candidate.clone(),
            };
            let mut told = Tried::new(candidate.precision());
            let search = Search::new(wanted, self.max_drop).metric(self.metric.clone());
            let measured = search.suited(model, target, portable, batches).and_then(|found| {
                let (suited, drop, in_half) = found;
                (told.drop, told.in_half) = (Some(drop), in_half);
                if drop > self.max_drop {
                    let text = format!("it loses {drop:.3e}, more than {:.3e}", self.max_drop);
                    return Err(Error::new(ErrorKind::InvalidArgument, text));
                }
                told.milliseconds = match base {
                    Some(_) => milliseconds(model, options, &suited, first)?,
                    None => None,
                };
                Ok(suited)
            });
            match measured {
                Err(e) if e.is_stop() => return Err(e),
                Err(e) => told.error = Some(e.to_string()),
                Ok(suited) => {
                    let better = match (told.milliseconds, best) {
                        (Some(time), Some(best)) => time <= WORTH * best,
                        (None, None) => at == 0,
                        _ => false,
                    };
                    if better {
                        (best, chosen, at) = (told.milliseconds, suited, tried.len());
                    }
                }
            }
            tried.push(told);
        }
        tried[at].chosen = true;
        Ok((chosen, tried))
    }
}

impl Tried {
    const fn new(precision: Precision) -> Self {
        let (drop, milliseconds, error) = (None, None, None);
        Self { precision, drop, in_half: 0, milliseconds, error, chosen: false }
    }
}

/// The median of a few calls; none where the module does not run on TensorRT.
fn milliseconds(
    model: &OnnxModel,
    options: &OptimizeOptions,
    precision: &PrecisionOptions,
    inputs: &[HostTensor],
) -> Result<Option<f64>> {
    let kinds = [BackendKind::TensorRtRtx, BackendKind::TensorRt];
    if !kinds.iter().any(|kind| options.backends().get(kind).is_ok_and(|b| b.probe().is_ok())) {
        return Ok(None);
    }
    let options = options.clone().precision(precision.clone());
    let module = InferenceModule::compile(model, &options)?;
    match module.device() {
        Some(device) if kinds.contains(&module.backend()) => {
            on_device(&module, device.ordinal(), inputs).map(Some)
        }
        _ => Ok(None),
    }
}

/// By CUDA events, on tensors that are there: copies from the host would hide what a precision gains.
#[cfg(feature = "cuda")]
fn on_device(module: &InferenceModule, ordinal: usize, inputs: &[HostTensor]) -> Result<f64> {
    let mut timer = crate::runtime::device_timer::DeviceTimer::new(module, ordinal, inputs)?;
    timer.calls(WARM_UP)?;
    Ok(timer.calls(RUNS)?.median())
}

/// No backend of TensorRT is compiled in.
#[cfg(not(feature = "cuda"))]
fn on_device(_: &InferenceModule, _: usize, _: &[HostTensor]) -> Result<f64> {
    let text = "nothing is timed on a device without the feature `cuda`";
    Err(Error::new(ErrorKind::Device, text))
}
