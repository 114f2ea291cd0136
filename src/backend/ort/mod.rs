//! The portable backend: ONNX through `ort`. Pure Rust (tract) unless `ORT_DYLIB_PATH` names an
//! ONNX Runtime. Runs on the CPU; nothing of TensorRT.
//!
//! A panic of `ort` is caught. One within tract while a model runs is not: `ort-tract`'s functions
//! are `extern "system"`, so that the process aborts, as with an index out of range in a `Gather`.
//!
//! tract 0.23 gets a product of matrices wrong, one of which was expanded or repeated along an axis of size 1 right
//! before: it sums up what was there once. Random programs show it (`tests/common/programs.rs`); ONNX Runtime has it
//! right. What it gets wrong of a `Range` is written in another way for it (`export/graph/ops/shapes.rs`).

mod library;
mod tensors;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use ort::session::{Session, SessionInputValue, builder::GraphOptimizationLevel};

use super::{Backend, BackendKind, Engine, Executable};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{OnnxModel, Target};
use crate::spec::Signature;
use crate::tensor::HostTensor;
use library::Library;

/// The portable backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ort;

impl Backend for Ort {
    fn kind(&self) -> BackendKind {
        BackendKind::Ort
    }

    fn description(&self) -> String {
        match library::load() {
            Ok(library) => library.description.clone(),
            Err(error) => error.to_string(),
        }
    }

    fn target(&self) -> Target {
        match library::load() {
            Ok(library) if library.native => Target::onnx_runtime(),
            _ => Target::portable(),
        }
    }

    fn probe(&self) -> Result<()> {
        library::load().map(drop)
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        Ok(build(model)?.0)
    }

    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>)> {
        let (engine, session) = build(model)?;
        let executable = OrtExecutable::new(session, &engine);
        Ok((engine, Box::new(executable)))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let library = library::load()?;
        engine.expect(&BackendKind::Ort, &library.version)?;
        Ok(Box::new(OrtExecutable::new(session(library, engine.plan())?, engine)))
    }
}

/// An engine, and the session that proved that it can be loaded.
fn build(model: &OnnxModel) -> Result<(Engine, Session)> {
    let library = library::load()?;
    let start = Instant::now();
    let bytes = model.to_bytes();
    let session = session(library, &bytes)?;
    let signature = model.signature().clone();
    let engine =
        Engine::new(BackendKind::Ort, &*library.version, "cpu", signature, start.elapsed(), bytes);
    Ok((engine, session))
}

/// Runs `call`, which may panic: ort and tract do on some models, such as those with outputs of a
/// type they do not know.
fn guarded<T>(kind: ErrorKind, call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Error::new(kind, format!("it panicked: {text}"))
    })
}

fn session(library: &Library, bytes: &[u8]) -> Result<Session> {
    let build = || -> ort::Result<Session> {
        let builder = Session::builder(&library.environment)?;
        builder.with_optimization_level(GraphOptimizationLevel::Level3)?.commit_from_memory(bytes)
    };
    let refused = |reason: &dyn fmt::Display| {
        let text = format!("{} refuses the model: {reason}", library.description);
        Error::new(ErrorKind::Build, text).in_operation("build")
    };
    let built = guarded(ErrorKind::Build, build).map_err(|panic| refused(&panic))?;
    built.map_err(|e| refused(&e).with_source(e))
}

/// A session; `ort` runs one call at a time.
struct OrtExecutable {
    session: Mutex<Session>,
    signature: Signature,
}

impl OrtExecutable {
    fn new(session: Session, engine: &Engine) -> Self {
        Self { session: Mutex::new(session), signature: engine.signature().clone() }
    }
}

impl Executable for OrtExecutable {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        let failed = |e: ort::Error| {
            Error::new(ErrorKind::Execution, e.to_string()).in_operation("run").with_source(e)
        };
        let values = self.signature.inputs.iter().zip(inputs).map(|(spec, tensor)| {
            let value =
                tensors::to_ort(tensor).map_err(|e| e.in_operation("run").on_tensor(&spec.name))?;
            Ok((spec.name.as_str(), SessionInputValue::from(value)))
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let outputs = guarded(ErrorKind::Execution, || session.run(values))
            .map_err(|e| e.in_operation("run"))?
            .map_err(failed)?;
        let read = |spec: &crate::spec::TensorSpec| {
            let value = outputs.get(&spec.name).ok_or_else(|| {
                let text = "the backend did not return this output";
                Error::new(ErrorKind::Execution, text).in_operation("run").on_tensor(&spec.name)
            })?;
            tensors::from_ort(value, spec.dtype)
                .map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        };
        self.signature.outputs.iter().map(read).collect()
    }
}

impl fmt::Debug for OrtExecutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrtExecutable({})", self.signature)
    }
}
