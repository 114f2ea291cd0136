//! Options of TensorRT: how to build, where and how to run. Values only; the files beside know their meaning for the
//! library.

use std::{collections::BTreeMap, fmt, ops::ControlFlow, path::PathBuf, sync::Arc};

use super::profiles::Profiles;
use crate::backend::tensorrt::ffi::{ProgressEvent, ProgressFn};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Signature};

/// How many contexts there are where nobody says so: more were no gain for threads that share one size
/// (`docs/measured/2026-11-comparison-h200.md`), and of sizes that are tuned for, so many at most.
const CONTEXTS: usize = 2;
const MOST_CONTEXTS: usize = 8;

/// Options for building and running with TensorRT.
///
/// ```
/// use accelerant::{OptimizeOptions, backend::tensorrt::TensorRtOptions};
///
/// let tensorrt = TensorRtOptions::default().workspace(1 << 30).tf32(false).cuda_graph(true);
/// let options = OptimizeOptions::new().tensorrt(tensorrt);
/// ```
#[derive(Clone)]
pub struct TensorRtOptions {
    pub(crate) device: usize,
    pub(crate) workspace: Option<u64>,
    pub(crate) optimization_level: Option<u8>,
    pub(crate) aux_streams: Option<u16>,
    pub(crate) tf32: bool,
    pub(crate) layer_details: bool,
    pub(crate) layer_ranges: Option<LayerRanges>,
    pub(crate) compute_capabilities: Vec<u16>,
    pub(crate) timing_cache: Option<PathBuf>,
    pub(crate) runtime_cache: Option<PathBuf>,
    pub(crate) cuda_graph: bool,
    pub(crate) kernel_overlap: Option<bool>,
    pub(crate) isolated_captures: bool,
    pub(crate) hopper_forms: Option<bool>,
    pub(crate) max_contexts: Option<usize>,
    pub(crate) shared_scratch: bool,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) refit: bool,
    pub(crate) weight_streaming: bool,
    pub(crate) weight_budget: Option<u64>,
    pub(crate) profiles: Option<Profiles>,
    pub(crate) profile: Option<String>,
    pub(crate) progress: Option<Arc<ProgressFn>>,
}

/// What TensorRT-RTX 1.6 builds for: its `ComputeCapability`.
const CAPABILITIES: [u16; 6] = [75, 80, 86, 89, 120, 121];

/// The content of TensorRT's profiler ranges of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerRanges {
    /// No ranges of layers.
    Nothing,
    /// The name.
    Names,
    /// The name and the parameters.
    Details,
}

impl LayerRanges {
    /// As `nvinfer1::ProfilingVerbosity` counts; negative for what the engine was built with.
    pub(crate) fn number(ranges: Option<Self>) -> i32 {
        match ranges {
            None => -1,
            Some(Self::Names) => 0,
            Some(Self::Nothing) => 1,
            Some(Self::Details) => 2,
        }
    }
}

impl Default for TensorRtOptions {
    fn default() -> Self {
        Self {
            device: 0,
            workspace: None,
            optimization_level: None,
            aux_streams: None,
            tf32: true,
            layer_details: false,
            layer_ranges: None,
            compute_capabilities: Vec::new(),
            timing_cache: None,
            runtime_cache: None,
            cuda_graph: false,
            kernel_overlap: None,
            isolated_captures: false,
            hopper_forms: None,
            max_contexts: None,
            shared_scratch: false,
            memory_limit: None,
            refit: false,
            weight_streaming: false,
            weight_budget: None,
            profiles: None,
            profile: None,
            progress: None,
        }
    }
}

impl TensorRtOptions {
    /// The defaults: the first device, and the default settings of the library.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the CUDA device, counted from 0. The default is the first device.
    #[must_use]
    pub fn device(mut self, ordinal: usize) -> Self {
        self.device = ordinal;
        self
    }

    /// Limits the scratch memory of a layer, in bytes. By default, a layer can use all memory of the device.
    #[must_use]
    pub fn workspace(mut self, bytes: u64) -> Self {
        self.workspace = Some(bytes);
        self
    }

    /// Sets the builder's optimization level, 0 to 5. The library's default is 3.
    #[must_use]
    pub fn optimization_level(mut self, level: u8) -> Self {
        self.optimization_level = Some(level);
        self
    }

    /// Limits the number of auxiliary streams for independent layers. By default, the library chooses.
    #[must_use]
    pub fn aux_streams(mut self, count: u16) -> Self {
        self.aux_streams = Some(count);
        self
    }

