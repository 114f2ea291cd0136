//! The models that are served: how each is loaded, and how a request runs. No protocol.

use std::{
    path::PathBuf,
    str::FromStr,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use accelerant::export::OnnxModel;
use accelerant::serving::{Batcher, BatcherOptions};
use accelerant::{
    Engine, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Signature,
};
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// What a user wants served.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    name: String,
    file: PathBuf,
    /// Symbol, smallest, usual and largest size.
    sizes: Vec<(String, [usize; 3])>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not NAME=FILE or NAME=FILE,SYMBOL=MIN:OPT:MAX");
        let mut parts = text.split(',');
        let (name, file) = parts.next().and_then(|part| part.split_once('=')).ok_or_else(wrong)?;
        if name.is_empty() || name.contains('/') || file.is_empty() {
            return Err(wrong());
        }
        let size = |part: &str| {
            let (symbol, sizes) = part.split_once('=')?;
            let sizes = sizes.split(':').map(|n| n.parse().ok()).collect::<Option<Vec<_>>>()?;
            Some((symbol.to_owned(), sizes.try_into().ok()?))
        };
        let sizes = parts.map(|part| size(part).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(Self { name: name.into(), file: file.into(), sizes })
    }
}

/// How much may wait, and for how long.
pub(crate) struct Limits {
    pub(crate) queue: usize,
    pub(crate) delay: Duration,
}

/// All models, and whether the server is about to end.
pub(crate) struct Models {
    list: Vec<Model>,
    pub(crate) ending: AtomicBool,
}

/// A model under its name.
pub(crate) struct Model {
    pub(crate) name: String,
    /// The backend that runs it.
    pub(crate) platform: String,
    pub(crate) signature: Signature,
    pub(crate) metrics: Metrics,
    runner: Runner,
}

enum Runner {
    Batched(Batcher),
    /// A model that takes no batches: so many runs may wait.
    Single {
        module: Box<InferenceModule>,
        waiting: Arc<Semaphore>,
    },
}

/// The version of each model.
pub(crate) const VERSION: &str = "1";

impl Models {
    pub(crate) fn load(wanted: &[Wanted], limits: &Limits) -> Result<Self, String> {
        let mut list: Vec<Model> = Vec::new();
        for wanted in wanted {
            if list.iter().any(|model| model.name == wanted.name) {
                return Err(format!("two models are called `{}`", wanted.name));
            }
            let model = Model::load(wanted, limits)
                .map_err(|e| format!("{}: {e}", wanted.file.display()))?;
            eprintln!("{}: {} on {}", model.name, model.how(), model.platform);
            list.push(model);
        }
        Ok(Self { list, ending: AtomicBool::new(false) })
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Model> {
        self.list.iter().find(|model| model.name == name)
    }

    pub(crate) fn all(&self) -> &[Model] {
        &self.list
    }
}

impl Model {
    fn load(wanted: &Wanted, limits: &Limits) -> accelerant::Result<Self> {
        let options = OptimizeOptions::new();
        let module = match wanted.file.extension().is_some_and(|ending| ending == "onnx") {
            false => InferenceModule::from_engine(Engine::open(&wanted.file)?, &options)?,
            true => {
                let mut model = OnnxModel::open(&wanted.file)?;
                for (symbol, [min, opt, max]) in &wanted.sizes {
                    model = model.bind(symbol, *min..=*max)?;
                    if min < max {
                        model = model.tuned_for(symbol, [*opt])?;
                    }
                }
                InferenceModule::compile(&model, &options)?
            }
        };
        let (platform, signature) = (module.description(), module.signature().clone());
        let batching = BatcherOptions::new().max_queue(limits.queue).max_delay(limits.delay);
        // One run is a batch of its own where the model takes no batches.
        let runner = match Batcher::new(module.clone(), &batching) {
            Ok(batcher) => Runner::Batched(batcher),
            Err(e) if e.kind() == ErrorKind::InvalidArgument => Runner::Single {
                module: Box::new(module),
                waiting: Arc::new(Semaphore::new(limits.queue.max(1))),
            },
            Err(e) => return Err(e),
        };
        let signature = match &runner {
            Runner::Batched(batcher) => batcher.signature().clone(),
            Runner::Single { .. } => signature,
        };
        let name = wanted.name.clone();
        Ok(Self { name, platform, signature, metrics: Metrics::default(), runner })
    }

    fn how(&self) -> &'static str {
        match self.runner {
            Runner::Batched(_) => "in batches",
            Runner::Single { .. } => "one request at a time",
        }
    }

    /// Runs a request. One whose caller goes away is withdrawn.
    pub(crate) async fn infer(&self, inputs: &[HostTensor]) -> accelerant::Result<Vec<HostTensor>> {
        let start = Instant::now();
        let result = match &self.runner {
            Runner::Batched(batcher) => match batcher.submit(inputs) {
                Ok(pending) => pending.await,
                Err(e) => Err(e),
            },
            Runner::Single { module, waiting } => match waiting.try_acquire() {
                Ok(_held) => match module.submit(inputs) {
                    Ok(pending) => pending.await,
                    Err(e) => Err(e),
                },
                Err(_) => Err(Error::new(ErrorKind::QueueFull, "too many requests wait")),
            },
        };
        self.metrics.record(start.elapsed(), result.as_ref().err().map(Error::kind));
        result
    }

    /// Batches so far, of models that take them.
    pub(crate) fn batches(&self) -> Option<(u64, u64)> {
        match &self.runner {
            Runner::Batched(batcher) => {
                let counters = batcher.counters();
                Some((counters.batches, counters.rows))
            }
            Runner::Single { .. } => None,
        }
    }
}
