//! What an engine needs on a device, before a context is made: memory, contexts, kernels, and what executions are checked
//! against.

use std::path::PathBuf;

use cudarc::driver::CudaContext;

use super::engine::LoadedEngine;
use super::kernels::Kernels;
use super::slot::{Model, byte_len};
use crate::backend::tensorrt::build::{TensorRtOptions, place_of};
use crate::backend::tensorrt::ffi::device;
use crate::backend::{BackendKind, Engine, EngineMemory};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Signature, TensorSpec};

/// Whether kernels that start early wait for what they read.
///
/// Those that TensorRT-RTX 1.6 compiles for compute capability 9.0, which it does not support officially, do not
/// all: a ResNet-50 was off by 1 to 300 % of its largest value, differently in each run, and right when the kernels
/// of the same engine waited for each other.
pub(super) fn kernels_may_overlap(device: &CudaContext, kind: &BackendKind) -> Result<bool> {
    let (major, _) = device::compute_capability(device.ordinal())?;
    Ok(*kind != BackendKind::TensorRtRtx || major != 9)
}

/// Where compiled kernels are kept: where the user says so, else beside an engine of the cache, for this device.
pub(super) fn kernels_file(
    device: &CudaContext,
    header: &Engine,
    options: &TensorRtOptions,
) -> Option<PathBuf> {
    if *header.kind() != BackendKind::TensorRtRtx {
        return None;
    }
    options.runtime_cache.clone().or_else(|| {
        let (name, capability, driver) = device::identity(device.ordinal()).ok()?;
        Some(Kernels::file(header.kernels()?, &format!("{name} {capability} {driver}")))
    })
}

/// How many contexts may be made.
pub(super) fn contexts_within(
    engine: &LoadedEngine,
    signature: &Signature,
    options: &TensorRtOptions,
) -> Result<usize> {
    let most = options.contexts(signature);
    let Some(limit) = options.memory_limit else { return Ok(most) };
    let (weights, scratch) = (engine.weight_bytes() as u64, engine.scratch_bytes() as u64);
    let needed = weights.saturating_add(scratch);
    if needed > limit {
        let text = format!(
            "the engine needs {needed} bytes of device memory ({weights} for weights, {scratch} for \
             one context), the limit is {limit}"
        );
        return Err(Error::new(ErrorKind::Device, text).in_operation("load engine"));
    }
    if options.shared_scratch {
        return Ok(most);
    }
    let fitting = (limit - weights).checked_div(scratch).unwrap_or(u64::MAX);
    Ok(usize::try_from(fitting).unwrap_or(usize::MAX).min(most))
}

/// What executions are checked against, with all profiles or one alone.
pub(super) fn model(
    engine: &LoadedEngine,
    signature: &Signature,
    profile_names: &[String],
    profile: Option<&str>,
) -> Result<Model> {
    let mut signature = signature.clone();
    let deciding = engine.deciding(&signature)?;
    let mut profiles = engine.ranges(&signature, &deciding)?;
    if let Some(name) = profile {
        let only = place_of(name, profile_names)?;
        signature = profiles.restrict(only, &signature)?;
    }
    let aliased = engine.aliased(&signature)?;
    Ok(Model { signature, profiles, deciding, aliased })
}

/// What an engine takes with so many contexts.
pub(super) fn memory(
    engine: &LoadedEngine,
    signature: &Signature,
    contexts: usize,
    options: &TensorRtOptions,
) -> EngineMemory {
    let all = |specs: &[TensorSpec]| {
        specs.iter().fold(0u64, |sum, spec| {
            let [_, _, largest] = spec.shape.profile();
            sum.saturating_add(byte_len(spec, &largest).map_or(u64::MAX, |len| len as u64))
        })
    };
    EngineMemory {
        weights: engine.weight_bytes() as u64,
        scratch: engine.scratch_bytes() as u64,
        contexts,
        shared_scratch: options.shared_scratch,
        inputs: all(&signature.inputs),
        outputs: all(&signature.outputs),
    }
}

/// What an engine would take if it were made ready to run with these options.
///
/// # Errors
/// As for making it ready.
pub(crate) fn memory_with(
    engine: &LoadedEngine,
    header: &Engine,
    options: &TensorRtOptions,
) -> Result<EngineMemory> {
    let (signature, names) = (header.signature(), header.profile_names());
    let model = model(engine, signature, names, options.profile.as_deref())?;
    let contexts = contexts_within(engine, &model.signature, options)?;
    Ok(memory(engine, &model.signature, contexts, options))
}
