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

/// The options of `.optimize_trt_with(…)`: the options of the [export](ExportOptions), of the backends, and of the
/// files to write.
///
/// The options of an export are only for models of Burn and Candle.
/// [`InferenceModule::compile`](crate::InferenceModule::compile) refuses these options, because an ONNX model already
/// has its names and sizes.
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
    /// The defaults: the shapes of the example, the first backend that works, and no files.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets all options of the export at once.
    #[must_use]
    pub fn export(mut self, options: ExportOptions) -> Self {
        self.export = options;
        self
    }

    /// Requires a backend, and forbids all other backends.
    #[must_use]
    pub fn require(mut self, kind: BackendKind) -> Self {
        self.registry = self.registry.require(kind);
        self
    }

    /// Sets the options of TensorRT, for both flavors: the device, CUDA graphs, profiles, limits. The order of the
    /// backends stays the same.
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

    /// Chooses among the backends of `registry` instead of the [default backends](Registry::default). Use a registry
    /// for your own backend, for another order, or for a library in another folder. The options of TensorRT then come
    /// from the backends of the registry. A [required](Self::require) backend stays required.
    #[must_use]
    pub fn registry(mut self, registry: Registry) -> Self {
        let required = self.registry.required().cloned();
        self.registry = match (registry.required(), required) {
            (None, Some(required)) => registry.require(required),
            _ => registry,
        };
        self
    }

    /// Writes the exported model to a file. The file is either complete or not written.
    #[must_use]
    pub fn save_onnx(mut self, path: impl AsRef<Path>) -> Self {
        self.onnx_path = Some(path.as_ref().to_owned());
        self
    }

    /// Writes weights of at least `threshold` bytes to a second file beside the [model's file](Self::save_onnx). By
    /// default, only models of 2 GiB or more get a second file.
    #[must_use]
    pub fn external_weights(mut self, threshold: usize) -> Self {
        self.external = Some(threshold);
        self
    }

    /// Writes a TensorRT engine to a file. The file is either complete or not written.
    ///
    /// The engine is built even if no device of this machine can run the engine. The [required](Self::require) flavor
    /// builds the engine, or else TensorRT-RTX, or else TensorRT. If no flavor can build, the optimization returns an
    /// error of the kind [`NoBackend`](crate::ErrorKind::NoBackend).
    #[must_use]
    pub fn save_engine(mut self, path: impl AsRef<Path>) -> Self {
        self.engine_path = Some(path.as_ref().to_owned());
        self
    }

    /// Sets the engine cache: a folder, an [`EngineCache`] with a size limit, or [`EngineCache::off`]. By default, the
    /// cache is in the user's cache folder. Backends that build as fast as they load, such as tract, have no entries.
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

    /// Sets a callback for the progress of the work. If the callback returns [`ControlFlow::Break`], the compilation
    /// stops at the next step of the backend, with an error of the kind [`Cancelled`](crate::ErrorKind::Cancelled).
    /// Threads of the backend's library may call the callback.
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

    /// Limits the time of the compilation. When the limit is over or cancelled, the compilation returns an error of
    /// the kind [`TimedOut`](crate::ErrorKind::TimedOut) or [`Cancelled`](crate::ErrorKind::Cancelled), and tries no
    /// other backend. The crate checks the limit between the phases. Within a phase, TensorRT's builder and ONNX
    /// Runtime check the limit, and tract checks the limit between its four steps. By default there is no limit.
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

    /// Limits the time of each run on host tensors, also of [submitted](crate::InferenceModule::submit) runs and runs
    /// in a [batcher](crate::serving::Batcher). A run that takes longer returns an error of the kind
    /// [`TimedOut`](crate::ErrorKind::TimedOut). [`TimeLimit`] says which work can be stopped.
    /// [`run_within`](crate::InferenceModule::run_within) uses its own limit instead. By default there is no limit.
    #[must_use]
    pub fn run_timeout(mut self, time: Duration) -> Self {
        self.run_timeout = Some(time);
        self
    }

    /// Limits the bytes of all values that a run on a portable backend holds at the same time. A model or a run that
    /// needs more returns an error that names the node. The crate counts known sizes before the run, without the
    /// weights and the scratch memory of a node. tract counts the other sizes during the run. ONNX Runtime takes its
    /// memory from an arena of twice the limit plus four times the bytes of the weights. If the arena is too small,
    /// the run returns an error.
    ///
    /// The default limit is the sum of 4 GiB, 64 times the bytes of the weights, and 256 times the bytes of the
    /// inputs. On ONNX Runtime, a model has such an arena by default if some sizes are known only during a run. Inputs
    /// count up to 16 MiB for the arena.
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

    /// Sets whether the module keeps its source model. [`InferenceModule::verify`](crate::InferenceModule::verify)
    /// needs the source model. The source model takes host memory for its weights. By default, the module does not
    /// keep the source model.
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

    /// Verifies each new engine against its model on another backend, before the engine goes to the cache or to a
    /// [file](Self::save_engine). Each sample has a tensor for each input, in order. By default, engines are not
    /// verified.
    ///
    /// If an output is beyond its tolerance, the engine is not kept and does not run. The crate then skips the
    /// backend, or returns an error if the backend is [required](Self::require). The verification needs a device that
    /// can run the engine. An engine from the cache is used only if it was verified on the same samples with the same
    /// options. Backends without cache entries are not verified.
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

    /// Adds the time of each layer, with and without the precision, to the [precision
    /// report](crate::InferenceModule::precision_report). `inputs` has one tensor for each input of the model. The
    /// times need TensorRT on a GPU; otherwise the report says why the times are missing.
    ///
    /// For the times, the model is built twice, with and without the precision, in addition to the engine that runs.
    /// By default, layers are not timed.
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

    /// Lets [`Auto`] choose the precision on samples, for models of Burn, of Candle and from files. Each sample has a
    /// tensor for each input of the model. If `auto` has no ranges, eight samples or more give the ranges. The
    /// [report](crate::InferenceModule::report) lists the precisions that were tried.
    ///
    /// Every compilation chooses again, which takes minutes for a large model. In a program that starts often, choose
    /// once with [`Auto::run`], and then state the [precision](Self::precision).
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