    /// Allows TF32 (10 bits of mantissa) in fp32 matrix multiplications and convolutions. By default, TF32 is allowed.
    ///
    /// On a device of compute capability 9.0, TensorRT-RTX 1.6 used TF32 in spite of this option.
    /// `NVIDIA_TF32_OVERRIDE=0` in the environment of the program disables TF32 there.
    #[must_use]
    pub fn tf32(mut self, allowed: bool) -> Self {
        self.tf32 = allowed;
        self
    }

    /// Sets whether the engine keeps the types, shapes and metadata of its layers, for inspection. By default, the
    /// engine keeps only the names of its layers.
    #[must_use]
    pub fn layer_details(mut self, kept: bool) -> Self {
        self.layer_details = kept;
        self
    }

    /// Sets the content of TensorRT's ranges around each layer, for profilers such as Nsight Systems. By default, the
    /// ranges have the names of the layers, or the details with [`layer_details`](Self::layer_details). The ranges of
    /// an engine without details cannot have details.
    ///
    /// The ranges cost time in each execution, details more than names.
    /// The ranges of this crate, around runs and phases, come with the feature `nvtx`.
    #[must_use]
    pub fn layer_ranges(mut self, ranges: LayerRanges) -> Self {
        self.layer_ranges = Some(ranges);
        self
    }

    /// Sets the compute capabilities to build for, as 10 × major + minor: 75, 80, 86, 89, 120 and 121. Only for
    /// TensorRT-RTX.
    ///
    /// By default, an engine runs on every device that TensorRT-RTX supports. Devices of compute capability 9.0, which
    /// TensorRT-RTX does not officially support, can only run engines with the default.
    #[must_use]
    pub fn compute_capabilities(mut self, capabilities: impl IntoIterator<Item = u16>) -> Self {
        self.compute_capabilities = capabilities.into_iter().collect();
        self
    }

