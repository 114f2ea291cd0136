//! The module behind the module of every framework: a model, the backend that runs it, and the reasons of the choice.
//! `make` has the ways to a module, `other_devices` has a module on other devices, and `run` runs it.

mod make;
mod other_devices;
mod run;

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use super::limited::limited;
use super::live::{Live, Places};
use super::report::{ModuleReport, RejectedBackend};
use super::sensitivity::Tried;
use super::serving::{Replicas, Submitter};
use crate::backend::{Backend, BackendKind, Compiled, Engine, Executable, Rejection};
use crate::cache::CacheUse;
use crate::export::OnnxModel;
use crate::export::precision::{PrecisionOptions, PrecisionReport};
use crate::progress::Record;
use crate::spec::Signature;

/// A compiled model that runs on host tensors.
///
/// A clone shares the model, and threads can share a module.
///
/// ```
/// use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [3])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
///
/// let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
/// let y = module.run(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct InferenceModule(Arc<Inner>);

struct Inner {
    /// Made by the first that submits. What was submitted is done before the model goes.
    submitter: Mutex<Option<Arc<Submitter>>>,
    executable: Arc<dyn Executable>,
    /// The executable, or those among which it chooses.
    loaded: Vec<Arc<Live>>,
    origin: Arc<Origin>,
    /// The profile that all of them run with.
    profile: Option<String>,
}

/// Where a model came from.
pub(super) struct Origin {
    pub(super) backend: Arc<dyn Backend>,
    rejected: Vec<Rejection>,
    pub(super) engine: Engine,
    /// Where the model is loaded.
    pub(super) places: Places,
    /// The precision that was asked for.
    pub(super) wanted: Option<PrecisionOptions>,
    /// The hash of the graph that the engine was built of, where the engine can get other weights.
    pub(super) graph: Option<[u8; 32]>,
    built: Option<Engine>,
    cache: CacheUse,
    record: Record,
    first_run: OnceLock<Duration>,
    /// The model in the form that every backend reads, if it is kept.
    source: Option<OnnxModel>,
    precision: Option<Arc<PrecisionReport>>,
    tried: Vec<Tried>,
    /// The longest that a run may take.
    pub(super) longest_run: Option<Duration>,
}

/// What is known of a module beside what was compiled.
struct Made {
    built: Option<Engine>,
    cache: CacheUse,
    record: Record,
    source: Option<OnnxModel>,
    precision: Option<Arc<PrecisionReport>>,
    tried: Vec<Tried>,
    wanted: Option<PrecisionOptions>,
    graph: Option<[u8; 32]>,
    name: String,
    longest_run: Option<Duration>,
}

impl InferenceModule {
    fn new(compiled: Compiled, made: Made) -> Self {
        let Compiled { executable, engine, backend, rejected } = compiled;
        let Made {
            built,
            cache,
            record,
            source,
            precision,
            tried,
            wanted,
            graph,
            name,
            longest_run,
        } = made;
        let origin = Origin {
            backend,
            rejected,
            engine,
            places: Places::of(&name),
            wanted,
            graph,
            built,
            cache,
            record,
            first_run: OnceLock::new(),
            source,
            precision,
            tried,
            longest_run,
        };
        let first = origin.places.first(limited(executable.into(), longest_run));
        Self::of(vec![first], Arc::new(origin), None)
    }

    fn of(loaded: Vec<Arc<Live>>, origin: Arc<Origin>, profile: Option<String>) -> Self {
        let executable: Arc<dyn Executable> = match &*loaded {
            [one] => one.clone(),
            several => {
                let each = several.iter().map(|one| Arc::clone(one) as Arc<dyn Executable>);
                Arc::new(Replicas::new(each.collect()))
            }
        };
        let submitter = Mutex::default();
        Self(Arc::new(Inner { submitter, executable, loaded, origin, profile }))
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        self.0.executable.signature()
    }

    /// The backend that runs.
    pub fn backend(&self) -> BackendKind {
        self.0.origin.backend.kind()
    }

    /// A description of the backend that runs: its library and version.
    pub fn description(&self) -> String {
        self.0.origin.backend.description()
    }

    /// The skipped backends, each with its reason.
    pub fn rejected(&self) -> &[Rejection] {
        &self.0.origin.rejected
    }

    /// The type of each layer, with reasons. `None` without a [precision](crate::OptimizeOptions::precision), and for
    /// an engine from a file.
    pub fn precision_report(&self) -> Option<&PrecisionReport> {
        self.0.origin.precision.as_deref()
    }

    /// The engine that [`save_engine`](crate::OptimizeOptions::save_engine) wrote, or else the engine that runs.
    pub fn engine(&self) -> &Engine {
        self.0.origin.built.as_ref().unwrap_or(&self.0.origin.engine)
    }

    /// The report on the creation of this module: whether the cache had the engine, the time of each phase, and the
    /// skipped backends. Modules on [other devices](Self::on_devices) and for [profiles](Self::for_profile) have the
    /// report of their original module.
    pub fn report(&self) -> ModuleReport {
        let Origin { backend, rejected, cache, record, first_run, .. } = &*self.0.origin;
        let mut report = ModuleReport {
            backend: backend.kind().to_string(),
            description: backend.description(),
            signature: self.signature().to_string(),
            engine_bytes: self.engine().plan().len() as u64,
            cache: cache.clone(),
            phases: Vec::new(),
            first_run: first_run.get().copied(),
            passes: Vec::new(),
            precision: self.precision_report().cloned(),
            tried: self.0.origin.tried.clone(),
            warnings: Vec::new(),
            rejected: rejected.iter().map(RejectedBackend::of).collect(),
        };
        report.add(record.clone());
        let outputs = self.signature().outputs.iter();
        report.warnings.extend(outputs.filter_map(|spec| spec.claim.shown()).map(str::to_owned));
        report
    }
}

/// What a comparison with the source needs.
impl InferenceModule {
    pub(super) fn origin(&self) -> &Origin {
        &self.0.origin
    }

    pub(super) fn source(&self) -> Option<&OnnxModel> {
        // After an exchange the source is of other weights.
        self.0.origin.source.as_ref().filter(|_| self.0.origin.places.engine().is_none())
    }

    pub(super) fn backend_value(&self) -> &Arc<dyn Backend> {
        &self.0.origin.backend
    }
}

impl fmt::Debug for InferenceModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InferenceModule({} on {})", self.signature(), self.description())
    }
}
