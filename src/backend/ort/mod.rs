//! The portable backend on ONNX Runtime, on the CPU. The library is loaded when the program runs. Nothing of TensorRT.
//!
//! The backend looks for the library in this order: `ORT_DYLIB_PATH`, the cache that `accelerant sdk install` fills, and
//! the system's loader.

mod guards;
mod library;
mod log;
mod memory;
mod refused;
mod session;
mod tensors;
mod version;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError},
    thread,
    time::Duration,
};

use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::DynValue;

use super::panics::guarded;
use super::portable::model_and_inputs_of;
use super::{Backend, BackendKind, Engine, Executable, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{MemoryBound, OnnxModel, Target};
use crate::limit::{Overdue, TimeLimit};
use crate::spec::{DType, Signature, TensorSpec};
use crate::tensor::HostTensor;
use guards::Guards;
use session::Source;

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
/// While this crate makes a session with a bound of memory, the environment has the arena of that session as its allocator
/// for the CPU, in the place of one that a program registered.
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
        Ok(session::build(model)?.0)
    }

    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>)> {
        let (engine, session, checks) = session::build(model)?;
        let executable = OrtExecutable::new(session, &engine, checks);
        Ok((engine, Box::new(executable)))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let library = library::load()?;
        engine.expect(&BackendKind::Ort, &library.version.to_string())?;
        let (model, known) = model_and_inputs_of(engine, &guards::is_of_interest)?;
        refused::check(model.proto())?;
        let mut bound = session::bound(&model)?;
        let guards = session::guards(&model, library, Some(known))?;
        // What this process wrote need not be written again, and neither must what it would write. Other bytes are:
        // ONNX Runtime gets what was checked, not what a file has beside it. With guards, the model is written anew anyway.
        let plan = engine.plan();
        let is_whole = !guards.are_needed() && (engine.is_made_here() || model.is_written_as(plan));
        let source = Source { model: &model, plan, is_whole };
        let (session, guards) = session::session(library, source, guards, &bound)?;
        bound.watch(engine.signature(), || model.into_proto());
        Ok(Box::new(OrtExecutable::new(session, engine, Checks { guards, bound })))
    }
}

/// What a run must not do to the process.
struct Checks {
    guards: Guards,
    bound: MemoryBound,
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
                    tensors::floats(value, spec)
                        .map_err(|e| e.in_operation("run").on_tensor(&spec.name))
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
            let error = over.or_else(found).or_else(|| memory::full(ErrorKind::Execution, &text));
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
            tensors::from_ort(output(outputs, spec)?, spec)
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
