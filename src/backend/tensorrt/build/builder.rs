//! From an ONNX model to an engine: parser errors told in full, profiles from the signature,
//! options, the timing cache. Nothing of running.

use std::{
    collections::HashMap,
    ops::ControlFlow,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;
use cxx::UniquePtr;

use super::options::TensorRtOptions;
use super::profiles::{Profiles, place_of};
use super::timings::Timings;
use super::values;
use crate::backend::Engine;
use crate::backend::tensorrt::ffi::{
    self, Flavor, Library, ParserError, ProgressEvent, ProgressFn, dtype_from_tensorrt, dtype_name,
    sides,
};
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::Precision;
use crate::export::{NodeRefusal, OnnxModel, SplitModel};
use crate::progress::{self, Phase, Recorder, phase};
use crate::spec::Signature;

/// One build at a time: TensorRT-RTX 1.6 mixes up the compute capabilities of builds that run side
/// by side ("Target SM 80 is not found in the accelerator list").
static BUILDING: Mutex<()> = Mutex::new(());

/// Lets [`Bytes`] own what the library allocated.
pub(crate) struct Plan(pub(crate) UniquePtr<ffi::HostMemory>);

impl AsRef<[u8]> for Plan {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

/// Builds `model`. For the Enterprise flavor the device must be bound to this thread.
pub(crate) fn build(
    library: &Library,
    model: &OnnxModel,
    options: &TensorRtOptions,
    profiles: &Profiles,
    target: &str,
    timings: Option<&Timings>,
) -> Result<Engine> {
    options.check()?;
    if library.flavor == Flavor::Rtx {
        options.check_compute_capabilities()?;
    }
    let profile_names = profiles.names();
    if let Some(name) = &options.profile {
        place_of(name, &profile_names)?;
    }
    let start = Instant::now();
    phase(Phase::Check, || match model.refused_by_tensorrt() {
        Some(refusal) => Err(refusal.reason),
        None => Ok(()),
    })?;
    let split = model.split();
    let mut builder = library.create_builder()?;
    // SAFETY: `split` is dropped after `builder`.
    phase(Phase::Parse, || unsafe { parse(&mut builder, &split) })?;
    let deciding = check_tensors(&builder, model.signature())?;
    for profile in profiles.of(model.signature(), &deciding)? {
        builder.pin_mut().add_profile(&profile).map_err(|e| build_error(&e))?;
    }

    let known = timings.map(Timings::read).transpose()?.unwrap_or_default();
    let asked = ffi::BuildOptions {
        workspace: options.workspace.unwrap_or(0),
        optimization_level: options.optimization_level.map_or(-1, i32::from),
        aux_streams: options.aux_streams.map_or(-1, i32::from),
        tf32: options.tf32 && !is_of_32_bits(model),
        detailed: options.layer_details,
        refit: options.refit,
        weight_streaming: options.weight_streaming,
        compute_capabilities: options
            .compute_capabilities
            .iter()
            .map(|&sm| i32::from(sm))
            .collect(),
        use_timing_cache: timings.is_some(),
        timing_cache: known,
    };
    let recorder = progress::current();
    let told = ffi::Progress::new(followed(options.progress.clone(), recorder.clone()));
    let plan = phase(Phase::Build, || {
        let built = {
            let _alone = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
            builder.pin_mut().build(&asked, &told)
        };
        built.map_err(|e| match (recorder.is_some_and(|r| r.is_stopped()), told.stopped()) {
            (true, _) => progress::stopped(),
            (_, true) => Error::new(ErrorKind::Build, "stopped by the progress callback"),
            _ if asked.workspace > 0 && e.what().contains("within workspace limit") => {
                let text = format!("a workspace of {} bytes is too small", asked.workspace);
                Error::new(ErrorKind::InvalidArgument, format!("{text}: {}", e.what()))
            }
            _ => build_error(&e),
        })
    });
    let plan = plan.map_err(|e| e.in_operation("build"))?;
    if let Some(timings) = timings {
        timings.add(&asked.timing_cache, &builder);
    }
    drop(builder);
    drop(split);

    let signature = profiles.narrowed(model.signature());
    let plan = Bytes::from_owner(Plan(plan));
    let version = library.version.to_string();
    let kind = library.flavor.kind();
    let engine = Engine::new(kind, version, target, signature, start.elapsed(), plan);
    Ok(engine.just_built().with_profile_names(profile_names))
}

/// The callback of the options, and before it what records the phases of this thread.
fn followed(
    callback: Option<Arc<ProgressFn>>,
    recorder: Option<Arc<Recorder>>,
) -> Option<Arc<ProgressFn>> {
    let Some(recorder) = recorder else { return callback };
    let steps = Mutex::new(HashMap::<String, usize>::new());
    Some(Arc::new(move |event| {
        let mut totals = steps.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = match event {
            ProgressEvent::Started { phase, steps, .. } => {
                totals.insert(phase.to_owned(), steps);
                recorder.step(Phase::Build, phase, 0, steps)
            }
            ProgressEvent::Step { phase, step } => {
                let total = totals.get(phase).copied().unwrap_or(0);
                recorder.step(Phase::Build, phase, step + 1, total)
            }
            ProgressEvent::Finished { phase } => {
                totals.remove(phase);
                true
            }
        };
        drop(totals);
        match (goes_on, &callback) {
            (false, _) => ControlFlow::Break(()),
            (true, Some(callback)) => callback(event),
            (true, None) => ControlFlow::Continue(()),
        }
    }))
}

/// Finds what the parser refuses: every operator that it does not have, else the first node that it
/// cannot convert, where it stops.
pub(crate) fn check(library: &Library, model: &OnnxModel) -> Result<Vec<NodeRefusal>> {
    if let Some(refusal) = model.refused_by_tensorrt() {
        return Ok(vec![refusal]);
    }
    let split = model.split();
    let mut builder = library.create_builder()?;
    // SAFETY: `split` is dropped after `builder`.
    let parsed = unsafe { parse(&mut builder, &split) };
    let checked = parsed.and_then(|()| check_tensors(&builder, model.signature()).map(drop));
    let Err(whole) = checked else { return Ok(Vec::new()) };
    let errors = builder.parser_errors().map_err(|e| build_error(&e))?;
    if errors.is_empty() {
        return Ok(vec![NodeRefusal::new(None, whole)]);
    }
    let nodes = model.proto().graph.iter().flat_map(|graph| &graph.node);
    let named: HashMap<&str, usize> = nodes.enumerate().map(|(i, node)| (node.name(), i)).collect();
    let refusal = |error: &ParserError| {
        let node = named.get(error.node.as_str()).copied();
        // Without a driver the library complains of that as well.
        let lines = description(error).lines().filter(|line| !line.contains("catchCudaError"));
        let words: Vec<_> = lines.map(str::trim).collect();
        let text = match node {
            None => format!("{}: {}", place(error), words.join("; ")),
            Some(_) => words.join("; "),
        };
        NodeRefusal::new(node, Error::new(parser_kind(std::slice::from_ref(error)), text))
    };
    Ok(errors.iter().map(refusal).collect())
}

/// Has the parser read a model.
///
/// # Safety
/// `split` must live as long as `builder`, which keeps the addresses of its weights.
unsafe fn parse(builder: &mut UniquePtr<ffi::Builder>, split: &SplitModel) -> Result<()> {
    let loaded = builder.pin_mut().load_model(&split.bytes);
    loaded.map_err(|e| parser_error(found(builder), &e))?;
    for (name, weights) in &split.weights {
        let bytes = weights.bytes();
        // SAFETY: the caller keeps `split`, which holds the bytes.
        let loaded = unsafe { builder.pin_mut().load_weights(name, bytes.as_ptr(), bytes.len()) };
        loaded.map_err(|e| parser_error(found(builder), &e).on_tensor(name))?;
    }
    let parsed = builder.pin_mut().parse();
    parsed.map_err(|e| parser_error(found(builder), &e))
}

fn found(builder: &ffi::Builder) -> Vec<ParserError> {
    builder.parser_errors().unwrap_or_default()
}

fn build_error(error: &cxx::Exception) -> Error {
    Error::new(ErrorKind::Build, error.what()).in_operation("build")
}

/// All that the parser found, as one error: its first place, and every text.
pub(crate) fn parser_error(errors: Vec<ParserError>, error: &cxx::Exception) -> Error {
    let kind = parser_kind(&errors);
    for error in &errors {
        let ParserError { code, file, line, function, .. } = error;
        tracing::debug!(target: "accelerant::tensorrt", "{}: code {code}, {file}:{line}, {function}", place(error));
    }
    match errors.as_slice() {
        [] => Error::new(kind, error.what()).in_operation("parse"),
        [only] => Error::new(kind, description(only)).in_operation(place(only)),
        many => {
            let each =
                many.iter().map(|error| format!("\n  {}: {}", place(error), description(error)));
            let text = format!("{} errors:{}", many.len(), each.collect::<String>());
            Error::new(kind, text).in_operation("parse")
        }
    }
}

fn parser_kind(errors: &[ParserError]) -> ErrorKind {
    match errors.iter().any(is_unsupported) {
        true => ErrorKind::UnsupportedOperation,
        false => ErrorKind::InvalidModel,
    }
}

/// Whether the error is `nvonnxparser::ErrorCode::kUNSUPPORTED_…`, or says so: an operator that
/// the parser does not know has the code of an internal error.
fn is_unsupported(error: &ParserError) -> bool {
    (7..=13).contains(&error.code) || error.description.contains("is not supported")
}

/// The parser's words; some of its checks only print their condition, which is "false".
fn description(error: &ParserError) -> &str {
    match error.description.trim() {
        "" | "false" if is_unsupported(error) => "the operator is not supported",
        "" | "false" => "the node is not valid",
        words => words,
    }
}

fn place(error: &ParserError) -> String {
    match (error.node.as_str(), error.operator_type.as_str()) {
        ("", "") => "parse".into(),
        ("", operator) => format!("{operator} (node {})", error.index),
        (node, "") => node.into(),
        (node, operator) => format!("{node} ({operator})"),
    }
}

/// The network must have what the signature says; the parser may have changed types on its way. Gives
/// the places of the inputs whose values decide shapes.
fn check_tensors(builder: &ffi::Builder, signature: &Signature) -> Result<Vec<usize>> {
    let tensors = builder.tensors().map_err(|e| build_error(&e))?;
    let mut deciding = Vec::new();
    for (i, (spec, input)) in sides(signature).enumerate() {
        let Some(tensor) = tensors.iter().find(|t| t.name == spec.name && t.input == input) else {
            let text = "the parsed network has no such input or output";
            return Err(Error::new(ErrorKind::InvalidModel, text).on_tensor(&spec.name));
        };
        if dtype_from_tensorrt(tensor.dtype) != Some(spec.dtype) {
            let (expected, got) = (spec.dtype, dtype_name(tensor.dtype));
            let text = format!(
                "TensorRT has no {expected} inputs and outputs and takes this one as {got}"
            );
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(&spec.name));
        }
        if tensor.on_host && input {
            values::check(spec)?;
            deciding.push(i);
        }
    }
    Ok(deciding)
}

/// Whether products of 32 bits were asked for.
fn is_of_32_bits(model: &OnnxModel) -> bool {
    model.precision_report().is_some_and(|report| report.precision == Precision::Fp32)
}
