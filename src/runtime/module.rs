//! The module behind the module of every framework: a model, the backend that runs it, and the reasons of the choice.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use super::checked::Check;
use super::compile::{self, Maker, Making};
use super::flavors::{FLAVORS, build_engine, not_built, write_engine};
use super::limited::limited;
use super::live::{Live, Places};
use super::options::OptimizeOptions;
use super::report::{ModuleReport, RejectedBackend};
use super::serving::{Pending, Replicas, Submitter};
use crate::backend::{
    Backend, BackendKind, Compiled, DeviceExecutable, Engine, Executable, LayerTime, Rejection,
};
use crate::cache::CacheUse;
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::{PrecisionOptions, PrecisionReport};
use crate::export::{ExportOptions, OnnxModel, Target};
use crate::limit::TimeLimit;
use crate::progress::{Phase, Record, Recorder, phase};
use crate::spec::Signature;
use crate::tensor::HostTensor;

/// A compiled model that runs on host tensors.
///
/// Cloning shares the model, and threads may share the module.
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
    wanted: Option<PrecisionOptions>,
    graph: Option<[u8; 32]>,
    name: String,
    longest_run: Option<Duration>,
}

impl InferenceModule {
    fn new(compiled: Compiled, made: Made) -> Self {
        let Compiled { executable, engine, backend, rejected } = compiled;
        let Made { built, cache, record, source, precision, wanted, graph, name, longest_run } =
            made;
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

    /// Compiles a model for the backend that `options` lead to. The model has names and sizes already:
    /// [`OnnxModel::bind`] and [`OnnxModel::tuned_for`] state the sizes of a model from a file.
    ///
    /// # Errors
    /// As [`Registry::compile`](crate::backend::Registry::compile);
    /// [`ErrorKind::InvalidArgument`] for options about the export of a framework's model, such as
    /// [`dynamic_batch`](OptimizeOptions::dynamic_batch); [`ErrorKind::Io`] for the files asked for,
    /// and [`ErrorKind::NoBackend`] where no TensorRT can build the
    /// [engine](OptimizeOptions::save_engine) asked for.
    pub fn compile(model: &OnnxModel, options: &OptimizeOptions) -> Result<Self> {
        expect_no_export(options)?;
        Self::compile_with(|_| Ok(model.clone()), options)
    }

    /// Builds an engine and makes nothing ready to run.
    ///
    /// The [required](OptimizeOptions::require) backend builds, else the first flavor of TensorRT that can build here.
    /// TensorRT-RTX builds without a GPU. The cache is asked first. The engine is
    /// [written](OptimizeOptions::save_engine) if the options say so.
    ///
    /// ```no_run
    /// use accelerant::{BackendKind, InferenceModule, OptimizeOptions, export::OnnxModel};
    ///
    /// let model = OnnxModel::open("model.onnx")?.bind("batch", 1..=32)?;
    /// let options = OptimizeOptions::new().require(BackendKind::TensorRtRtx);
    /// let (engine, report) = InferenceModule::build(&model, &options)?;
    /// engine.save("model.engine")?;
    /// println!("{report}");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// The required backend's own error, else an error with the reason of each flavor. The kind is
    /// [`ErrorKind::NoBackend`] where no flavor could be asked. As [`compile`](Self::compile) for options and files.
    pub fn build(model: &OnnxModel, options: &OptimizeOptions) -> Result<(Engine, ModuleReport)> {
        expect_no_export(options)?;
        let recorder = options.recorder();
        let wanted = AsRef::<ExportOptions>::as_ref(options).wanted_precision();
        let mut precision = None;
        let mut export = |target: Target| match wanted {
            Some(wanted) => {
                let written = model.with_precision(target, wanted.clone())?;
                precision = written.precision_report().cloned();
                Ok(written)
            }
            None => Ok(model.clone()),
        };
        let mut maker = Maker::new(options.engine_cache())?;
        maker.set_check(Check::of(options, model));
        let kinds = options.backends().required().map_or(&FLAVORS[..], std::slice::from_ref);
        let built = recorder.during(|| build_engine(&mut export, options, kinds, &mut maker));
        let (engine, backend) =
            built.map_err(|reasons| not_built(reasons).in_operation("build"))?;
        if let Some(path) = options.engine_path() {
            engine.save(path)?;
        }
        let mut report = ModuleReport {
            backend: backend.kind().to_string(),
            description: backend.description(),
            signature: engine.signature().to_string(),
            engine_bytes: engine.plan().len() as u64,
            cache: maker.cache_use(),
            phases: Vec::new(),
            first_run: None,
            passes: Vec::new(),
            precision,
            warnings: Vec::new(),
            rejected: Vec::new(),
        };
        report.add(recorder.record());
        Ok((engine, report))
    }

    /// Compiles the model that `export` writes for a target. `export` itself follows what `options` say of an export.
    ///
    /// # Errors
    /// As [`compile`](Self::compile), but for options about an export, and those of `export`.
    pub fn compile_with(
        export: impl FnMut(Target) -> Result<OnnxModel>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        Self::compile_recorded(&options.recorder(), export, options)
    }

    /// As [`compile_with`](Self::compile_with), with what was recorded before.
    pub(super) fn compile_recorded(
        recorder: &Arc<Recorder>,
        mut export: impl FnMut(Target) -> Result<OnnxModel>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        let mut report = None;
        let wanted = AsRef::<ExportOptions>::as_ref(options).wanted_precision();
        let mut export = |target: Target| {
            let model = match wanted {
                // Forms are chosen by type: they come after the precision.
                Some(wanted) => {
                    let plain = export(target.for_compute_capability(None))?;
                    plain.with_precision(target, wanted.clone())?
                }
                None => export(target)?,
            };
            report = model.shared_report();
            Ok(model)
        };
        let mut maker = Maker::new(options.engine_cache())?;
        let (compiled, built, source, graph, name) = recorder.during(|| {
            let mut portable = None;
            let is_compared = options.samples().is_some();
            if options.onnx_path().is_some() || options.keeps_source() || is_compared {
                portable = Some(phase(Phase::Export, || export(Target::portable()))?);
            }
            if let (Some(path), Some(model)) = (options.onnx_path(), &portable) {
                match options.external_threshold() {
                    Some(threshold) => model.save_external(path, threshold)?,
                    None => model.save(path)?,
                }
            }
            maker.set_check(portable.as_ref().and_then(|model| Check::of(options, model)));
            let built = match options.engine_path() {
                Some(path) => Some(write_engine(&mut export, options, path, &mut maker)?),
                None => None,
            };
            let used = maker.cache_use();
            let passes = recorder.record().passes;
            let mut making = Making::new(&mut maker);
            let backends = options.backends();
            let compiled = backends.compile_with(built.as_ref(), &mut export, &mut making)?;
            let Making { graph, name, .. } = making;
            if built.is_some() {
                maker.set_cache_use(used);
            }
            let source = portable.filter(|_| options.keeps_source());
            Ok((compiled, built.map(|engine| (engine, passes)), source, graph, name))
        })?;
        let mut record = recorder.record();
        // The report is of the engine that was asked for.
        let built = built.map(|(engine, passes)| {
            record.passes = passes;
            engine
        });
        let made = Made {
            built,
            cache: maker.cache_use(),
            record,
            source,
            precision: report,
            wanted: wanted.cloned(),
            graph,
            name,
            longest_run: options.longest_run(),
        };
        Ok(Self::new(compiled, made))
    }

    /// Makes an engine ready to run that was built before, perhaps on another machine. TensorRT takes only plans that
    /// [were built](Engine::is_built).
    ///
    /// # Errors
    /// [`ErrorKind::NoBackend`] when the backend that built the engine was not compiled in, or another backend is
    /// [required](OptimizeOptions::require); else as
    /// [`Backend::load`](crate::backend::Backend::load). No other backend is tried, since nothing can be built without
    /// the model.
    pub fn from_engine(engine: Engine, options: &OptimizeOptions) -> Result<Self> {
        let backends = options.backends();
        if let Some(only) = backends.required().filter(|only| *only != engine.kind()) {
            let text = format!(
                "{only} is required, and the engine is of {}: build it anew",
                engine.kind()
            );
            return Err(Error::new(ErrorKind::NoBackend, text).in_operation("load engine"));
        }
        let backend = backends.get(engine.kind())?.clone();
        Self::loaded(engine, backend, options)
    }

    /// An engine, ready to run on its backend.
    pub(super) fn loaded(
        engine: Engine,
        backend: Arc<dyn Backend>,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        let recorder = options.recorder();
        let executable = recorder.during(|| phase(Phase::Load, || backend.load(&engine)))?;
        let compiled = Compiled { executable, engine, backend, rejected: Vec::new() };
        let made = Made {
            built: None,
            cache: compile::given(),
            record: recorder.record(),
            source: None,
            precision: None,
            wanted: None,
            graph: None,
            name: String::new(),
            longest_run: options.longest_run(),
        };
        Ok(Self::new(compiled, made))
    }

    /// Reads a file and makes its model ready to run. A file whose name ends in `.onnx` is a model, which is
    /// [compiled](Self::compile) through the cache. Every other file is an engine, such as an
    /// [entry of the cache](crate::cache::Entry::path). Trust an engine as a program, since TensorRT runs what is in the
    /// file: see [`Engine::open`].
    ///
    /// # Errors
    /// As [`Engine::open`] and [`from_engine`](Self::from_engine), or as [`OnnxModel::open`] and
    /// [`compile`](Self::compile).
    pub fn open(path: impl AsRef<Path>, options: &OptimizeOptions) -> Result<Self> {
        let path = path.as_ref();
        if path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
            return Self::compile(&OnnxModel::open(path)?, options);
        }
        Self::from_engine(Engine::open(path)?, options)
    }

