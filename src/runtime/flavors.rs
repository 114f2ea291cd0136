//! Engines that a flavor of TensorRT builds, to be kept or written to a file. What runs them is not chosen here.

use std::path::Path;
use std::sync::Arc;

use super::compile::Maker;
use super::options::OptimizeOptions;
use crate::backend::{Backend, BackendKind, Engine, Rejection};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{OnnxModel, Target};
use crate::progress::{Phase, phase};

/// The flavors of TensorRT, in the order in which they are tried.
pub(super) const FLAVORS: [BackendKind; 2] = [BackendKind::TensorRtRtx, BackendKind::TensorRt];

/// Builds an engine with the first of `kinds` that can build here.
///
/// # Errors
/// Each one's reason, or that of the caller's callback alone.
pub(super) fn build_engine(
    export: &mut impl FnMut(Target) -> Result<OnnxModel>,
    options: &OptimizeOptions,
    kinds: &[BackendKind],
    maker: &mut Maker,
) -> Result<(Engine, Arc<dyn Backend>), Vec<Rejection>> {
    let mut reasons = Vec::new();
    for kind in kinds {
        let built = options.backends().get(kind).and_then(|backend| {
            let target = backend.target();
            let exported = phase(Phase::Export, || export(target))?;
            match maker.known(backend.as_ref(), &exported) {
                Ok(Some(known)) => return Ok((maker.take(known).0, backend.clone())),
                Err(reason) if reason.is_stop() => return Err(reason),
                // What is wrong comes up again below.
                Ok(None) | Err(_) => {}
            }
            let model = exported.for_target(target)?;
            Ok((maker.engine(backend.as_ref(), &model)?, backend.clone()))
        });
        match built {
            Ok(built) => return Ok(built),
            Err(reason) if reason.is_stop() => {
                return Err(vec![Rejection { kind: kind.clone(), reason }]);
            }
            Err(reason) => reasons.push(Rejection { kind: kind.clone(), reason }),
        }
    }
    Err(reasons)
}

/// The error of an engine that none can build: the only reason, else all of them, of the kind of the first that is the
/// model's fault.
pub(super) fn not_built(mut reasons: Vec<Rejection>) -> Error {
    if reasons.len() == 1
        && let Some(only) = reasons.pop()
    {
        return only.reason;
    }
    let absent = [
        ErrorKind::NoBackend,
        ErrorKind::LibraryNotFound,
        ErrorKind::VersionMismatch,
        ErrorKind::Device,
    ];
    let kinds = reasons.iter().map(|rejection| rejection.reason.kind());
    let kind =
        kinds.into_iter().find(|kind| !absent.contains(kind)).unwrap_or(ErrorKind::NoBackend);
    Error::new(kind, format!("no TensorRT can build the engine: {}", listed(&reasons)))
}

fn listed(reasons: &[Rejection]) -> String {
    reasons.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Builds the engine that is to be written with the flavor of TensorRT that is required, else the first that can build
/// here, and writes it.
pub(super) fn write_engine(
    export: &mut impl FnMut(Target) -> Result<OnnxModel>,
    options: &OptimizeOptions,
    path: &Path,
    maker: &mut Maker,
) -> Result<Engine> {
    let required = options.backends().required().filter(|kind| FLAVORS.contains(kind));
    let kinds = required.map_or(&FLAVORS[..], std::slice::from_ref);
    let built = build_engine(export, options, kinds, maker);
    let (engine, _) = built.map_err(|mut reasons| match &*reasons {
        [only] if only.reason.is_stop() => reasons.remove(0).reason,
        _ => {
            let text = format!("no TensorRT can build {}: {}", path.display(), listed(&reasons));
            Error::new(ErrorKind::NoBackend, text).in_operation("save engine")
        }
    })?;
    engine.save(path)?;
    Ok(engine)
}
