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
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ort::session::{
    RunOptions, Session, SessionInputValue, SessionOutputs, builder::GraphOptimizationLevel,
};
use ort::value::DynValue;

use super::panics::guarded;
use super::portable::{apart, model_and_inputs_of};
use super::{Backend, BackendKind, Engine, Executable, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{KnownInputs, MemoryBound, OnnxModel, Target};
use crate::limit::{Overdue, TimeLimit};
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
        let (engine, session, checks) = build(model)?;
        let executable = OrtExecutable::new(session, &engine, checks);
        Ok((engine, Box::new(executable)))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let library = library::load()?;
        engine.expect(&BackendKind::Ort, &library.version.to_string())?;
        let (model, known) = model_and_inputs_of(engine, &guards::is_of_interest)?;
        refused::check(model.proto())?;
        let mut bound = bound(&model)?;
        let guards = guards(&model, library, Some(known))?;
        // What this process wrote need not be written again, and neither must what it would write. Other bytes are:
        // ONNX Runtime gets what was checked, not what a file has beside it. With guards, the model is written anew anyway.
        let plan = engine.plan();
        let is_whole = guards.are_needed() || engine.is_made_here() || model.is_written_as(plan);
        let (session, guards) = session(library, &model, is_whole.then_some(plan), guards)?;
        bound.watch(engine.signature(), || model.into_proto());
        Ok(Box::new(OrtExecutable::new(session, engine, Checks { guards, bound })))
    }
}

/// An engine, and the session that proved that it can be loaded.
fn build(model: &OnnxModel) -> Result<(Engine, Session, Checks)> {
    let library = library::load()?;
    let start = Instant::now();
    refused::check(model.proto())?;
    let mut bound = bound(model)?;
    let guards = guards(model, library, None)?;
    let bytes = Bytes::from(model.to_bytes());
    let (bytes, session, guards) = match session(library, model, Some(&bytes), guards) {
        Ok((session, guards)) => (bytes, session, guards),
        Err(error) if error.is_stop() => return Err(error),
        Err(error) => with_other_branches(library, model)?.ok_or(error)?,
    };
    bound.watch(model.signature(), || model.proto().clone());
    let signature = model.signature().clone();
    let version = library.version.to_string();
    let engine = Engine::new(BackendKind::Ort, version, "cpu", signature, start.elapsed(), bytes);
    Ok((engine.just_built(), session, Checks { guards, bound }))
}

fn bound(model: &OnnxModel) -> Result<MemoryBound> {
    model.memory_bound(progress::memory()).map_err(|e| e.in_operation("build"))
}

/// What a run must not do to the process.
struct Checks {
    guards: Guards,
    bound: MemoryBound,
}

