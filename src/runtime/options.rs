//! The options of an optimization, the same for every framework: of the export, of the backends, and of the files.

use std::{
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::VerifyOptions;
use super::checked::Samples;
use super::chosen::Choice;
use super::sensitivity::Auto;
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
use crate::backend::tensorrt::{TensorRt, TensorRtOptions};
use crate::backend::{BackendKind, Registry};
use crate::cache::EngineCache;
use crate::export::{ExportOptions, export_builders};
#[cfg(any(feature = "burn", feature = "candle"))]
use crate::export::{Reader, Target};
use crate::limit::TimeLimit;
use crate::progress::{Follower, Progress, ProgressCallback, Recorder};
use crate::tensor::HostTensor;

/// Options of `.optimize_trt_with(…)`: those of the [export](ExportOptions), the backends to choose from, and the files
/// to write.
///
/// An export's options are for models of Burn and Candle.
/// [`InferenceModule::compile`](crate::InferenceModule::compile) refuses them, since a model that is ONNX has its names and
/// sizes.
///
/// ```
/// use accelerant::{BackendKind, OptimizeOptions};
///
/// let options = OptimizeOptions::new()
///     .dynamic_batch(1..=64)
///     .require(BackendKind::TensorRtRtx)
///     .save_engine("model.engine");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct OptimizeOptions {
    export: ExportOptions,
    registry: Registry,
    onnx_path: Option<PathBuf>,
    external: Option<usize>,
    engine_path: Option<PathBuf>,
    cache: EngineCache,
    progress: Follower,
    limit: Option<TimeLimit>,
    run_timeout: Option<Duration>,
    memory: Option<u64>,
    keep_source: bool,
    samples: Option<Arc<Samples>>,
    timed: Option<Arc<[HostTensor]>>,
    choice: Option<Arc<Choice>>,
}

export_builders!(OptimizeOptions, "OptimizeOptions", export);

impl OptimizeOptions {
    /// Shapes as in the example, the first backend that works, and no files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all options of the export at once.
    #[must_use]
    pub fn export(mut self, options: ExportOptions) -> Self {
        self.export = options;
        self
    }

    /// Forbids all other backends.
    #[must_use]
    pub fn require(mut self, kind: BackendKind) -> Self {
        self.registry = self.registry.require(kind);
        self
    }