    /// The same model on several devices, counted from 0, behind one handle.
    ///
    /// A run on host tensors goes to the device that has the least to do. When a device fails, the run goes to the next
    /// device, and the failed device comes last for a second. Tensors that are on one of the devices are taken there.
    ///
    /// If the model is loaded on one of the devices already, both modules share what is loaded. On the other devices, the
    /// model is loaded with the options of this module's backend.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty list, or a device that is listed twice; else as
    /// [`Backend::load_on`].
    pub fn on_devices(&self, ordinals: &[usize]) -> Result<Self> {
        self.replicate(ordinals).map_err(|e| e.in_operation("replicas"))
    }

    /// The same model [on all devices](Self::on_devices) that the backend has.
    ///
    /// # Errors
    /// As [`on_devices`](Self::on_devices).
    pub fn on_all_devices(&self) -> Result<Self> {
        let count = self.0.origin.backend.devices().map_err(|e| e.in_operation("replicas"))?;
        self.on_devices(&(0..count).collect::<Vec<_>>())
    }

    /// The same model with one of the engine's [optimization profiles] alone, by its name. Otherwise a run uses the first
    /// profile that fits. The new module shares what is loaded, and has contexts of its own.
    ///
    /// [optimization profiles]: crate::backend::Engine::profile_names
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the names of the profiles.
    pub fn for_profile(&self, name: &str) -> Result<Self> {
        let Inner { loaded, origin, .. } = &*self.0;
        let of = |replica: &Arc<Live>| {
            let load = |_: Option<&Engine>| replica.for_profile(name).map(Arc::from);
            origin.places.add(replica.asked_ordinal(), Some(name), load)
        };
        let loaded = loaded.iter().map(of).collect::<Result<_>>()?;
        Ok(Self::of(loaded, origin.clone(), Some(name.to_owned())))
    }

