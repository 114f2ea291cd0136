//! NVIDIA TensorRT, in both flavors, as a [`Backend`]: Enterprise TensorRT and TensorRT-RTX.
//!
//! The libraries are loaded when they are first needed. A program that was compiled with this backend starts on machines
//! without the libraries. The backend looks for a library in
//! 1. the folder given to [`TensorRt::rtx_at`] or [`TensorRt::enterprise_at`], else
//! 2. the folder in the environment variable `TENSORRT_RTX_ROOT` or `TENSORRT_ROOT`, else
//! 3. the cache that `accelerant sdk install` fills (`ACCELERANT_CACHE_DIR`, by default
//!    `~/.cache/accelerant`), then where the system finds libraries.
//!
//! The library must have the major and minor version of the headers that this crate was compiled with. Another library is
//! refused, because its C++ interface may differ.
//!
//! TensorRT-RTX builds engines without a GPU. Running needs a GPU, and so does building with Enterprise TensorRT.

mod build;
mod ffi;
mod fingerprint;
mod run;

use std::{path::PathBuf, sync::Arc, time::Instant};

use cudarc::driver::CudaContext;

pub use build::{LayerRanges, Profiles, TensorRtOptions};
pub use ffi::{ProgressEvent, ProgressFn};

pub(crate) use run::captures;

use super::{
    Backend, BackendKind, Engine, EngineMemory, Executable, Fingerprint, LayerTime, TimingFolder,
};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{NodeRefusal, OnnxModel, Target};
use crate::progress::{Phase, phase};
use crate::tensor::HostTensor;
use ffi::{Flavor, Library, device};
use run::{EngineExecutable, LoadedEngine};

/// The compute capability that some layers have forms for.
const HOPPER: u16 = 90;

/// TensorRT, with its options.
///
/// ```
/// use accelerant::{OptimizeOptions, Registry};
/// use accelerant::backend::tensorrt::{TensorRt, TensorRtOptions};
///
/// let options = TensorRtOptions::default().device(0).cuda_graph(true).memory_limit(4 << 30);
/// let tensorrt = TensorRt::rtx().with_options(options);
/// match tensorrt.library_version() {
///     Ok(version) => println!("TensorRT-RTX {version}"),
///     Err(reason) => println!("no TensorRT-RTX: {reason}"),
/// }
///
/// // The module gets TensorRT with these options, or the next backend that works.
/// let options = OptimizeOptions::new().registry(Registry::default().with(tensorrt));
/// ```
#[derive(Clone, Debug)]
pub struct TensorRt {
    flavor: Flavor,
    root: Option<PathBuf>,
    options: TensorRtOptions,
}

impl TensorRt {
    /// TensorRT-RTX, found as the [module](self) tells.
    pub fn rtx() -> Self {
        Self::new(Flavor::Rtx, None)
    }

    /// TensorRT-RTX from the SDK in this folder and from nowhere else.
    pub fn rtx_at(root: impl Into<PathBuf>) -> Self {
        Self::new(Flavor::Rtx, Some(root.into()))
    }

    /// Enterprise TensorRT, found as the [module](self) tells.
    pub fn enterprise() -> Self {
        Self::new(Flavor::Enterprise, None)
    }

    /// Enterprise TensorRT from the SDK in this folder and from nowhere else.
    pub fn enterprise_at(root: impl Into<PathBuf>) -> Self {
        Self::new(Flavor::Enterprise, Some(root.into()))
    }

    fn new(flavor: Flavor, root: Option<PathBuf>) -> Self {
        Self { flavor, root, options: TensorRtOptions::default() }
    }

    /// The same with other options.
    #[must_use]
    pub fn with_options(mut self, options: TensorRtOptions) -> Self {
        self.options = options;
        self
    }

    /// The options.
    pub fn options(&self) -> &TensorRtOptions {
        &self.options
    }

    /// The version of the library, as major.minor.patch.build.
    ///
    /// # Errors
    /// [`ErrorKind::LibraryNotFound`] or [`ErrorKind::VersionMismatch`], with each path tried and
    /// why it was refused.
    pub fn library_version(&self) -> Result<String> {
        Ok(self.library()?.version.to_string())
    }

