//! The portable backend in pure Rust: ONNX through tract, on the CPU, with nothing to install.
//!
//! tract panics on some models and on some inputs, such as an index out of range. The backend catches each panic, and
//! gives an error with the node, and the panic is not printed. In a program that is compiled with `panic = "abort"` no
//! panic can be caught.
//!
//! tract ignores some attributes and computes some operators wrongly. `gaps` lists these by name, and refuses a model
//! before tract sees the model.

mod alive;
mod checked;
mod compile;
mod fits;
mod gaps;
mod kept;
mod nan;
mod rewrite;
mod tensors;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

use tract_onnx::prelude::{TValue, TVec, Tensor, TractError};
use tract_onnx::tract_core::plan::{SimpleState, eval};

use alive::Alive;
use compile::Compiled;
use fits::{Branches, Fit};

use super::panics::guarded;
use super::portable::{apart, model_of};
use super::{Backend, BackendKind, Engine, Executable, Look};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{MemoryBound, NodeRefusal, OnnxModel, Target};
use crate::limit::{Overdue, TimeLimit};
use crate::progress;
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
        let mut bound = bound(model)?;
        let plan = compiled(model, model.signature())?;
        bound.watch(model.signature(), || model.proto().clone());
        let signature = model.signature().clone();
        let bytes = model.to_bytes();
        let took = start.elapsed();
        let engine = Engine::new(BackendKind::Tract, NAME, "cpu", signature.clone(), took, bytes);
        Ok((engine.just_built(), Box::new(TractExecutable::new(plan, signature, bound))))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        engine.expect(&BackendKind::Tract, NAME)?;
        let signature = engine.signature().clone();
        let model = model_of(engine)?;
        let mut bound = bound(&model)?;
        let plan = compiled(&model, &signature)?;
        bound.watch(&signature, || model.into_proto());
        Ok(Box::new(TractExecutable::new(plan, signature, bound)))
    }
}

fn bound(model: &OnnxModel) -> Result<MemoryBound> {
    let mut bound = model.memory_bound(progress::memory()).map_err(|e| e.in_operation("build"))?;
    // tract takes the size of one factor for both, and reads beyond the end of the other. Windows are alike.
    bound.check_sizes();
    Ok(bound)
}

/// A plan of a model, for as long as a limit of the compilation allows.
fn compiled(model: &OnnxModel, signature: &Signature) -> Result<Compiled> {
    match progress::limit() {
        None => compile::compile(model, signature),
        Some(limit) => {
            let (model, signature) = (model.clone(), signature.clone());
            let work = move || compile::compile(&model, &signature);
            apart(&limit, || (), work).and_then(|built| built).map_err(|e| e.in_operation("build"))
        }
    }
}

/// A plan, which any number of threads run at the same time: what a run writes is its own.
struct TractExecutable {
    own: Arc<Own>,
    overdue: Overdue,
}

/// What a run uses.
struct Own {
    plan: compile::Plan,
    /// What the sizes of a run have to fit.
    fits: Vec<Fit>,
    branches: Branches,
    /// By the numbers of its nodes, which have results whose sizes values decide.
    open: Vec<bool>,
    /// Whether there is one.
    is_open: bool,
    /// By the numbers of its nodes, which inputs must have no NaN.
    searched: Vec<nan::Searched>,
    signature: Signature,
    bound: MemoryBound,
}

