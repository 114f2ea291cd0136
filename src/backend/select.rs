//! The choice among backends, in order. Each backend may refuse with a reason. Knows backends by their trait alone.

use std::{fmt, sync::Arc};

use super::panics::guarded;
use super::{Backend, BackendKind, Engine, Executable};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{OnnxModel, Target};
use crate::progress::{Phase, phase};

/// The backends to choose from, best first.
///
/// [`Registry::default`] holds the backends that this crate was compiled with: TensorRT-RTX, TensorRT, ONNX Runtime,
/// tract. [`OptimizeOptions::registry`](crate::OptimizeOptions::registry) takes another registry.
///
/// ```
/// use accelerant::Registry;
///
/// for backend in Registry::default().backends() {
///     match backend.probe() {
///         Ok(()) => println!("{} works here", backend.kind()),
///         Err(reason) => println!("{}: {reason}", backend.kind()),
///     }
/// }
/// ```
///
/// [`with`](Self::with) replaces the backend of the same kind. To set only the options of TensorRT, use
/// `OptimizeOptions::tensorrt` instead of a registry.
///
#[cfg_attr(feature = "tensorrt-rtx", doc = "```")]
#[cfg_attr(not(feature = "tensorrt-rtx"), doc = "```ignore")]
/// use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
/// use accelerant::{OptimizeOptions, Registry};
///
/// let tensorrt = TensorRtOptions::default().device(1).cuda_graph(true);
/// let registry = Registry::default().with(TensorRt::rtx_at("/opt/tensorrt-rtx").with_options(tensorrt));
/// let options = OptimizeOptions::new().registry(registry);
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    backends: Vec<Arc<dyn Backend>>,
    required: Option<BackendKind>,
}

/// A skipped backend, with the reason.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Rejection {
    /// The backend.
    pub kind: BackendKind,
    /// The reason of the backend.
    pub reason: Error,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.reason)
    }
}

/// The result of [`Registry::compile`]: the loaded model, the backend, and the reasons against the other backends.
#[derive(Debug)]
#[non_exhaustive]
pub struct Compiled {
    /// The model, ready to run.
    pub executable: Box<dyn Executable>,
    /// The engine that runs.
    pub engine: Engine,
    /// The backend that runs.
    pub backend: Arc<dyn Backend>,
    /// The skipped backends before it, each with its reason.
    pub rejected: Vec<Rejection>,
}

impl Default for Registry {
    fn default() -> Self {
        #[allow(unused_mut, reason = "without a backend's feature nothing is added")]
        let mut registry = Self::empty();
        #[cfg(feature = "tensorrt-rtx")]
        registry.push(super::tensorrt::TensorRt::rtx());
        #[cfg(feature = "tensorrt")]
        registry.push(super::tensorrt::TensorRt::enterprise());
        #[cfg(feature = "ort")]
        registry.push(super::ort::Ort);
        #[cfg(feature = "tract")]
        registry.push(super::tract::Tract);
        registry
    }
}

impl Registry {
    /// No backends.
    pub fn empty() -> Self {
        Self { backends: Vec::new(), required: None }
    }

    /// Adds a backend behind the others. A backend of the same kind is replaced in its place.
    pub fn push(&mut self, backend: impl Backend + 'static) {
        let backend: Arc<dyn Backend> = Arc::new(backend);
        match self.backends.iter_mut().find(|known| known.kind() == backend.kind()) {
            Some(known) => *known = backend,
            None => self.backends.push(backend),
        }
    }

    /// The backends of some kinds, none of which is required.
    pub(crate) fn only(&self, wanted: impl Fn(&BackendKind) -> bool) -> Self {
        let wanted = |backend: &&Arc<dyn Backend>| wanted(&backend.kind());
        Self { backends: self.backends.iter().filter(wanted).cloned().collect(), required: None }
    }

    /// Adds a backend behind the others. A backend of the same kind is replaced in its place.
    #[must_use]
    pub fn with(mut self, backend: impl Backend + 'static) -> Self {
        self.push(backend);
        self
    }