    /// Checks an engine as far as this machine allows, without running the engine.
    ///
    /// With a GPU, the engine must load and must have the inputs and outputs of its header. Without a GPU, TensorRT-RTX
    /// checks that this version built the engine and that the plan begins as a plan.
    ///
    /// # Errors
    /// As [`load`](Backend::load).
    pub fn validate(&self, engine: &Engine) -> Result<()> {
        let library = self.expect(engine)?;
        match (self.flavor, device::open(self.options.device)) {
            (Flavor::Rtx, Err(_)) => {
                // SAFETY: TensorRT-RTX creates its runtime without a driver.
                let checked = unsafe { run::check_header(&library, engine.plan()) };
                checked.map_err(|e| self.told(e, engine, &library))
            }
            (_, device) => self.open(engine, &library, device?).map(drop),
        }
    }

    /// The layers of an engine as TensorRT lists them, as JSON. [`TensorRtOptions::layer_details`] brings more.
    ///
    /// # Errors
    /// As [`load`](Backend::load).
    pub fn layer_information(&self, engine: &Engine) -> Result<String> {
        let library = self.expect(engine)?;
        self.open(engine, &library, device::open(self.options.device)?)?.layer_information()
    }

    /// The memory that an engine would take on its device with these options. The call loads the engine onto the device,
    /// makes no context, and removes the engine again.
    ///
    /// # Errors
    /// As [`load`](Backend::load), also where the [limit](TensorRtOptions::memory_limit) is too low.
    pub fn memory(&self, engine: &Engine) -> Result<EngineMemory> {
        self.options.check()?;
        let library = self.expect(engine)?;
        let loaded = self.open(engine, &library, device::open(self.options.device)?)?;
        run::memory_with(&loaded, engine, &self.options)
    }

    fn build_with(&self, model: &OnnxModel, folder: Option<&TimingFolder>) -> Result<Engine> {
        let library = self.library()?;
        let device = match (self.flavor, device::open(self.options.device)) {
            (_, Ok(device)) => Some(device),
            (Flavor::Rtx, Err(_)) => None,
            (_, Err(e)) => return Err(e),
        };
        let target = self.built_for(device.as_deref())?;
        let profiles = match &self.options.profiles {
            Some(stated) => stated.clone(),
            None => Profiles::usual(model.signature(), self.is_for_hopper()),
        };
        let timings = build::Timings::of(&library, &self.options, folder)?;
        let timings = timings.as_ref();
        let build = |options| build::build(&library, model, options, &profiles, &target, timings);
        match build(&self.options) {
            // TensorRT-RTX 1.6 runs kernels while it builds such an engine, which no driver for CUDA 13.0 loads.
            Err(e) if self.options.refit && e.kind() == ErrorKind::Build && !e.is_stop() => {
                tracing::warn!(
                    target: "accelerant::tensorrt",
                    "an engine for other weights cannot be built here, one that keeps its weights is: {e}"
                );
                build(&self.options.clone().refit(false))
            }
            built => built,
        }
    }

    fn library(&self) -> Result<Arc<Library>> {
        Library::load(self.flavor, self.root.as_deref())
    }

    /// The library, if it is the one that built this engine, whose plan was built indeed.
    fn expect(&self, engine: &Engine) -> Result<Arc<Library>> {
        let library = self.library()?;
        engine.expect(&self.kind(), &library.version.to_string())?;
        engine.expect_built()?;
        Ok(library)
    }

    /// Deserializes an engine that was [expected](Self::expect), and checks it against its header.
    fn open(
        &self,
        engine: &Engine,
        library: &Library,
        device: Arc<CudaContext>,
    ) -> Result<LoadedEngine> {
        let found = self.built_for(Some(&device))?;
        if self.flavor == Flavor::Enterprise && engine.target() != found {
            let text = format!("the engine was built for {}, found {found}", engine.target());
            return Err(Error::new(ErrorKind::EngineIncompatible, text).in_operation("load engine"));
        }
        // SAFETY: this flavor and version built the plan: this program did, or whoever opened the file or called
        // `assume_built` trusts where it comes from, as both ask for.
        let loaded = unsafe { LoadedEngine::new(library, device, engine.plan()) };
        let loaded = loaded.map_err(|e| self.told(e, engine, library))?;
        loaded.check(engine.signature())?;
        Ok(loaded)
    }

    /// Adds built and found to an error about an engine that does not fit.
    fn told(&self, error: Error, engine: &Engine, library: &Library) -> Error {
        if error.kind() != ErrorKind::EngineIncompatible {
            return error;
        }
        let (built, target) = (engine.library(), engine.target());
        let text = format!("{}; built by {built} for {target}, found {library}", error.message());
        Error::new(error.kind(), text).in_operation("load engine").with_source(error)
    }