impl Executable for TractExecutable {
    fn signature(&self) -> &Signature {
        &self.own.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.own.run_asking(inputs, |_| Ok(()), |outputs| self.own.copied(outputs))
    }

    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        let read = |outputs: &[TValue]| {
            let specs = self.own.signature.outputs.iter().enumerate();
            let values = specs.map(|(i, spec)| match spec.dtype {
                DType::F32 => output(outputs, i)
                    .and_then(|value| spec.check_result(value.shape()).map(|()| value))
                    .and_then(tensors::floats)
                    .map(Some)
                    .map_err(|e| e.in_operation("run").on_tensor(&spec.name)),
                _ => Ok(None),
            });
            look(&values.collect::<Result<Vec<_>>>()?)
        };
        self.own.run_asking(inputs, |_| Ok(()), read)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        let begins = self.overdue.expect_fewer_than(self.concurrency(), limit);
        begins.map_err(|e| e.in_operation("run"))?;
        let (own, inputs, asked) = (self.own.clone(), inputs.to_vec(), limit.clone());
        let at = Arc::new(AtomicUsize::new(usize::MAX));
        let here = at.clone();
        let go_on = move |node| {
            here.store(node, Ordering::Relaxed);
            asked.check()
        };
        let work = move || own.run_asking(&inputs, go_on, |outputs| own.copied(outputs));
        let ended = limit.apart(&self.overdue, || (), work);
        ended.unwrap_or_else(|e| {
            let node = self.own.plan.model().nodes.get(at.load(Ordering::Relaxed));
            Err(match node {
                Some(node) => e.in_operation(format!("run, node `{}`", node.name)),
                None => e.in_operation("run"),
            })
        })
    }

    fn concurrency(&self) -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    fn overdue(&self) -> usize {
        self.overdue.count()
    }
}

impl TractExecutable {
    fn new(compiled: Compiled, signature: Signature, bound: MemoryBound) -> Self {
        let Compiled { plan, fits, branches, searched } = compiled;
        let open = alive::decided_by_values(plan.model());
        let is_open = open.contains(&true);
        Self {
            own: Arc::new(Own { plan, fits, branches, open, is_open, searched, signature, bound }),
            overdue: Overdue::default(),
        }
    }
}

impl Own {
    /// Runs, and asks before each node, which has this number, whether to go on.
    fn run_asking<T>(
        &self,
        inputs: &[HostTensor],
        go_on: impl Fn(usize) -> Result<()>,
        read: impl FnOnce(&[TValue]) -> Result<T>,
    ) -> Result<T> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        self.bound.expect_room(&self.signature, inputs).map_err(|e| e.in_operation("run"))?;
        let tensors = self.signature.inputs.iter().zip(inputs).map(|(spec, tensor)| {
            let tensor = tensors::to_tract(tensor);
            tensor.map(TValue::from).map_err(|e| e.in_operation("run").on_tensor(&spec.name))
        });
        let tensors = tensors.collect::<Result<TVec<TValue>>>()?;
        // The node that tract works on, for the error that a panic becomes.
        let at = Cell::new(usize::MAX);
        let given = inputs.iter().map(|tensor| tensor.bytes().len() as u64).sum();
        let mut alive = Alive::new(self.plan.model(), self.bound.most(given));
        let mut fits = fits::Open::new(&self.fits);
        let run = || {
            let mut state = SimpleState::new(&self.plan)?;
            state.run_plan_with_eval(tensors, |context, state, here, inputs| {
                at.set(here.id);
                go_on(here.id)?;
                fits.expect(context.symbols)?;
                self.branches.expect(here, context.symbols, &inputs)?;
                fits::expect_values(here, context.symbols, &inputs)?;
                if let Some(searched) = self.searched.get(here.id) {
                    nan::expect_none(here, searched, &inputs)?;
                }
                if self.open.get(here.id) == Some(&true) {
                    alive.expect_room(here, &inputs)?;
                }
                let outputs = eval(context, state, here, inputs)?;
                if self.is_open {
                    fits::expect_planned(here, context.symbols, &outputs)?;
                }
                alive.made(here, &outputs)?;
                Ok::<_, TractError>(outputs)
            })
        };
        let outputs = guarded(ErrorKind::Execution, run)
            .map_err(|e| {
                let node = self.plan.model().nodes.get(at.get());
                let name = node.map_or("", |node| &*node.name);
                e.in_operation(format!("run, node `{name}`"))
            })?
            .map_err(|e| compile::run_error(e).in_operation("run"))?;
        read(&outputs)
    }

    fn copied(&self, outputs: &[TValue]) -> Result<Vec<HostTensor>> {
        let read = |(i, spec): (usize, &TensorSpec)| {
            output(outputs, i)
                .and_then(|value| spec.check_unless_claimed(value.shape()).map(|()| value))
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
        write!(f, "TractExecutable({})", self.own.signature)
    }
}
