//! What several commands take: backends, precision, cache.

use std::path::PathBuf;

use accelerant::cache::EngineCache;
use accelerant::precision::{Precision, PrecisionOptions, Ranges};
use accelerant::{BackendKind, OptimizeOptions, Registry};
use clap::ValueEnum;

use crate::fail::{Failure, Result};

/// A backend by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// NVIDIA TensorRT-RTX
    #[value(alias = "rtx")]
    TensorrtRtx,
    /// NVIDIA TensorRT, the Enterprise flavor
    #[value(alias = "trt")]
    Tensorrt,
    /// ONNX Runtime on the CPU
    #[value(alias = "onnxruntime")]
    Ort,
    /// tract, in pure Rust, on the CPU
    Tract,
}

impl Name {
    /// The name of a backend, if the command has one for it.
    pub(crate) fn of(kind: &BackendKind) -> Option<Self> {
        Self::value_variants().iter().copied().find(|&name| BackendKind::from(name) == *kind)
    }
}

impl From<Name> for BackendKind {
    fn from(name: Name) -> Self {
        match name {
            Name::TensorrtRtx => Self::TensorRtRtx,
            Name::Tensorrt => Self::TensorRt,
            Name::Ort => Self::Ort,
            Name::Tract => Self::Tract,
        }
    }
}

/// How a model is made ready.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Options {
    /// The precision: fp32, tf32, mixed, fp16, bf16, int4-weights; with --ranges also int8, fp8
    #[arg(long, value_parser = precision)]
    precision: Option<Precision>,
    /// Ranges that a calibration measured on samples and saved
    #[arg(long, value_name = "FILE")]
    ranges: Option<PathBuf>,
    /// As --precision fp16
    #[arg(long, conflicts_with_all = ["precision", "bf16", "no_tf32"])]
    fp16: bool,
    /// As --precision bf16
    #[arg(long, conflicts_with_all = ["precision", "no_tf32"])]
    bf16: bool,
    /// As --precision fp32
    #[arg(
        long = "noTF32",
        alias = "no-tf32",
        conflicts_with = "precision",
        hide_short_help = true
    )]
    no_tf32: bool,
    #[command(flatten)]
    pub(crate) device: Device,
    #[command(flatten)]
    cache: Cache,
}

/// TensorRT's device, and how TensorRT builds for the device.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Device {
    /// TensorRT's CUDA device, counted from 0
    #[arg(long = "device", value_name = "N", default_value_t = 0)]
    pub(crate) ordinal: usize,
    /// Run TensorRT through CUDA graphs
    #[arg(long = "cuda-graph", alias = "useCudaGraph", hide_short_help = true)]
    cuda_graph: bool,
    /// What a new TensorRT engine keeps of its layers for profilers and `inspect --layers`, and what its ranges of NVTX say
    #[arg(
        long = "profiling-verbosity",
        alias = "profilingVerbosity",
        value_name = "WHAT",
        hide_short_help = true
    )]
    verbosity: Option<Verbosity>,
    /// How long TensorRT searches for fast kernels, from 0 to 5
    #[arg(
        long = "optimization-level",
        alias = "builderOptimizationLevel",
        value_name = "LEVEL",
        value_parser = clap::value_parser!(u8).range(0..=5),
        hide_short_help = true
    )]
    optimization_level: Option<u8>,
    /// A file with what Enterprise TensorRT measured while it built, read before a build and added to afterwards; by default
    /// the cache has one
    #[arg(
        long = "timing-cache",
        alias = "timingCacheFile",
        value_name = "FILE",
        hide_short_help = true
    )]
    timing_cache: Option<PathBuf>,
    /// The most memory that a kernel may take on the device while it works, as trtexec has it: workspace:1024 is in MiB, and
    /// workspace:4G takes a unit
    #[arg(
        long = "memPoolSize",
        alias = "mem-pool-size",
        value_name = "SIZE",
        value_parser = workspace,
        hide_short_help = true
    )]
    workspace: Option<u64>,
}

/// The size of trtexec's pool `workspace`, in bytes.
fn workspace(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("`{text}` is no size of a workspace, such as workspace:1024 or workspace:4G");
    let size = text.strip_prefix("workspace:").ok_or_else(wrong)?;
    let is_number = size.ends_with(|last: char| last.is_ascii_digit());
    let size = if is_number { format!("{size}M") } else { size.to_owned() };
    crate::commands::cache::size(&size).ok().filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// What TensorRT tells of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Verbosity {
    /// The names
    #[value(name = "layer_names_only", alias = "names")]
    Names,
    /// The names and the parameters
    Detailed,
    /// Nothing
    None,
}