    fn replicate(&self, ordinals: &[usize]) -> Result<Self> {
        let twice = |(i, ordinal): (usize, &usize)| ordinals[..i].contains(ordinal);
        if ordinals.is_empty() || ordinals.iter().enumerate().any(twice) {
            let text = format!("the devices must be some, and each another: {ordinals:?}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let Inner { loaded, origin, profile, .. } = &*self.0;
        let load = |&ordinal: &usize| {
            let there = loaded.iter().find(|replica| replica.device_on(ordinal).is_some());
            if let Some(replica) = there {
                return Ok(replica.clone());
            }
            origin.places.add(Some(ordinal), profile.as_deref(), |engine| {
                let engine = engine.unwrap_or(&origin.engine);
                let executable = origin.backend.load_on(engine, ordinal)?;
                let executable = match profile {
                    Some(name) => executable.for_profile(name)?,
                    None => executable,
                };
                Ok(limited(executable.into(), origin.longest_run))
            })
        };
        let loaded = ordinals.iter().map(load).collect::<Result<_>>()?;
        Ok(Self::of(loaded, origin.clone(), profile.clone()))
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        self.0.executable.signature()
    }

    /// The backend that runs.
    pub fn backend(&self) -> BackendKind {
        self.0.origin.backend.kind()
    }

    /// Library and version of the backend that runs, for people.
    pub fn description(&self) -> String {
        self.0.origin.backend.description()
    }

    /// The backends that were passed over, each with its reason.
    pub fn rejected(&self) -> &[Rejection] {
        &self.0.origin.rejected
    }

    /// The types that each layer got, with reasons, if a [precision](OptimizeOptions::precision) was asked for and the
    /// engine was not read from a file.
    pub fn precision_report(&self) -> Option<&PrecisionReport> {
        self.0.origin.precision.as_deref()
    }

    /// The engine that was [asked for](OptimizeOptions::save_engine), else the engine that runs.
    pub fn engine(&self) -> &Engine {
        self.0.origin.built.as_ref().unwrap_or(&self.0.origin.engine)
    }

    /// How this module was made: whether the cache had the engine, how long each phase took, and which backends were passed
    /// over.
    /// Modules on [other devices](Self::on_devices) and for [profiles](Self::for_profile) have the report of the module
    /// that they came from.
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
            warnings: Vec::new(),
            rejected: rejected.iter().map(RejectedBackend::of).collect(),
        };
        report.add(record.clone());
        report
    }