/// A session of a model that ONNX Runtime refuses as it is. A branch that is not taken may not fit the sizes that are bound, and
/// ONNX Runtime finds that out before a run. Known branches are taken, or the sizes are left open.
fn with_other_branches(
    library: &'static Library,
    model: &OnnxModel,
) -> Result<Option<(Bytes, Session, Guards)>> {
    let taken = model.with_known_branches()?;
    let open = [taken.as_ref(), Some(model)].map(|model| model?.with_open_sizes());
    for other in taken.into_iter().chain(open.into_iter().flatten()) {
        let bytes = Bytes::from(other.to_bytes());
        match session(library, &other, Some(&bytes), guards(&other, library, None)?) {
            Ok((session, guards)) => return Ok(Some((bytes, session, guards))),
            Err(error) if error.is_stop() => return Err(error),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// What guards a model. An engine holds the model without it.
fn guards(model: &OnnxModel, library: &Library, known: Option<KnownInputs>) -> Result<Guards> {
    let guards = Guards::of(model, library.version.divides_by_zero(), known);
    let guards = guards.map_err(|e| e.in_operation("build"))?;
    let inputs = &model.signature().inputs;
    guards.expect_elements(model.signature(), |i, axis| inputs[i].shape.dims()[axis].max())?;
    Ok(guards)
}

/// A session of a model with its guards; `written` is the model without them.
fn session(
    library: &'static Library,
    model: &OnnxModel,
    written: Option<&Bytes>,
    mut guards: Guards,
) -> Result<(Session, Guards)> {
    let mut weights = Vec::new();
    let again = match (guards.are_needed(), written) {
        // ONNX Runtime reads no model of more than 2 GiB.
        _ if model.is_beyond_a_message() => {
            let split = guards.split(model);
            weights = split.weights;
            Some(split.bytes.into())
        }
        (true, _) => Some(guards.bytes(model).into()),
        (false, None) => Some(model.to_bytes().into()),
        (false, Some(_)) => None,
    };
    let bytes = again.or_else(|| written.cloned()).unwrap_or_default();
    // Layouts that are faster within a model are turned back for each value that it gives: a ResNet-50 that gives all
    // its values takes 2.1 times as long with them as it takes itself, and 1.6 times without.
    let nodes = model.proto().graph.as_ref().map_or(0, |graph| graph.node.len());
    let level = match model.signature().outputs.len() * 2 > nodes.max(MANY_OUTPUTS) {
        true => GraphOptimizationLevel::Level2,
        false => GraphOptimizationLevel::All,
    };
    Ok((committed(library, bytes, &weights, &guards, level)?, guards))
}

/// Models of fewer values are as fast either way.
const MANY_OUTPUTS: usize = 32;

/// What stops the making of a session.
type Cancel = Box<dyn Fn() + Send + Sync>;

fn committed(
    library: &'static Library,
    bytes: Bytes,
    weights: &[(String, HostTensor)],
    guards: &Guards,
    level: GraphOptimizationLevel,
) -> Result<Session> {
    let (limit, threads) = (progress::limit(), progress::threads());
    let mut values = Vec::new();
    for (name, weight) in weights {
        let value = tensors::kept(weight).map_err(|e| e.in_operation("build").on_tensor(name))?;
        values.push((name.clone(), value));
    }
    // Of the session that is being made, once it is.
    let cancel: Arc<OnceLock<Cancel>> = Arc::default();
    let (known, still) = (cancel.clone(), limit.clone());
    let build = move || -> ort::Result<Session> {
        let builder = Session::builder(&library.environment)?;
        // ONNX Runtime's own default. With level 3, 1.29 gives zeros for a product of half precision with 4-bit weights.
        let mut builder = builder.with_optimization_level(level)?;
        if let Some(threads) = threads {
            // Others compute beside it: threads that wait in a loop after a run would take their time.
            builder = builder.with_intra_threads(threads)?;
            builder = builder.with_config_entry("session.force_spinning_stop", "1")?;
        }
        for (name, value) in values {
            builder = builder.with_external_initializer(name, value)?;
        }
        let canceler = builder.canceler();
        let cancel = known.get_or_init(|| Box::new(move || drop(canceler.cancel())));
        // The limit may have been over before this could be called.
        if still.is_some_and(|limit| limit.check().is_err()) {
            cancel();
        }
        builder.commit_from_memory(&bytes)
    };
    let guarded_build = move || guarded(ErrorKind::Build, build);
    let built = match &limit {
        Some(limit) => {
            let stop = move || cancel.get().into_iter().for_each(|cancel| cancel());
            apart(limit, stop, guarded_build).map_err(|e| e.in_operation("build"))?
        }
        None => guarded_build(),
    };
    let refused = |reason: &dyn fmt::Display| {
        let text = format!("ONNX Runtime {} refuses the model: {reason}", library.version);
        Error::new(ErrorKind::Build, text).in_operation("build")
    };
    let built = built.map_err(|panic| refused(&panic))?;
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

struct OrtExecutable {
    own: Arc<Own>,
    overdue: Overdue,
}

/// What a run uses. `ort` runs one call of a session at a time.
struct Own {
    session: Mutex<Session>,
    signature: Signature,
    checks: Checks,
}

impl OrtExecutable {
    fn new(session: Session, engine: &Engine, checks: Checks) -> Self {
        let signature = engine.signature().clone();
        let own = Own { session: Mutex::new(session), signature, checks };
        Self { own: Arc::new(own), overdue: Overdue::default() }
    }
}

impl Executable for OrtExecutable {
    fn signature(&self) -> &Signature {
        &self.own.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.own.run(inputs, None, |outputs| self.own.copied(outputs))
    }

    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        self.own.run(inputs, None, |outputs| {
            let specs = self.own.signature.outputs.iter();
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
        // One that goes on has the session.
        let begins = self.overdue.expect_fewer_than(1, limit);
        begins.map_err(|e| e.in_operation("run"))?;
        let options = RunOptions::new().map_err(|e| {
            Error::new(ErrorKind::Execution, e.to_string()).in_operation("run").with_source(e)
        })?;
        let limited = Limited { limit: limit.clone(), options: Arc::new(options) };
        let options = limited.options.clone();
        let (own, inputs) = (self.own.clone(), inputs.to_vec());
        let work = move || own.run(&inputs, Some(&limited), |outputs| own.copied(outputs));
        let ended = limit.apart(&self.overdue, move || drop(options.terminate()), work);
        ended.map_err(|e| e.in_operation("run"))?
    }

    fn overdue(&self) -> usize {
        self.overdue.count()
    }
}

/// A run that another thread may end.
struct Limited {
    limit: TimeLimit,
    options: Arc<RunOptions>,
}

impl Own {
    fn run<T>(
        &self,
        inputs: &[HostTensor],
        limited: Option<&Limited>,
        read: impl FnOnce(&SessionOutputs<'_>) -> Result<T>,
    ) -> Result<T> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        let Checks { guards, bound } = &self.checks;
        guards.expect_elements(&self.signature, |i, axis| inputs[i].shape()[axis])?;
        bound.expect_room(&self.signature, inputs).map_err(|e| e.in_operation("run"))?;
        let limit = limited.map(|limited| &limited.limit);
        let failed = |e: ort::Error| {
            let over = limit.and_then(|limit| limit.check().err());
            let text = e.to_string();
            let found = || guards.found(ErrorKind::Execution, &text);
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
        let mut session = self.lock(limit)?;
        let run = || match limited {
            Some(limited) => session.run_with_options(named, &*limited.options),
            None => session.run(named),
        };
        let outputs = guarded(ErrorKind::Execution, run);
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
        write!(f, "OrtExecutable({})", self.own.signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::GraphBuilder;

    #[test]
    fn weights_apart_give_what_a_whole_model_gives() {
        let Ok(library) = library::load() else {
            eprintln!("skipped: no ONNX Runtime");
            return;
        };
        let graph = GraphBuilder::new("layers");
        let x = graph.input("x", DType::F32, [2, 64]).unwrap();
        let floats: Vec<f32> = (0..64 * 64).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let large = HostTensor::from_vec([64, 64], floats.clone()).unwrap();
        let small = HostTensor::from_vec([64], floats[..64].to_vec()).unwrap();
        let rows = HostTensor::from_vec([256], (0..256).map(|i| i % 2).collect::<Vec<i64>>());
        let weight = |name: &str, value| graph.weight(name, value).unwrap();
        let y = x.linear(&weight("w", large), Some(&weight("b", small))).unwrap();
        let y = y.gather(&weight("rows", rows.unwrap()), 0).unwrap();
        graph.output("y", &y).unwrap();
        let model = graph.finish().unwrap().for_target(Target::onnx_runtime()).unwrap();

        let mut guards = guards(&model, library, None).unwrap();
        let split = guards.split(&model);
        let names: Vec<&str> = split.weights.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["w", "rows"], "those of 1024 bytes and more");
        let level = GraphOptimizationLevel::All;
        let session =
            committed(library, split.bytes.clone().into(), &split.weights, &guards, level).unwrap();
        let (engine, whole) = Ort.build_and_load(&model).unwrap();
        let bound = bound(&model).unwrap();
        let apart = OrtExecutable::new(session, &engine, Checks { guards, bound });
        let x = HostTensor::from_vec([2, 64], floats[..128].to_vec()).unwrap();
        let expected = whole.run(std::slice::from_ref(&x)).unwrap();
        drop(split);
        assert_eq!(apart.run(&[x]).unwrap(), expected);
    }
}
