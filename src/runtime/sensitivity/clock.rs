//! How long a call takes in a precision: on a GPU by its own events, on a host by its clock where that is asked for.

use std::time::{Duration, Instant};

use super::super::{InferenceModule, OptimizeOptions};
use crate::backend::BackendKind;
use crate::error::Result;
use crate::export::OnnxModel;
use crate::export::precision::PrecisionOptions;
use crate::progress::{Phase, step};
use crate::tensor::HostTensor;

const ON_A_GPU: [BackendKind; 2] = [BackendKind::TensorRtRtx, BackendKind::TensorRt];
/// Calls before those that count, on a device and on a host.
#[cfg(feature = "cuda")]
const WARM_UP: usize = 20;
const WARM_UP_ON_HOST: usize = 2;
/// Calls that count: as many as fit into the time, between these two.
const FEWEST: usize = 7;
const MOST: usize = 100;
const TIME: Duration = Duration::from_millis(500);

/// Builds a model in precisions, and times it.
pub(super) struct Clock<'a> {
    model: &'a OnnxModel,
    options: OptimizeOptions,
    inputs: &'a [HostTensor],
    kind: Option<BackendKind>,
    built: usize,
}

impl<'a> Clock<'a> {
    /// Times with the backend that `options` lead to, if it has a GPU; with `on_host` also with another.
    pub(super) fn new(
        model: &'a OnnxModel,
        options: OptimizeOptions,
        inputs: &'a [HostTensor],
        on_host: bool,
    ) -> Self {
        let backends = options.backends();
        let required = backends.required();
        let wanted = |kind: &BackendKind| required.is_none_or(|required| required == kind);
        let runs = |kind: &BackendKind| backends.get(kind).is_ok_and(|b| b.probe().is_ok());
        let gpu = ON_A_GPU.into_iter().find(|kind| wanted(kind) && runs(kind));
        let any = || {
            let kinds = backends.backends().iter().map(|backend| backend.kind());
            kinds.filter(|_| on_host).find(|kind| wanted(kind) && runs(kind))
        };
        let kind = gpu.or_else(any);
        Self { model, options, inputs, kind, built: 0 }
    }

    /// Whether anything can be timed.
    pub(super) const fn runs(&self) -> bool {
        self.kind.is_some()
    }

    /// How many engines were built.
    pub(super) const fn built(&self) -> usize {
        self.built
    }

    /// The median of the milliseconds of a few calls. `told` is what a follower of the work gets to know.
    pub(super) fn time(&mut self, precision: &PrecisionOptions, told: &str) -> Result<Option<f64>> {
        let Some(kind) = self.kind.clone() else { return Ok(None) };
        step(Phase::Search, &format!("the time of {told}"), self.built, 0)?;
        self.built += 1;
        let options = self.options.clone().require(kind).precision(precision.clone());
        let module = InferenceModule::compile(self.model, &options)?;
        let median = match module.device() {
            Some(device) => on_device(&module, device.ordinal(), self.inputs)?,
            None => on_host(&module, self.inputs)?,
        };
        Ok(Some(median))
    }
}

fn on_host(module: &InferenceModule, inputs: &[HostTensor]) -> Result<f64> {
    let call = || -> Result<f64> {
        let start = Instant::now();
        module.run(inputs)?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    };
    for _ in 0..WARM_UP_ON_HOST {
        call()?;
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < FEWEST || times.len() < MOST && start.elapsed() < TIME {
        times.push(call()?);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// On tensors that are there: copies from the host would hide what a precision gains.
#[cfg(feature = "cuda")]
fn on_device(module: &InferenceModule, ordinal: usize, inputs: &[HostTensor]) -> Result<f64> {
    let mut timer = crate::runtime::device_timer::DeviceTimer::new(module, ordinal, inputs)?;
    let one = timer.calls(WARM_UP)?.median();
    let fit = TIME.as_secs_f64() * 1e3 / one.max(1e-3);
    Ok(timer.calls((fit as usize).clamp(FEWEST, MOST))?.median())
}

/// No backend of TensorRT is compiled in.
#[cfg(not(feature = "cuda"))]
fn on_device(_: &InferenceModule, _: usize, _: &[HostTensor]) -> Result<f64> {
    let text = "nothing is timed on a device without the feature `cuda`";
    Err(crate::error::Error::new(crate::error::ErrorKind::Device, text))
}