    /// Runs on host tensors, in the order of the signature.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::OutOfProfile`] naming tensor and axis; [`ErrorKind::Execution`] when the
    /// backend fails.
    pub fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.timed(|| self.0.executable.run(inputs))
    }

    /// As [`run`](Self::run), for as long as `limit` allows, instead of the
    /// [longest time](OptimizeOptions::run_timeout) that the module allows.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::TimedOut`] and [`ErrorKind::Cancelled`]. The module can be run again.
    pub fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.timed(|| self.0.executable.run_within(inputs, limit))
    }

    /// The number of runs that outlived their [limit](TimeLimit) and still go on: each is in a node that cannot be stopped.
    /// tract begins no run with a limit while as many go on as the machine has processors. ONNX Runtime begins none while
    /// one goes on. Such a run ends with [`ErrorKind::TimedOut`] when its limit is over. The count is 0 on TensorRT.
    ///
    /// Memory of the model and the inputs is freed when the last such run has ended, also where the module is dropped.
    pub fn overdue_runs(&self) -> usize {
        self.0.executable.overdue()
    }

    /// How long each layer takes on the device for these inputs, in the order in which the layers run: the median of
    /// `runs` runs. Each layer waits for the one before, so that the sum is more than a [run](Self::run) takes.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::UnsupportedOperation`] where the backend does not tell. TensorRT does.
    pub fn layer_times(&self, inputs: &[HostTensor], runs: usize) -> Result<Vec<LayerTime>> {
        let Some(device) = self.0.executable.device() else {
            let text = format!("{} does not tell how long its layers take", self.backend());
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            return Err(error.in_operation("time layers"));
        };
        device.layer_times(inputs, runs).map_err(|e| e.in_operation("time layers"))
    }

    fn timed(&self, run: impl FnOnce() -> Result<Vec<HostTensor>>) -> Result<Vec<HostTensor>> {
        let first = &self.0.origin.first_run;
        if first.get().is_some() {
            return run().map_err(|e| e.in_operation("run"));
        }
        let start = Instant::now();
        let outputs = run().map_err(|e| e.in_operation("run"))?;
        // Of several at once the one that ends first.
        let _ = first.set(start.elapsed());
        Ok(outputs)
    }

    /// Runs in the background, on a thread of this module's own. The handle is a [`Future`], and a thread may wait for
    /// the handle. Runs begin in the order in which they are submitted, as many at a time as the backend
    /// [runs](Executable::concurrency).
    ///
    /// Dropping the handle withdraws a run that has not begun. Dropping the last clone of the module waits for all runs
    /// with handles that were not dropped. The queue has no bound; the queue of a
    /// [`Batcher`](crate::serving::Batcher) has a bound.
    ///
    /// ```
    /// # use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
    /// # let graph = GraphBuilder::new("double");
    /// # let x = graph.input("x", DType::F32, [3])?;
    /// # graph.output("y", &x.affine(2.0, 0.0)?)?;
    /// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
    /// let pending = module.submit(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
    /// // In async code `pending.await?`, else:
    /// assert_eq!(pending.wait()?[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// At once, inputs that do not fit the signature, as in [`run`](Self::run), and
    /// [`ErrorKind::Io`] when the system gives no thread. Later errors come out of the handle.
    pub fn submit(&self, inputs: &[HostTensor]) -> Result<Pending> {
        let in_operation = |e: Error| e.in_operation("submit");
        let shapes = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        self.signature().check_inputs(shapes).map_err(in_operation)?;
        Ok(self.submitter().map_err(in_operation)?.submit(inputs))
    }

    /// Made without the lock, since an executable's own code is asked for its concurrency.
    fn submitter(&self) -> Result<Arc<Submitter>> {
        let lock = || self.0.submitter.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        if let Some(submitter) = known {
            return Ok(submitter);
        }
        let made = Arc::new(Submitter::new(self.0.executable.clone())?);
        let first = lock().get_or_insert_with(|| made.clone()).clone();
        Ok(first)
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

/// What the modules on device memory build upon.
impl InferenceModule {
    /// The model for tensors that are in device memory already, if the backend that runs takes them.
    pub fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device()
    }

    /// The same for tensors on one of [its devices](Self::on_devices), counted from 0.
    pub fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device_on(ordinal)
    }
}

/// A module is an executable too.
impl Executable for InferenceModule {
    fn signature(&self) -> &Signature {
        self.0.executable.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        Self::run(self, inputs)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        Self::run_within(self, inputs, limit)
    }

    fn concurrency(&self) -> usize {
        self.0.executable.concurrency()
    }

    fn overdue(&self) -> usize {
        self.0.executable.overdue()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device()
    }

    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device_on(ordinal)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        Ok(Box::new(Self::for_profile(self, name)?))
    }
}

/// Options about the export of a framework's model make no sense for one that is ONNX.
fn expect_no_export(options: &OptimizeOptions) -> Result<()> {
    let export: &ExportOptions = options.as_ref();
    let Some(option) = export.stated() else { return Ok(()) };
    let text = format!(
        "{option}: a model that is ONNX has its names and sizes; `OnnxModel::bind` states those of a symbol"
    );
    Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("compile"))
}

impl fmt::Debug for InferenceModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InferenceModule({} on {})", self.signature(), self.description())
    }
}