    /// Sets the file for the builder's timings. By default, the file is in the folder of the [cache](crate::cache).
    ///
    /// The builder reads the file if the file exists, and adds its timings after a build. Several processes can use
    /// one file; a lock file with the suffix `.lock` synchronizes them. The timings of another version or GPU are
    /// replaced. TensorRT-RTX measures nothing during a build, and ignores the file.
    ///
    /// Trust the file as a program: TensorRT reads the file without checks.
    #[must_use]
    pub fn timing_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.timing_cache = Some(path.into());
        self
    }

    /// Sets the file for the kernels that are compiled at run time. By default, the file is beside the engine in the
    /// [cache](crate::cache). Only for TensorRT-RTX.
    ///
    /// The file is read when an engine is loaded. The file is written when the first context is created, and when the
    /// engine is dropped. If kernels are compiled immediately, the file is also written after executions with new
    /// shapes. Several processes can use one file; a lock file with the suffix `.lock` synchronizes them. The file is
    /// for one device and driver. The file of another device or driver is replaced.
    ///
    /// Trust the file as a program: TensorRT reads the file without checks.
    #[must_use]
    pub fn runtime_cache(mut self, path: impl Into<PathBuf>) -> Self {
        self.runtime_cache = Some(path.into());
        self
    }

    /// Captures executions as CUDA graphs, which makes small models faster. By default, executions are not captured.
    ///
    /// Addresses are captured when they come for the second time. Each context keeps the graphs of the last 64 sets of
    /// addresses. An execution that cannot be captured runs without a graph.
    /// [`ExecutionCounters`](crate::backend::ExecutionCounters) count both.
    ///
    /// With graphs, TensorRT-RTX compiles the kernels for a new shape before the first execution with the shape, and
    /// not in the background.
    #[must_use]
    pub fn cuda_graph(mut self, captured: bool) -> Self {
        self.cuda_graph = captured;
        self
    }

    /// Allows a kernel to start before the previous kernel ends (programmatic dependent launch). By default, kernels
    /// may overlap, except with TensorRT-RTX on devices of compute capability 9.0.
    ///
    /// TensorRT-RTX 1.6 does not officially support these devices. A kernel on such a device may read memory that the
    /// previous kernel has not written yet. The results are then wrong, and differ from run to run.
    ///
    /// Without overlap, every execution is a CUDA graph, even without [`cuda_graph`](Self::cuda_graph), and the
    /// kernels of the graph wait for each other. The first executions at new addresses use memory of their context. An
    /// engine that waits for the device itself cannot be captured: it runs with overlap, and a warning says so.
    /// Executions with computed output shapes also run with overlap, without a warning.
    #[must_use]
    pub fn kernel_overlap(mut self, allowed: bool) -> Self {
        self.kernel_overlap = Some(allowed);
        self
    }

    /// Captures all CUDA graphs on a stream that other threads cannot disturb. By default, the whole process does so
    /// after the first broken capture.
    ///
    /// A thread breaks a capture if it waits for the whole device: with `cuCtxSynchronize`, or with the first
    /// `new_stream` of cudarc's `CudaContext`. CUDA refuses the thread's call, and driver 580.159 may crash. Make such
    /// calls within [`without_captures`](crate::cuda::without_captures). If you cannot find all such calls, set this
    /// option.
    ///
    /// The capture is then on a stream of a green context, which needs a driver for CUDA 12.5 or newer. The graphs
    /// take 5 µs longer (5 % of a ResNet-50 at batch 1), and a capture for other shapes leaks 0.04 to 0.2 MB of host
    /// memory.
    #[must_use]
    pub fn isolated_captures(mut self, isolated: bool) -> Self {
        self.isolated_captures = isolated;
        self
    }

    /// Exports models with the [forms of layers](crate::export::Target::for_compute_capability) that are faster on
    /// compute capability 9.0. The sizes that the symbols are tuned for decide, and not the
    /// [profiles](Self::profiles). By default, the crate uses these forms for TensorRT-RTX on such a device, unless
    /// the engine is for [other capabilities](Self::compute_capabilities).
    #[must_use]
    pub fn hopper_forms(mut self, written: bool) -> Self {
        self.hopper_forms = Some(written);
        self
    }

    /// Limits the contexts of an engine, and therefore the number of concurrent executions; at least 1. The default is
    /// 2, or one for each size that the model is [tuned for](crate::Symbol::tuned_for), up to 8. Contexts are created
    /// on demand.
    ///
    /// Other executions wait: executions on host tensors block their threads, and executions on the device wait by
    /// events. Each context has its own scratch memory, unless the memory is [shared](Self::shared_scratch). CUDA
    /// graphs belong to one context and its sizes. If a program alternates between sizes, allow a context for each
    /// size.
    #[must_use]
    pub fn max_contexts(mut self, count: usize) -> Self {
        self.max_contexts = Some(count);
        self
    }

    /// Shares one scratch memory among all contexts of the engine. By default, each context has its own scratch
    /// memory.
    ///
    /// With shared memory, executions run one after another on the device. Several contexts still keep the shapes and
    /// CUDA graphs of several streams.
    #[must_use]
    pub fn shared_scratch(mut self, shared: bool) -> Self {
        self.shared_scratch = shared;
        self
    }

    /// Sets the optimization profiles. By default, there is one profile for each size that a symbol is [tuned
    /// for](crate::Symbol::tuned_for), and one profile for the whole range of each symbol.
    ///
    /// On compute capability 9.0, profiles for [single sizes](Profiles::sizes) are up to twice as fast. By default, an
    /// engine of TensorRT-RTX for such a device has two more profiles: one for the optimal size of each symbol without
    /// tuned sizes, and one for the smallest size of the first axis.
    #[must_use]
    pub fn profiles(mut self, profiles: Profiles) -> Self {
        self.profiles = Some(profiles);
        self
    }

    /// Runs only with the profile of this [name](Profiles::named). The module's signature then has the ranges of the
    /// profile. By default, a run uses the first profile that contains its sizes.
    /// [`InferenceModule::for_profile`](crate::InferenceModule::for_profile) returns a module for one profile.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Limits the device memory of weights and contexts, in bytes. If the limit is too small for all contexts, the
    /// module creates fewer contexts. An engine that exceeds the limit with one context is refused. By default, there
    /// is no limit.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Builds an engine whose weights [`refit_from`](crate::InferenceModule::refit_from) can replace without another
    /// build. Such an engine can be slower, because the builder cannot precompute with its weights. The build needs a
    /// GPU. If the library cannot build such an engine, as TensorRT-RTX 1.6 on driver 580, the crate builds an engine
    /// that keeps its weights, with a warning. By default, the weights are fixed.
    #[must_use]
    pub fn refit(mut self, allowed: bool) -> Self {
        self.refit = allowed;
        self
    }

    /// Allows weights to stay in host memory and to go to the device in each execution, for models that are larger
    /// than the device memory. [`weight_budget`](Self::weight_budget) sets the amount. By default, all weights are on
    /// the device.
    #[must_use]
    pub fn weight_streaming(mut self, allowed: bool) -> Self {
        self.weight_streaming = allowed;
        self
    }

    /// Limits the bytes of [streamed](Self::weight_streaming) weights on the device. By default, all of them are on
    /// the device. An execution takes longer by the time of copying the other weights.
    #[must_use]
    pub fn weight_budget(mut self, bytes: u64) -> Self {
        self.weight_budget = Some(bytes);
        self
    }

    /// Sets a callback for the progress of a build, which can stop the build. Threads of the library call the
    /// callback.
    #[must_use]
    pub fn progress(
        mut self,
        callback: impl Fn(ProgressEvent<'_>) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> Self {
        self.progress = Some(Arc::new(callback));
        self
    }

    /// The most contexts for a model.
    pub(crate) fn contexts(&self, signature: &Signature) -> usize {
        let dims = signature.inputs.iter().flat_map(|spec| spec.shape.dims());
        let symbols: BTreeMap<&str, usize> =
            dims.filter_map(Dim::symbol).map(|s| (s.name(), s.sizes().len().max(1))).collect();
        let stated =
            symbols.values().fold(1, |product: usize, &sizes| product.saturating_mul(sizes));
        self.max_contexts.unwrap_or(stated.clamp(CONTEXTS, MOST_CONTEXTS))
    }

    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |text: String| {
            Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("TensorRT options"))
        };
        if let Some(level @ 6..) = self.optimization_level {
            return invalid(format!("optimization level {level} is not in 0..=5"));
        }
        if self.workspace == Some(0) {
            return invalid("a workspace of 0 bytes leaves no room for any layer".into());
        }
        if self.max_contexts == Some(0) {
            return invalid("at least one context is needed, got a maximum of 0".into());
        }
        Ok(())
    }

    /// The library names a number that it does not know, but not those that it does.
    pub(crate) fn check_compute_capabilities(&self) -> Result<()> {
        let unknown = self.compute_capabilities.iter().find(|sm| !CAPABILITIES.contains(sm));
        let Some(unknown) = unknown else { return Ok(()) };
        let text = format!(
            "TensorRT-RTX builds for compute capabilities {CAPABILITIES:?}, not for {unknown} (10 times \
             the major number and the minor one); without any its engines run on every device that it can run on"
        );
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("TensorRT options"))
    }
}

