//! The portable backend in pure Rust: ONNX through tract, on the CPU, with nothing to install.
//!
//! tract panics on some models and on some inputs, such as an index out of range. The backend catches each panic, and
//! gives an error with the node. In a program that is compiled with `panic = "abort"` no panic can be caught.
//!
//! tract ignores some attributes and computes some operators wrongly. `gaps` lists these by name, and refuses a model
//! before tract sees the model.

mod compile;
mod gaps;
mod kept;
mod rewrite;
mod tensors;

use std::{cell::RefCell, fmt, thread, time::Instant};

use tract_onnx::prelude::{TValue, TVec, Tensor};
use tract_onnx::tract_core::plan::{SimpleState, eval};

use super::panics::guarded;
use super::portable::model_of;
use super::{Backend, BackendKind, Engine, Executable, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{NodeRefusal, OnnxModel, Target};
use crate::limit::TimeLimit;
use crate::spec::{DType, Signature, TensorSpec};
use crate::tensor::HostTensor;

/// Library and version: what an engine has to agree with. The manifest pins the version.
const NAME: &str = "tract 0.23.9";

/// The portable backend in pure Rust.
///
/// ```
/// use accelerant::backend::{Backend, tract::Tract};
/// use accelerant::export::GraphBuilder;
/// use accelerant::{DType, InferenceModule, OptimizeOptions, Registry};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [3])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let model = graph.finish()?;
///
/// assert!(Tract.check(&model)?.unwrap().is_empty());          // tract refuses no node
/// let options = OptimizeOptions::new().registry(Registry::empty().with(Tract));
/// let module = InferenceModule::compile(&model, &options)?;
/// assert_eq!(module.backend().name(), "tract");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Tract;

impl Backend for Tract {
    fn kind(&self) -> BackendKind {
        BackendKind::Tract
    }

    fn description(&self) -> String {
        format!("{NAME} (pure Rust)")
    }

    fn target(&self) -> Target {
        Target::portable()
    }

    fn probe(&self) -> Result<()> {
        Ok(())
    }

    fn check(&self, model: &OnnxModel) -> Result<Option<Vec<NodeRefusal>>> {
        Ok(Some(gaps::refused(model)))
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        self.build_and_load(model).map(|(engine, _)| engine)
    }

    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>)> {
        let start = Instant::now();
        let plan = compile::compile(model, model.signature())?;
        let signature = model.signature().clone();
        let bytes = model.to_bytes();
        let took = start.elapsed();
        let engine = Engine::new(BackendKind::Tract, NAME, "cpu", signature.clone(), took, bytes);
        Ok((engine.just_built(), Box::new(TractExecutable { plan, signature })))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        engine.expect(&BackendKind::Tract, NAME)?;
        let signature = engine.signature().clone();
        let model = model_of(engine)?;
        let plan = compile::compile(&model, &signature)?;
        Ok(Box::new(TractExecutable { plan, signature }))
    }
}

/// A plan, which any number of threads run at the same time: what a run writes is its own.
struct TractExecutable {
    plan: compile::Plan,
    signature: Signature,
}

impl Executable for TractExecutable {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.run_asking(inputs, || Ok(()), |outputs| self.copied(outputs))
    }

    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        let read = |outputs: &[TValue]| {
            let specs = self.signature.outputs.iter().enumerate();
            let values = specs.map(|(i, spec)| match spec.dtype {
                DType::F32 => output(outputs, i)
                    .and_then(tensors::floats)
                    .map(Some)
                    .map_err(|e| e.in_operation("run").on_tensor(&spec.name)),
                _ => Ok(None),
            });
            look(&values.collect::<Result<Vec<_>>>()?)
        };
        self.run_asking(inputs, || Ok(()), read)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.run_asking(inputs, || limit.check(), |outputs| self.copied(outputs))
    }

    fn concurrency(&self) -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }
}

impl TractExecutable {
    /// Runs, and asks before each node whether to go on.
    fn run_asking<T>(
        &self,
        inputs: &[HostTensor],
        go_on: impl Fn() -> Result<()>,
        read: impl FnOnce(&[TValue]) -> Result<T>,
    ) -> Result<T> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        let tensors = self.signature.inputs.iter().zip(inputs).map(|(spec, tensor)| {
            let tensor = tensors::to_tract(tensor);
            tensor.map(TValue::from).map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        });
        let tensors = tensors.collect::<Result<TVec<TValue>>>()?;
        // The node that tract works on, for the error that a panic becomes.
        let node = RefCell::new(String::new());
        let run = || {
            let mut state = SimpleState::new(&self.plan)?;
            state.run_plan_with_eval(tensors, |context, state, here, inputs| {
                node.borrow_mut().clone_from(&here.name);
                go_on()?;
                eval(context, state, here, inputs)
            })
        };
        let outputs = guarded(ErrorKind::Execution, run)
            .map_err(|e| e.in_operation(format!("run, node `{}`", node.borrow())))?
            .map_err(|e| compile::run_error(e).in_operation("run"))?;
        read(&outputs)
    }

    fn copied(&self, outputs: &[TValue]) -> Result<Vec<HostTensor>> {
        let read = |(i, spec): (usize, &TensorSpec)| {
            output(outputs, i)
                .and_then(|value| tensors::from_tract(value, spec.dtype))
                .map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        };
        self.signature.outputs.iter().enumerate().map(read).collect()
    }
}

/// One output.
fn output(outputs: &[TValue], place: usize) -> Result<&Tensor> {
    let missing = || Error::new(ErrorKind::Execution, "tract did not return this output");
    outputs.get(place).map(|value| &**value).ok_or_else(missing)
}

impl fmt::Debug for TractExecutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TractExecutable({})", self.signature)
    }
}