    /// Forbids all other backends.
    #[must_use]
    pub fn require(mut self, kind: BackendKind) -> Self {
        self.required = Some(kind);
        self
    }

    /// The backends, best first.
    pub fn backends(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// The [required](Self::require) backend.
    pub(crate) fn required(&self) -> Option<&BackendKind> {
        self.required.as_ref()
    }

    /// The backends that may be chosen, best first.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn allowed(&self) -> impl Iterator<Item = &Arc<dyn Backend>> {
        let allowed = |kind: BackendKind| self.required.as_ref().is_none_or(|only| *only == kind);
        self.backends.iter().filter(move |backend| allowed(backend.kind()))
    }

    /// The backend of a kind.
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] with the missing feature and the backends of the registry.
    pub fn get(&self, kind: &BackendKind) -> Result<&Arc<dyn Backend>> {
        self.backends.iter().find(|backend| backend.kind() == *kind).ok_or_else(|| {
            let known: Vec<_> =
                self.backends.iter().map(|backend| backend.kind().to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let text = match missing_feature(kind) {
                Some(feature) => format!(
                    "the backend `{kind}` was not compiled in: enable the feature `{feature}` of accelerant; there \
                     are: {known}"
                ),
                None => format!("the registry has no backend `{kind}`; there are: {known}"),
            };
            Error::new(ErrorKind::NoBackend, text)
        })
    }

    /// Compiles with the first backend that can run the model on this machine. `export` exports the model for the
    /// given target. A model that is not for this target, such as a model from a file, goes through
    /// [`OnnxModel::for_target`].
    ///
    /// # Errors
    /// An error of `export`; the error of the required backend; or else [`ErrorKind::NoBackend`] with the reason of
    /// each backend.
    pub fn compile(&self, export: impl FnMut(Target) -> Result<OnnxModel>) -> Result<Compiled> {
        self.compile_with(None, export, &mut Plainly)
    }

    /// As [`compile`](Self::compile), with an engine that was already built for one of the backends. `make` makes a
    /// model ready to run.
    pub(crate) fn compile_with(
        &self,
        built: Option<&Engine>,
        mut export: impl FnMut(Target) -> Result<OnnxModel>,
        make: &mut dyn Make,
    ) -> Result<Compiled> {
        let mut engine_for = |backend: &Arc<dyn Backend>, make: &mut dyn Make| -> Result<Source> {
            match built {
                Some(engine) if *engine.kind() == backend.kind() => {
                    Ok(Source::Engine(Box::new(engine.clone())))
                }
                _ => {
                    let exported = phase(Phase::Export, || export(backend.target()))?;
                    match guarded(ErrorKind::Build, || make.known(backend.as_ref(), &exported)) {
                        Ok(Ok(Some(ready))) => return Ok(Source::Ready(Box::new(ready))),
                        Ok(Err(reason)) if reason.is_stop() => return Err(reason),
                        // What is wrong comes up again below, and is told there.
                        Ok(Ok(None) | Err(_)) | Err(_) => {}
                    }
                    let model = exported.for_target(backend.target())?;
                    Ok(Source::Model(Box::new(model)))
                }
            }
        };
        if let Some(kind) = &self.required {
            let backend = self.get(kind)?;
            probe(backend).map_err(|e| e.in_operation(format!("compile for {kind}")))?;
            return finish(backend, engine_for(backend, make)?, Vec::new(), make)
                .map_err(|(reason, _)| reason);
        }
        let mut rejected: Vec<Rejection> = Vec::new();
        let mut refused = None;
        for backend in &self.backends {
            if let Err(reason) = probe(backend) {
                rejected.push(Rejection { kind: backend.kind(), reason });
                continue;
            }
            let source = match engine_for(backend, make) {
                Ok(source) => source,
                Err(reason) if reason.is_stop() => return Err(reason),
                Err(reason) => {
                    refused.get_or_insert(rejected.len());
                    rejected.push(Rejection { kind: backend.kind(), reason });
                    continue;
                }
            };
            match finish(backend, source, rejected, make) {
                Ok(compiled) => return Ok(compiled),
                // Another backend is not what the caller wanted to have instead.
                Err((reason, _)) if reason.is_stop() => return Err(reason),
                Err((reason, before)) => {
                    rejected = before;
                    rejected.push(Rejection { kind: backend.kind(), reason });
                }
            }
        }
        // A model that cannot be exported is the model's fault, whatever the backends say.
        if let Some(place) = refused {
            return Err(rejected.swap_remove(place).reason);
        }
        let reasons: Vec<_> = rejected.iter().map(ToString::to_string).collect();
        let text = match reasons.is_empty() {
            true if Self::default().backends.is_empty() => {
                "no backend was compiled in; enable a feature such as `tract`".to_owned()
            }
            true => {
                "the registry has no backends: `Registry::default` has those that were compiled in"
                    .to_owned()
            }
            false => format!("no backend can run the model here: {}", reasons.join("; ")),
        };
        Err(Error::new(ErrorKind::NoBackend, text).in_operation("compile"))
    }
}

