//! The portable backend on ONNX Runtime, on the CPU. The library is loaded when the program runs. Nothing of TensorRT.
//!
//! The backend looks for the library in this order: `ORT_DYLIB_PATH`, the cache that `accelerant sdk install` fills, and
//! the system's loader.

mod guards;
mod library;
mod refused;
mod tensors;
mod version;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use ort::session::{
    RunOptions, Session, SessionInputValue, SessionOutputs, builder::GraphOptimizationLevel,
};
use ort::value::DynValue;

use super::panics::guarded;
use super::portable::model_of;
use super::{Backend, BackendKind, Engine, Executable, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{OnnxModel, Target};
use crate::limit::TimeLimit;
use crate::progress;
use crate::spec::{DType, Signature, TensorSpec};
use crate::tensor::HostTensor;
use guards::Guards;
use library::Library;

/// The portable backend on ONNX Runtime.
///
/// ```
/// use accelerant::backend::{Backend, ort::Ort};
///
/// match Ort.probe() {
///     Ok(()) => println!("{} runs here", Ort.description()),
///     Err(reason) => println!("ONNX Runtime does not run here: {reason}"),
/// }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ort;

/// The environment of ONNX Runtime, for programs that call the crate `ort` themselves. A process has one environment.
///
/// # Errors
/// [`ErrorKind::LibraryNotFound`] and [`ErrorKind::VersionMismatch`], as of [`Backend::probe`].
pub fn environment() -> Result<&'static ort::environment::Environment> {
    library::load().map(|library| &library.environment)
}

impl Backend for Ort {
    fn kind(&self) -> BackendKind {
        BackendKind::Ort
    }

    fn description(&self) -> String {
        match library::load() {
            Ok(library) => library.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn target(&self) -> Target {
        Target::onnx_runtime()
    }

    fn probe(&self) -> Result<()> {
        library::load().map(drop)
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        Ok(build(model)?.0)
    }

    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>)> {
        let (engine, session, guards) = build(model)?;
        let executable = OrtExecutable::new(session, &engine, guards);
        Ok((engine, Box::new(executable)))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let library = library::load()?;
        engine.expect(&BackendKind::Ort, &library.version.to_string())?;
        let model = model_of(engine)?;
        refused::check(model.proto())?;
        let guards = guards(&model, library)?;
        // What this process wrote need not be written again, and neither must what it would write. Other bytes are:
        // ONNX Runtime gets what was checked, not what a file has beside it.
        let plan = engine.plan();
        let (session, guards) = match engine.is_made_here() || model.is_written_as(plan) {
            true => session(library, &model, Some(plan), guards)?,
            false => session(library, &model, None, guards)?,
        };
        Ok(Box::new(OrtExecutable::new(session, engine, guards)))
    }
}

/// An engine, and the session that proved that it can be loaded.
fn build(model: &OnnxModel) -> Result<(Engine, Session, Guards)> {
    let library = library::load()?;
    let start = Instant::now();
    refused::check(model.proto())?;
    let guards = guards(model, library)?;
    let bytes = model.to_bytes();
    let (bytes, session, guards) = match session(library, model, Some(&bytes), guards) {
        Ok((session, guards)) => (bytes, session, guards),
        Err(error) => with_other_branches(library, model)?.ok_or(error)?,
    };
    let signature = model.signature().clone();
    let version = library.version.to_string();
    let engine = Engine::new(BackendKind::Ort, version, "cpu", signature, start.elapsed(), bytes);
    Ok((engine.just_built(), session, guards))
}

/// A session of a model that ONNX Runtime refuses as it is. A branch that is not taken may not fit the sizes that are bound, and
/// ONNX Runtime finds that out before a run. Known branches are taken, or the sizes are left open.
fn with_other_branches(
    library: &Library,
    model: &OnnxModel,
) -> Result<Option<(Vec<u8>, Session, Guards)>> {
    let taken = model.with_known_branches()?;
    let open = [taken.as_ref(), Some(model)].map(|model| model?.with_open_sizes());
    for other in taken.into_iter().chain(open.into_iter().flatten()) {
        let bytes = other.to_bytes();
        if let Ok((session, guards)) =
            session(library, &other, Some(&bytes), guards(&other, library)?)
        {
            return Ok(Some((bytes, session, guards)));
        }
    }
    Ok(None)
}

/// What guards a model. An engine holds the model without it.
fn guards(model: &OnnxModel, library: &Library) -> Result<Guards> {
    let guards = Guards::of(model, library.version.divides_by_zero());
    let guards = guards.map_err(|e| e.in_operation("build"))?;
    let inputs = &model.signature().inputs;
    guards.expect_elements(model.signature(), |i, axis| inputs[i].shape.dims()[axis].max())?;
    Ok(guards)
}

/// A session of a model with its guards; `written` is the model without them.
fn session(
    library: &Library,
    model: &OnnxModel,
    written: Option<&[u8]>,
    mut guards: Guards,
) -> Result<(Session, Guards)> {
    let again = match (guards.are_needed(), written) {
        (true, _) => Some(guards.bytes(model)),
        (false, None) => Some(model.to_bytes()),
        (false, Some(_)) => None,
    };
    let bytes = again.as_deref().or(written).unwrap_or_default();
    // Layouts that are faster within a model are turned back for each value that it gives: a ResNet-50 that gives all
    // its values takes 2.1 times as long with them as it takes itself, and 1.6 times without.
    let nodes = model.proto().graph.as_ref().map_or(0, |graph| graph.node.len());
    let level = match model.signature().outputs.len() * 2 > nodes.max(MANY_OUTPUTS) {
        true => GraphOptimizationLevel::Level2,
        false => GraphOptimizationLevel::All,
    };
    Ok((committed(library, bytes, &guards, level)?, guards))
}

/// Models of fewer values are as fast either way.
const MANY_OUTPUTS: usize = 32;

fn committed(
    library: &Library,
    bytes: &[u8],
    guards: &Guards,
    level: GraphOptimizationLevel,
) -> Result<Session> {
    let limit = progress::limit();
    let build = || -> ort::Result<Result<ort::Result<Session>>> {
        let builder = Session::builder(&library.environment)?;
        // ONNX Runtime's own default. With level 3, 1.29 gives zeros for a product of half precision with 4-bit weights.
        let mut builder = builder.with_optimization_level(level)?;
        let canceler = builder.canceler();
        let cancel = move || drop(canceler.cancel());
        Ok(match &limit {
            Some(limit) => limit.watched(cancel, || builder.commit_from_memory(bytes)),
            None => Ok(builder.commit_from_memory(bytes)),
        })
    };
    let refused = |reason: &dyn fmt::Display| {
        let text = format!("ONNX Runtime {} refuses the model: {reason}", library.version);
        Error::new(ErrorKind::Build, text).in_operation("build")
    };
    let built = guarded(ErrorKind::Build, build).map_err(|panic| refused(&panic))?;
    let built =
        built.map_err(|e| refused(&e).with_source(e))?.map_err(|e| e.in_operation("build"))?;
    built.map_err(|e| match limit.and_then(|limit| limit.check().err()) {
        Some(over) => over.in_operation("build").with_source(e),
        None => match guards.found(ErrorKind::Build, &e.to_string()) {
            Some(found) => found.with_source(e),
            None => refused(&e).with_source(e),
        },
    })
}

/// So often a run with a limit looks whether the run before has ended.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// A session; `ort` runs one call at a time.
struct OrtExecutable {
    session: Mutex<Session>,
    signature: Signature,
    guards: Guards,
}

impl OrtExecutable {
    fn new(session: Session, engine: &Engine, guards: Guards) -> Self {
        let signature = engine.signature().clone();
        Self { session: Mutex::new(session), signature, guards }
    }
}

impl Executable for OrtExecutable {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.run_for(inputs, None, |outputs| self.copied(outputs))
    }

    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        self.run_for(inputs, None, |outputs| {
            let specs = self.signature.outputs.iter();
            let values = specs.map(|spec| match spec.dtype {
                DType::F32 => output(outputs, spec).and_then(|value| {
                    tensors::floats(value).map_err(|e| e.in_operation("run").on_tensor(&spec.name))
                }),
                _ => Ok(None),
            });
            look(&values.collect::<Result<Vec<_>>>()?)
        })
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.run_for(inputs, Some(limit), |outputs| self.copied(outputs))
    }
}