impl Device {
    /// Warns of what this backend does not use.
    pub(crate) fn say_unused(&self, backend: &BackendKind) {
        if self.timing_cache.is_some() && *backend != BackendKind::TensorRt {
            eprintln!("warning: {backend} measures nothing that a --timing-cache would keep");
        }
        if !matches!(backend, BackendKind::TensorRt | BackendKind::TensorRtRtx) {
            if self.ordinal != 0 {
                let ordinal = self.ordinal;
                eprintln!(
                    "warning: {backend} runs on the CPU, and --device {ordinal} chooses a GPU"
                );
            }
            if self.cuda_graph {
                eprintln!("warning: {backend} runs on the CPU, and --cuda-graph is for a GPU");
            }
        }
    }

    /// The backends, with this device for TensorRT.
    pub(crate) fn registry(&self) -> Registry {
        self.registry_for(1)
    }

    /// The same for so many runs at a time.
    pub(crate) fn registry_for(&self, runs: usize) -> Registry {
        #[allow(unused_mut, reason = "without TensorRT there is nothing to say")]
        let mut registry = Registry::default();
        #[cfg(feature = "_tensorrt")]
        {
            use accelerant::backend::tensorrt::{LayerRanges, TensorRt, TensorRtOptions};
            let mut options = TensorRtOptions::default().device(self.ordinal);
            if self.cuda_graph {
                options = options.cuda_graph(true);
            }
            options = match self.verbosity {
                None => options,
                Some(Verbosity::None) => options.layer_ranges(LayerRanges::Nothing),
                Some(Verbosity::Names) => options.layer_ranges(LayerRanges::Names),
                Some(Verbosity::Detailed) => {
                    options.layer_details(true).layer_ranges(LayerRanges::Details)
                }
            };
            if let Some(level) = self.optimization_level {
                options = options.optimization_level(level);
            }
            if let Some(bytes) = self.workspace {
                options = options.workspace(bytes);
            }
            if let Some(file) = &self.timing_cache {
                options = options.timing_cache(file);
            }
            if runs > 1 {
                options = options.max_contexts(runs);
            }
            if registry.get(&BackendKind::TensorRtRtx).is_ok() {
                registry.push(TensorRt::rtx().with_options(options.clone()));
            }
            if registry.get(&BackendKind::TensorRt).is_ok() {
                registry.push(TensorRt::enterprise().with_options(options));
            }
        }
        #[cfg(not(feature = "_tensorrt"))]
        let _ = runs;
        registry
    }
}

/// Where engines are kept.
#[derive(clap::Args, Clone, Debug, Default)]
pub(crate) struct Cache {
    /// The folder in which engines are kept that were built once; by default the user's
    #[arg(long = "cache", value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Build anew, and keep nothing
    #[arg(long, conflicts_with = "folder")]
    no_cache: bool,
}

impl Cache {
    pub(crate) fn cache(&self) -> EngineCache {
        match (&self.folder, self.no_cache) {
            (_, true) => EngineCache::off(),
            (Some(folder), _) => EngineCache::at(folder),
            (None, _) => EngineCache::new(),
        }
    }
}

impl Options {
    /// The precision that is asked for.
    pub(crate) fn precision(&self) -> Option<Precision> {
        match self {
            Self { fp16: true, .. } => Some(Precision::Fp16),
            Self { bf16: true, .. } => Some(Precision::Bf16),
            Self { no_tf32: true, .. } => Some(Precision::Fp32),
            _ => self.precision,
        }
    }

    /// The library's options, with these backends.
    pub(crate) fn options(
        &self,
        registry: Registry,
        backend: Option<Name>,
    ) -> Result<OptimizeOptions> {
        let registry = match backend {
            Some(name) => registry.require(name.into()),
            None => registry,
        };
        let options = OptimizeOptions::new().registry(registry).cache(self.cache.cache());
        match (self.precision(), &self.ranges) {
            (Some(wanted @ (Precision::Int8 | Precision::Fp8)), None) => Err(Failure::usage(
                format!("{wanted} needs ranges that were measured on samples: --ranges FILE"),
            )),
            (Some(wanted), None) => Ok(options.precision(wanted)),
            (Some(wanted @ (Precision::Fp32 | Precision::Tf32)), Some(_)) => {
                Err(Failure::usage(format!("{wanted} takes no --ranges: no value gets fewer bits")))
            }
            (Some(wanted), Some(path)) => {
                let ranges = Ranges::open(path)?;
                Ok(options.precision(PrecisionOptions::new(wanted).ranges(ranges)))
            }
            (None, Some(_)) => Err(Failure::usage("--ranges takes a --precision")),
            (None, None) => Ok(options),
        }
    }

    /// What says how an engine is built, and so nothing to an engine that is there.
    pub(crate) fn expect_none(&self) -> Result<()> {
        match self.precision() {
            Some(wanted) => Err(Failure::usage(format!(
                "{wanted}: an engine has the precision it was built in"
            ))),
            None => Ok(()),
        }
    }
}

fn precision(name: &str) -> Result<Precision, String> {
    name.parse().map_err(|e: accelerant::Error| e.to_string())
}
