//! A precision that is chosen while a model is compiled: on the exported model, with the samples of the options.

use super::calibration::{Calibration, LEAST_SAMPLES, Method, counted};
use super::options::OptimizeOptions;
use super::sensitivity::{Auto, Tried};
use crate::backend::{BackendKind, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::{PrecisionOptions, Ranges};
use crate::export::{ExportOptions, OnnxModel, Target};
use crate::tensor::HostTensor;

const ON_A_GPU: [BackendKind; 2] = [BackendKind::TensorRtRtx, BackendKind::TensorRt];

/// What [`OptimizeOptions::auto_precision`] asks for.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) auto: Auto,
    pub(super) samples: Vec<Vec<HostTensor>>,
}

/// The options with the precision that is chosen, and what was tried; those given where nothing is to be chosen.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`] where a precision is stated too; those of [`Auto::run`] and [`Calibration::run`].
pub(super) fn options(
    given: &OptimizeOptions,
    export: &mut impl FnMut(Target) -> Result<OnnxModel>,
) -> Result<(OptimizeOptions, Vec<Tried>)> {
    let Some(choice) = given.choice() else { return Ok((given.clone(), Vec::new())) };
    let of_export: &ExportOptions = given.as_ref();
    if of_export.wanted_precision().is_some() {
        let text = "a precision is stated, and another is to be chosen";
        return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("precision"));
    }
    let backends = given.backends();
    let device = ON_A_GPU.iter().find_map(|kind| backends.get(kind).ok());
    let target = device.map_or_else(Target::tensorrt, |backend| backend.target());
    let model = export(target.for_compute_capability(None))?;
    let portable = portable(backends);
    let mut auto = choice.auto.clone();
    let samples: usize = choice.samples.iter().map(|batch| counted(batch)).sum();
    if auto.needs_ranges() && samples >= LEAST_SAMPLES {
        auto = auto.ranges(ranges(&model, &portable, &choice.samples)?);
    }
    // The export is done, so that its options say nothing any more.
    let searched = given.clone().without_choice().export(ExportOptions::default());
    let (chosen, tried): (PrecisionOptions, _) =
        auto.run(&model, &searched, &portable, &choice.samples)?;
    Ok((given.clone().without_choice().precision(chosen), tried))
}

fn ranges(model: &OnnxModel, portable: &Registry, samples: &[Vec<HostTensor>]) -> Result<Ranges> {
    // The values that a precision will see: sizes that are computed though they are known are constants.
    let model = model.for_target(Target::tensorrt())?;
    Calibration::new(Method::Mse).run(&model, portable, samples.iter().cloned())
}

/// The backends without a GPU, as they are in the options, else the usual ones.
fn portable(backends: &Registry) -> Registry {
    let on_host = |kind: &BackendKind| !ON_A_GPU.contains(kind);
    let own = backends.only(on_host);
    match own.backends().is_empty() {
        true => Registry::default().only(on_host),
        false => own,
    }
}