impl OrtExecutable {
    fn run_for<T>(
        &self,
        inputs: &[HostTensor],
        limit: Option<&TimeLimit>,
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<T>,
    ) -> Result<T> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        self.guards.expect_elements(&self.signature, |i, axis| inputs[i].shape()[axis])?;
        let failed = |e: ort::Error| {
            let over = limit.and_then(|limit| limit.check().err());
            let text = e.to_string();
            let found = || self.guards.found(ErrorKind::Execution, &text);
            let error = over.or_else(found);
            let error = error.unwrap_or_else(|| Error::new(ErrorKind::Execution, &*text));
            error.in_operation("run").with_source(e)
        };
        let specs = self.signature.inputs.iter();
        let values = specs.clone().zip(inputs).map(|(spec, tensor)| {
            tensors::to_ort(tensor).map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        });
        // They live until the outputs have been read, which may be the same memory.
        let values = values.collect::<Result<Vec<SessionInputValue<'_>>>>()?;
        let named = specs.zip(&values).map(|(spec, value)| (spec.name.as_str(), &**value));
        let named: Vec<_> = named.collect();
        let options = limit.map(|_| RunOptions::new()).transpose().map_err(failed)?;
        let mut session = self.lock(limit)?;
        let run = || match (limit, &options) {
            (Some(limit), Some(options)) => limit
                .watched(|| drop(options.terminate()), || session.run_with_options(named, options)),
            _ => Ok(session.run(named)),
        };
        let outputs = guarded(ErrorKind::Execution, run).and_then(|ended| ended);
        let outputs = outputs.map_err(|e| e.in_operation("run"))?.map_err(failed)?;
        read(&outputs)
    }

    fn copied(&self, outputs: &SessionOutputs<'_>) -> Result<Vec<HostTensor>> {
        let read = |spec: &TensorSpec| {
            tensors::from_ort(output(outputs, spec)?, spec.dtype)
                .map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        };
        self.signature.outputs.iter().map(read).collect()
    }

    /// The session, for which a run with a limit does not wait longer than that.
    fn lock(&self, limit: Option<&TimeLimit>) -> Result<MutexGuard<'_, Session>> {
        let Some(limit) = limit else {
            return Ok(self.session.lock().unwrap_or_else(PoisonError::into_inner));
        };
        loop {
            match self.session.try_lock() {
                Ok(session) => return Ok(session),
                Err(TryLockError::Poisoned(poisoned)) => return Ok(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => {
                    limit.check().map_err(|e| e.in_operation("run"))?;
                    thread::sleep(BETWEEN_TRIES);
                }
            }
        }
    }
}

/// One output.
fn output<'o>(outputs: &'o SessionOutputs<'_>, spec: &TensorSpec) -> Result<&'o DynValue> {
    outputs.get(&spec.name).ok_or_else(|| {
        let text = "the backend did not return this output";
        Error::new(ErrorKind::Execution, text).in_operation("run").on_tensor(&spec.name)
    })
}

impl fmt::Debug for OrtExecutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrtExecutable({})", self.signature)
    }
}
