//! The portable backend: ONNX through `ort`. Pure Rust (tract) unless `ORT_DYLIB_PATH` names an
//! ONNX Runtime. Runs on the CPU; nothing of TensorRT.

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
use crate::export::{Consumer, OnnxModel};
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

    fn consumer(&self) -> Consumer {
        match library::load() {
            Ok(library) if library.native => Consumer::opset(Consumer::MAX_OPSET),
            _ => Consumer::portable(),
        }
    }

    fn probe(&self) -> Result<()> {
        library::load().map(drop)
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        let library = library::load()?;
        let start = Instant::now();
        let bytes = model.to_bytes();
        session(library, &bytes)?;
        let signature = model.signature().clone();
        Ok(Engine::new(
            BackendKind::Ort,
            &*library.version,
            "cpu",
            signature,
            start.elapsed(),
            bytes,
        ))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        let library = library::load()?;
        engine.expect(&BackendKind::Ort, &library.version)?;
        let session = Mutex::new(session(library, engine.plan())?);
        Ok(Box::new(OrtExecutable { session, signature: engine.signature().clone() }))
    }
}

fn session(library: &Library, bytes: &[u8]) -> Result<Session> {
    let build = || -> ort::Result<Session> {
        let builder = Session::builder(&library.environment)?;
        builder.with_optimization_level(GraphOptimizationLevel::Level3)?.commit_from_memory(bytes)
    };
    // ort and tract panic on some models, such as those with outputs of a type they do not know.
    let built = catch_unwind(AssertUnwindSafe(build)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        let text = format!("{} refuses the model: {text}", library.description);
        Error::new(ErrorKind::Build, text).in_operation("build")
    })?;
    built.map_err(|e| {
        let text = format!("{} refuses the model: {e}", library.description);
        Error::new(ErrorKind::Build, text).in_operation("build").with_source(e)
    })
}

/// A session; `ort` runs one call at a time.
struct OrtExecutable {
    session: Mutex<Session>,
    signature: Signature,
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
        let outputs = session.run(values).map_err(failed)?;
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