impl fmt::Debug for TensorRtOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TensorRtOptions")
            .field("device", &self.device)
            .field("workspace", &self.workspace)
            .field("optimization_level", &self.optimization_level)
            .field("aux_streams", &self.aux_streams)
            .field("tf32", &self.tf32)
            .field("layer_details", &self.layer_details)
            .field("layer_ranges", &self.layer_ranges)
            .field("compute_capabilities", &self.compute_capabilities)
            .field("timing_cache", &self.timing_cache)
            .field("runtime_cache", &self.runtime_cache)
            .field("cuda_graph", &self.cuda_graph)
            .field("kernel_overlap", &self.kernel_overlap)
            .field("isolated_captures", &self.isolated_captures)
            .field("hopper_forms", &self.hopper_forms)
            .field("max_contexts", &self.max_contexts)
            .field("shared_scratch", &self.shared_scratch)
            .field("profiles", &self.profiles)
            .field("profile", &self.profile)
            .field("memory_limit", &self.memory_limit)
            .field("progress", &self.progress.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{DType, TensorSpec};

    #[test]
    fn sizes_that_are_tuned_for_have_a_context_each() {
        let symbol = |name: &str, sizes: &[usize]| {
            let dim = Dim::dynamic(name, 1..=64).unwrap();
            if sizes.is_empty() { dim } else { dim.tuned_for(sizes.iter().copied()).unwrap() }
        };
        let contexts = |options: &TensorRtOptions, batch: &[usize], length: &[usize]| {
            let dims = [symbol("batch", batch), symbol("length", length)];
            let spec = |name: &str| TensorSpec::new(name, DType::F32, dims.clone());
            let inputs = vec![spec("tokens"), spec("mask")];
            options.contexts(&Signature { inputs, outputs: Vec::new() })
        };
        let usual = TensorRtOptions::default();
        assert_eq!(contexts(&usual, &[], &[]), 2);
        assert_eq!(contexts(&usual, &[8], &[]), 2);
        assert_eq!(contexts(&usual, &[1, 8, 32], &[]), 3);
        assert_eq!(contexts(&usual, &[1, 8, 32], &[16, 64]), 6);
        assert_eq!(contexts(&usual, &[1, 2, 4, 8, 32], &[16, 64]), 8);
        assert_eq!(contexts(&usual.max_contexts(1), &[1, 8, 32], &[]), 1);
    }
}