    /// Whether an engine built now is one of TensorRT-RTX that runs on compute capability 9.0 next: its builder
    /// has no such target, so that the device at hand tells.
    fn is_for_hopper(&self) -> bool {
        if self.flavor != Flavor::Rtx {
            return false;
        }
        let here = || matches!(device::compute_capability(self.options.device), Ok((9, 0)));
        self.options.compute_capabilities.is_empty() && here()
    }

    /// The oldest compute capability that an engine built now is for, as far as it is known.
    fn oldest_capability(&self) -> Option<u16> {
        if let Some(stated) = self.options.compute_capabilities.iter().min() {
            return Some(*stated);
        }
        let (major, minor) = device::compute_capability(self.options.device).ok()?;
        u16::try_from(10 * major + minor).ok()
    }

    /// What an engine built now is for.
    fn built_for(&self, device: Option<&CudaContext>) -> Result<String> {
        let capabilities = &self.options.compute_capabilities;
        if !capabilities.is_empty() {
            let names: Vec<_> = capabilities.iter().map(|sm| format!("sm_{sm}")).collect();
            return Ok(names.join("+"));
        }
        match (self.flavor, device) {
            (Flavor::Enterprise, Some(device)) => {
                let (major, minor) = device::compute_capability(device.ordinal())?;
                let failed = |e| device::device_error("the device's name cannot be asked", e);
                Ok(format!("sm_{major}{minor} {}", device.name().map_err(failed)?))
            }
            _ => Ok("any".into()),
        }
    }
}

impl Backend for TensorRt {
    fn kind(&self) -> BackendKind {
        self.flavor.kind()
    }

    fn description(&self) -> String {
        match self.library() {
            Ok(library) => library.to_string(),
            Err(_) => format!("{} (its library cannot be loaded)", self.flavor.title()),
        }
    }

    fn target(&self) -> Target {
        let forms = self.options.hopper_forms.unwrap_or_else(|| self.is_for_hopper());
        // Without the forms for it, a model for Hopper is one for any GPU.
        let oldest = || self.oldest_capability().filter(|capability| *capability != HOPPER);
        Target::tensorrt().for_compute_capability(if forms { Some(HOPPER) } else { oldest() })
    }

    fn probe(&self) -> Result<()> {
        self.library()?;
        device::open(self.options.device).map(drop)
    }

    fn check(&self, model: &OnnxModel) -> Result<Option<Vec<NodeRefusal>>> {
        build::check(&*self.library()?, model).map(Some)
    }

    fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        let single_sizes = || self.is_for_hopper();
        fingerprint::of(&*self.library()?, &self.options, single_sizes).map(Some)
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        self.build_with(model, None)
    }

    fn build_timed(&self, model: &OnnxModel, timings: &TimingFolder) -> Result<Engine> {
        self.build_with(model, Some(timings))
    }

    fn time_layers(
        &self,
        model: &OnnxModel,
        inputs: &[HostTensor],
        runs: usize,
    ) -> Result<Vec<LayerTime>> {
        self.probe()?;
        let detailed = self.clone().with_options(self.options.clone().layer_details(true));
        let executable = detailed.load(&detailed.build(model)?)?;
        let device = executable
            .device()
            .ok_or_else(|| Error::new(ErrorKind::Device, "the engine runs on no device"))?;
        device.layer_times(inputs, runs)
    }

    fn refits(&self) -> bool {
        self.options.refit
    }

    fn refit(&self, engine: &Engine, model: &OnnxModel) -> Result<Engine> {
        let library = self.expect(engine)?;
        let start = Instant::now();
        let device = device::open(self.options.device)?;
        let loaded = self.open(engine, &library, device)?;
        let plan = run::refitted(&loaded, model).map_err(|e| e.in_operation("refit"))?;
        Ok(engine.with_plan(plan, start.elapsed()))
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        self.load_on(engine, self.options.device)
    }

    fn devices(&self) -> Result<usize> {
        self.library()?;
        device::count()
    }

    fn load_on(&self, engine: &Engine, ordinal: usize) -> Result<Box<dyn Executable>> {
        self.options.check()?;
        let library = self.expect(engine)?;
        let device = device::open(ordinal)?;
        let mut loaded = self.open(engine, &library, device.clone())?;
        if let Some(budget) = self.options.weight_budget {
            loaded.set_weight_budget(budget)?;
        }
        let made =
            phase(Phase::Kernels, || EngineExecutable::new(loaded, device, engine, &self.options));
        let executable = made.map_err(|e| self.told(e, engine, &library))?;
        Ok(Box::new(executable))
    }
}
