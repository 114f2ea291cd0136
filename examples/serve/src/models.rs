//! The models: opened, compiled, and run in batches where they take batches.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use accelerant::export::OnnxModel;
use accelerant::serving::{Batcher, BatcherCounters, BatcherOptions};
use accelerant::{
    BackendKind, Dim, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Signature,
    Symbol,
};
use tokio::sync::Semaphore;

use crate::Problem;
use crate::gauge::Gauge;
use crate::metrics::Outcomes;
use crate::options::{Named, Options};

/// Every model has this version alone.
pub(crate) const VERSION: &str = "1";
/// How a file of [`accelerant::Engine::save`] begins.
const ENGINE: &[u8] = b"ACCELENG";

/// A model that answers requests.
pub(crate) struct Model {
    name: String,
    module: InferenceModule,
    runner: Runner,
    running: Gauge,
    pub(crate) outcomes: Arc<Outcomes>,
    pub(crate) options: Stated,
}

/// What Triton's configuration tells of a model.
pub(crate) struct Stated {
    pub(crate) is_engine: bool,
    pub(crate) max_delay: Duration,
}

enum Runner {
    Batched(Batcher),
    /// Each request is a run. The semaphore has a permit for each that may wait or run.
    Single(Arc<Semaphore>),
}

/// Opens and compiles.
pub(crate) fn load(named: &Named, options: &Options) -> Result<Model, Problem> {
    let Named { name, path } = named;
    open(name, path, options).map_err(|e| format!("model `{name}`, {}: {e}", path.display()).into())
}

/// How models are compiled.
pub(crate) fn compiling(options: &Options) -> OptimizeOptions {
    match &options.backend {
        Some(name) => OptimizeOptions::new().require(BackendKind::from_name(name)),
        None => OptimizeOptions::new(),
    }
}

fn open(name: &str, path: &Path, options: &Options) -> Result<Model, Problem> {
    let mut start = Vec::new();
    File::open(path)?.take(ENGINE.len() as u64).read_to_end(&mut start)?;
    let is_engine = start == ENGINE;
    let compiling = compiling(options);
    let module = match is_engine {
        true => InferenceModule::open(path, &compiling)?,
        false => {
            let model = bound(name, OnnxModel::open(path)?, options)?;
            InferenceModule::compile(&model, &compiling)?
        }
    };
    let max_delay = Duration::from_millis(options.max_delay);
    let symbol = batch_symbol(module.signature());
    let most = symbol.map_or(1, |symbol| symbol.max().min(options.max_batch as usize));
    let runner = match most {
        0 | 1 => Runner::Single(Arc::new(Semaphore::new(options.max_queue.max(1)))),
        most => {
            let batching = BatcherOptions::new().max_batch(most).max_delay(max_delay);
            Runner::Batched(Batcher::new(module.clone(), &batching.max_queue(options.max_queue))?)
        }
    };
    let (running, outcomes) = (Gauge::default(), Arc::default());
    let stated = Stated { is_engine, max_delay };
    Ok(Model { name: name.to_owned(), module, runner, running, outcomes, options: stated })
}

/// The model with the sizes that the command line states, and a bound for its batch.
fn bound(name: &str, mut model: OnnxModel, options: &Options) -> accelerant::Result<OnnxModel> {
    for sizes in &options.shapes {
        model = sizes.bind(model, name)?;
    }
    match batch_symbol(model.signature()) {
        Some(symbol) if symbol.max() == Symbol::UNBOUNDED => {
            let most = (options.max_batch as usize).max(symbol.min());
            model.bind(symbol.name(), symbol.min().max(1)..=most)
        }
        _ => Ok(model),
    }
}

/// The symbol that all inputs and outputs begin with and have nowhere else: requests are joined along it.
fn batch_symbol(signature: &Signature) -> Option<Symbol> {
    let first = match signature.inputs.first()?.shape.dims().first()? {
        Dim::Symbol(symbol) => symbol.clone(),
        _ => return None,
    };
    let is_first = |dim: &Dim| matches!(dim, Dim::Symbol(symbol) if symbol.name() == first.name());
    let all = || signature.inputs.iter().chain(&signature.outputs);
    let joins = all().all(|spec| {
        let dims = spec.shape.dims();
        dims.first().is_some_and(is_first) && !dims[1..].iter().any(is_first)
    });
    joins.then_some(first)
}

impl Model {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What requests must fit.
    pub(crate) fn signature(&self) -> &Signature {
        match &self.runner {
            Runner::Batched(batcher) => batcher.signature(),
            Runner::Single(_) => self.module.signature(),
        }
    }

    /// The most rows of a request; 0 where the model takes no batches.
    pub(crate) fn max_batch(&self) -> usize {
        match &self.runner {
            Runner::Batched(batcher) => batcher.signature().inputs[0].shape.dims()[0].max(),
            Runner::Single(_) => 0,
        }
    }

    pub(crate) fn backend(&self) -> String {
        self.module.backend().to_string()
    }

    /// What the batcher did, where there is one.
    pub(crate) fn counters(&self) -> Option<BatcherCounters> {
        match &self.runner {
            Runner::Batched(batcher) => Some(batcher.counters()),
            Runner::Single(_) => None,
        }
    }

    pub(crate) fn running(&self) -> usize {
        self.running.count()
    }

    pub(crate) fn description(&self) -> String {
        let how = match self.max_batch() {
            0 => "single requests".into(),
            most => format!("batches of up to {most}"),
        };
        format!("`{}` on {}, {how}: {}", self.name, self.module.description(), self.signature())
    }

    /// Runs a request. Dropping the future withdraws it.
    pub(crate) async fn run(&self, inputs: &[HostTensor]) -> accelerant::Result<Vec<HostTensor>> {
        let _running = self.running.one();
        match &self.runner {
            Runner::Batched(batcher) => batcher.submit(inputs)?.await,
            Runner::Single(room) => {
                let full = |_| Error::new(ErrorKind::QueueFull, "too many requests wait already");
                let _permit = room.try_acquire().map_err(full)?;
                self.module.submit(inputs)?.await
            }
        }
    }
}