/// The feature that brings a backend of this crate, where the feature is off.
fn missing_feature(kind: &BackendKind) -> Option<&'static str> {
    let (feature, is_on) = match kind {
        BackendKind::TensorRtRtx => ("tensorrt-rtx", cfg!(feature = "tensorrt-rtx")),
        BackendKind::TensorRt => ("tensorrt", cfg!(feature = "tensorrt")),
        BackendKind::Ort => ("ort", cfg!(feature = "ort")),
        BackendKind::Tract => ("tract", cfg!(feature = "tract")),
        BackendKind::Custom(_) => return None,
    };
    (!is_on).then_some(feature)
}

/// An engine, and what runs it.
pub(crate) type Ready = (Engine, Box<dyn Executable>);

/// Makes a model ready to run on a backend.
pub(crate) trait Make {
    /// A model that was made ready before the passes ran, since its engine is known.
    ///
    /// # Errors
    /// That of a caller who stops the work; with any other the model is made ready after the passes.
    fn known(&mut self, _backend: &dyn Backend, _exported: &OnnxModel) -> Result<Option<Ready>> {
        Ok(None)
    }

    /// Makes the model ready that the passes left.
    ///
    /// # Errors
    /// As [`Backend::build`] and [`Backend::load`].
    fn ready(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Ready>;
}

/// Builds and loads, and keeps nothing.
struct Plainly;

impl Make for Plainly {
    fn ready(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Ready> {
        backend.build_and_load(model)
    }
}

/// What a backend starts from.
enum Source {
    Model(Box<OnnxModel>),
    Engine(Box<Engine>),
    Ready(Box<Ready>),
}

fn probe(backend: &Arc<dyn Backend>) -> Result<()> {
    guarded(ErrorKind::NoBackend, || backend.probe())?
}

fn finish(
    backend: &Arc<dyn Backend>,
    source: Source,
    rejected: Vec<Rejection>,
    make: &mut dyn Make,
) -> Result<Compiled, (Error, Vec<Rejection>)> {
    // A panic in one backend, or in a library that it calls, is no reason not to try the next.
    let ready = guarded(ErrorKind::Build, || match source {
        Source::Model(model) => make.ready(backend.as_ref(), &model),
        Source::Ready(ready) => Ok(*ready),
        Source::Engine(engine) => {
            let loaded = phase(Phase::Load, || backend.load(&engine));
            loaded.map(|executable| (*engine, executable))
        }
    });
    match ready.and_then(|ready| ready) {
        Ok((engine, executable)) => {
            warn(&rejected, backend.as_ref());
            Ok(Compiled { executable, engine, backend: backend.clone(), rejected })
        }
        Err(reason) => Err((reason, rejected)),
    }
}

fn warn(rejected: &[Rejection], chosen: &dyn Backend) {
    if rejected.is_empty() {
        return;
    }
    let reasons: Vec<_> = rejected.iter().map(ToString::to_string).collect();
    tracing::warn!(target: "accelerant", "running on {}: {}", chosen.description(), reasons.join("; "));
}