    /// How TensorRT builds and runs, in both flavors: the device, CUDA graphs, profiles, limits. Each flavor is found as
    /// usual, in its usual place among the backends.
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, backend::tensorrt::TensorRtOptions};
    ///
    /// let tensorrt = TensorRtOptions::default().device(1).cuda_graph(true);
    /// let options = OptimizeOptions::new().tensorrt(tensorrt);
    /// ```
    #[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
    #[must_use]
    pub fn tensorrt(mut self, options: TensorRtOptions) -> Self {
        #[cfg(feature = "tensorrt-rtx")]
        self.registry.push(TensorRt::rtx().with_options(options.clone()));
        #[cfg(feature = "tensorrt")]
        self.registry.push(TensorRt::enterprise().with_options(options));
        self
    }

    /// Chooses among these backends instead of the [default ones](Registry::default), for a backend of your own, another
    /// order, or a library in another folder. The options of TensorRT are then those of the registry's backends, and what
    /// was [required](Self::require) before stays required.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        let required = self.registry.required().cloned();
        self.registry = match (registry.required(), required) {
            (None, Some(required)) => registry.require(required),
            _ => registry,
        };
        self
    }

    /// Writes the exported model to a file, whole or not at all.
    #[must_use]
    pub fn save_onnx(mut self, path: impl AsRef<Path>) -> Self {
        self.onnx_path = Some(path.as_ref().to_owned());
        self
    }

    /// Keeps weights of `threshold` bytes and more in a file beside the [model's file](Self::save_onnx). By default, only
    /// a model of 2 GiB and more is stored like that.
    #[must_use]
    pub fn external_weights(mut self, threshold: usize) -> Self {
        self.external = Some(threshold);
        self
    }

    /// Writes a TensorRT engine to a file, whole or not at all.
    ///
    /// The engine is built even when no device can run the engine here. The flavor that is [required](Self::require)
    /// builds, else TensorRT-RTX, else TensorRT. Where no flavor can build, the whole optimization is an error of the
    /// kind [`NoBackend`](crate::ErrorKind::NoBackend).
    #[must_use]
    pub fn save_engine(mut self, path: impl AsRef<Path>) -> Self {
        self.engine_path = Some(path.as_ref().to_owned());
        self
    }

    /// Where built engines are kept: a folder, an [`EngineCache`] with a size limit, or nowhere with
    /// [`EngineCache::off`]. By default, engines are kept in the user's cache folder. Backends that build as fast as they
    /// load, such as tract, keep no engines.
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, cache::EngineCache};
    ///
    /// let options = OptimizeOptions::new().cache("/var/cache/my-program");
    /// let options = OptimizeOptions::new().cache(EngineCache::off());
    /// ```
    #[must_use]
    pub fn cache(mut self, cache: impl Into<EngineCache>) -> Self {
        self.cache = cache.into();
        self
    }

    /// A callback that follows the work, and may stop the work. With [`ControlFlow::Break`], the call that compiles gives
    /// an error of the kind [`Cancelled`](crate::ErrorKind::Cancelled) at the next step of the backend. Threads of the
    /// backend's library may call the callback.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use accelerant::{OptimizeOptions, Progress};
    ///
    /// let options = OptimizeOptions::new().progress(|event| {
    ///     if let Progress::Finished { phase, took } = event {
    ///         eprintln!("{phase}: {took:?}");
    ///     }
    ///     ControlFlow::Continue(())
    /// });
    /// ```
    #[must_use]
    pub fn progress(
        mut self,
        callback: impl Fn(Progress<'_>) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.progress = Follower(Some(Arc::new(callback)));
        self
    }

    /// Ends the compilation when the limit is over or cancelled, with an error of the kind
    /// [`TimedOut`](crate::ErrorKind::TimedOut) or [`Cancelled`](crate::ErrorKind::Cancelled), and no other backend is
    /// tried. The limit is checked between the phases. Within a phase, TensorRT's builder and ONNX Runtime check the limit,
    /// and tract checks the limit between its four steps. By default no limit is set.
    ///
    /// ```
    /// use std::time::Duration;
    /// use accelerant::{OptimizeOptions, TimeLimit};
    ///
    /// let options = OptimizeOptions::new().compile_limit(&TimeLimit::of(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn compile_limit(mut self, limit: &TimeLimit) -> Self {
        self.limit = Some(limit.clone());
        self
    }

    /// The longest time that a run of the module on host tensors may take, also a run that is
    /// [submitted](crate::InferenceModule::submit) or in a [batcher](crate::serving::Batcher). A run that takes longer is
    /// an error of the kind [`TimedOut`](crate::ErrorKind::TimedOut). [`TimeLimit`] says what can be stopped.
    /// [`run_within`](crate::InferenceModule::run_within) has its own limit instead. By default no limit is set.
    #[must_use]
    pub fn run_timeout(mut self, time: Duration) -> Self {
        self.run_timeout = Some(time);
        self
    }

    /// The most bytes that the values of a run on a portable backend may take at a time. A model or a run that takes more
    /// is an error with the node. Sizes that are known before a run are counted before the run, without the weights and the
    /// scratch memory of a node. tract counts the other sizes during the run. ONNX Runtime takes the memory of a module from
    /// an arena, which has twice these bytes and four times those of the weights; a run for which the arena is too small is
    /// an error.
    ///
    /// By default a run may take 4 GiB, 64 times the bytes of the weights, and 256 times the bytes of its inputs. On ONNX
    /// Runtime, a model has an arena of so many bytes by default where a run alone shows some sizes. Inputs count up to
    /// 16 MiB for the arena.
    ///
    /// ```
    /// use accelerant::{DType, ErrorKind, InferenceModule, OptimizeOptions, export::GraphBuilder};
    /// # let registry = accelerant::Registry::default();
    /// # let portable = |kind: &accelerant::BackendKind| ["ort", "tract"].contains(&kind.name());
    /// # let mut backends = registry.backends().iter().filter(|backend| backend.probe().is_ok());
    /// # let backend = backends.find_map(|backend| Some(backend.kind()).filter(portable)).unwrap();
    ///
    /// let graph = GraphBuilder::new("double");
    /// let x = graph.input("x", DType::F32, [1000, 1000])?;
    /// graph.output("y", &x.affine(2.0, 0.0)?)?;
    /// let model = graph.finish()?;
    ///
    /// let options = OptimizeOptions::new().require(backend).memory_limit(1 << 20);
    /// let error = InferenceModule::compile(&model, &options).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidModel);        // x and y take 4 MB each
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Whether the module keeps the model that it was made of.
    /// [`InferenceModule::verify`](crate::InferenceModule::verify) needs that model. Keeping takes the host memory of the
    /// weights. By default, the model is not kept.
    #[must_use]
    pub fn keep_source(mut self, kept: bool) -> Self {
        self.keep_source = kept;
        self
    }

    /// The same for models that are only tried: what a caller wants as a file is not of them.
    pub(crate) fn without_files(mut self) -> Self {
        (self.onnx_path, self.engine_path, self.keep_source) = (None, None, false);
        self.timed = None;
        self.without_choice()
    }

    /// The same with the precision that they state.
    pub(super) fn without_choice(mut self) -> Self {
        self.choice = None;
        self
    }

    /// Compares each new engine with its model on another runtime, before the cache or a [file](Self::save_engine) has the
    /// engine. Each sample has a tensor for each input, in order. By default nothing is compared.
    ///
    /// An engine with an output beyond its tolerance is not kept and does not run: the backend is passed over, or where it
    /// is [required](Self::require), the call fails. The comparison takes a device that the engine runs on. An engine of the
    /// cache is taken only if it was compared on the same samples with the same options. Backends without entries in the
    /// cache are not compared.
    ///
    /// ```
    /// use accelerant::{HostTensor, OptimizeOptions, verify::VerifyOptions};
    ///
    /// let sample = vec![HostTensor::from(ndarray::Array2::<f32>::ones((1, 64)))];
    /// let options = OptimizeOptions::new().verify_new([sample], VerifyOptions::new().tolerance(1e-3, 1e-2));
    /// ```
    #[must_use]
    pub fn verify_new(
        mut self,
        samples: impl IntoIterator<Item = Vec<HostTensor>>,
        options: VerifyOptions,
    ) -> Self {
        let samples = samples.into_iter().collect();
        self.samples = Some(Arc::new(Samples { samples, options }));
        self
    }

    /// Adds to the [report of the precision](crate::InferenceModule::precision_report) how long each layer takes before and
    /// after, on these inputs, one for each input of the model. TensorRT tells this where a GPU is; elsewhere the report
    /// says why there are no times.
    ///
    /// The model is built twice for this, with and without the precision, beside the engine that runs. By default nothing is
    /// timed.
    ///
    /// ```
    /// use accelerant::{HostTensor, OptimizeOptions, precision::Precision};
    ///
    /// let x = HostTensor::from(ndarray::Array2::<f32>::ones((1, 64)));
    /// let options = OptimizeOptions::new().precision(Precision::Fp16).time_layers([x]);
    /// ```
    #[must_use]
    pub fn time_layers(mut self, inputs: impl IntoIterator<Item = HostTensor>) -> Self {
        self.timed = Some(inputs.into_iter().collect());
        self
    }

    /// Has [`Auto`] choose the precision on samples, each with a tensor for each input of the model: the same for models of
    /// Burn, of Candle and from files. Without ranges of its own, `auto` gets those of the samples, if there are eight or
    /// more. The [report](crate::InferenceModule::report) says what was tried.
    ///
    /// Each compilation chooses anew, which takes minutes for a large model. Where a program starts often, choose once with
    /// [`Auto::run`], and state the [precision](Self::precision).
    ///
    /// ```
    /// use accelerant::{HostTensor, OptimizeOptions, precision::Auto};
    ///
    /// let sample = |x: f32| vec![HostTensor::from(ndarray::Array2::<f32>::from_elem((1, 64), x))];
    /// let samples = (0..16).map(|i| sample(i as f32));
    /// let options = OptimizeOptions::new().auto_precision(Auto::new(0.01), samples);
    /// ```
    #[must_use]
    pub fn auto_precision(
        mut self,
        auto: Auto,
        samples: impl IntoIterator<Item = Vec<HostTensor>>,
    ) -> Self {
        self.choice = Some(Arc::new(Choice { auto, samples: samples.into_iter().collect() }));
        self
    }

    pub(super) fn choice(&self) -> Option<&Choice> {
        self.choice.as_deref()
    }

    pub(super) fn timed_inputs(&self) -> Option<&Arc<[HostTensor]>> {
        self.timed.as_ref()
    }

    pub(super) fn samples(&self) -> Option<&Arc<Samples>> {
        self.samples.as_ref()
    }

    /// The target that a framework's model is exported for. TensorRT's passes come after the cache was asked, since a hit
    /// needs none. A precision is chosen on a graph that passes went over.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn target_of_export(&self, target: Target) -> Target {
        let is_plain = self.export.wanted_precision().is_none() && self.choice.is_none();
        match target.reader() {
            Reader::TensorRt if is_plain => target.before_passes(),
            _ => target,
        }
    }

    pub(crate) fn engine_cache(&self) -> &EngineCache {
        &self.cache
    }

    pub(crate) fn follower(&self) -> Option<Arc<ProgressCallback>> {
        self.progress.0.clone()
    }

    /// Takes down what is done with these options, and knows their limits.
    pub(crate) fn recorder(&self) -> Arc<Recorder> {
        Recorder::new(self.follower(), self.limit.clone(), self.memory)
    }

    pub(crate) fn longest_run(&self) -> Option<Duration> {
        self.run_timeout
    }

    pub(crate) fn keeps_source(&self) -> bool {
        self.keep_source
    }

    pub(crate) fn backends(&self) -> &Registry {
        &self.registry
    }

    pub(crate) fn onnx_path(&self) -> Option<&Path> {
        self.onnx_path.as_deref()
    }

    pub(crate) fn external_threshold(&self) -> Option<usize> {
        self.external
    }

    pub(crate) fn engine_path(&self) -> Option<&Path> {
        self.engine_path.as_deref()
    }
}

/// What an export reads of them.
impl AsRef<ExportOptions> for OptimizeOptions {
    fn as_ref(&self) -> &ExportOptions {
        &self.export
    }
}
