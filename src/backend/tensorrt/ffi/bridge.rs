//! The only bridge to C++: the classes of `cpp/api.h`, the structs that cross the border, and what
//! C++ calls back. Everything safe is built upon it in the files beside; nothing else calls it.

use super::log::{log_enabled, log_message, note_cuda_error};
use super::outputs::OutputMemory;
use super::progress::Progress;

pub(crate) use bridge::*;

// The macro makes everything `pub` and repeats the safety sections elsewhere.
#[allow(
    unreachable_pub,
    missing_docs,
    clippy::module_inception,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc
)]
#[cxx::bridge(namespace = "accelerant")]
mod bridge {
    /// Which TensorRT.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    enum Flavor {
        Rtx,
        Enterprise,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Version {
        major: u32,
        minor: u32,
        patch: u32,
        build: u32,
    }

    /// An error of the ONNX parser; `index` is the node's place in the graph.
    #[derive(Clone, Debug)]
    struct ParserError {
        code: i32,
        description: String,
        node: String,
        index: i32,
        operator_type: String,
        file: String,
        line: i32,
        function: String,
    }

    /// An input or output. `dtype` is TensorRT's number, a size of -1 is dynamic.
    #[derive(Clone, Debug)]
    struct TensorInfo {
        name: String,
        input: bool,
        dtype: i32,
        dims: Vec<i64>,
        on_host: bool,
        /// The input whose memory an output of an engine must be given, empty for one with memory of its own.
        aliased: String,
    }

    /// How long a layer took in one execution, in milliseconds.
    #[derive(Clone, Debug)]
    struct LayerTime {
        name: String,
        ms: f32,
    }

    /// The range of an input's sizes, or of its values where they decide shapes.
    #[derive(Clone, Debug)]
    struct ProfileShape {
        name: String,
        of_values: bool,
        min: Vec<i64>,
        opt: Vec<i64>,
        max: Vec<i64>,
    }

    /// `workspace` in bytes, 0 for the library's default; -1 in the others likewise.
    #[derive(Clone, Debug)]
    struct BuildOptions {
        workspace: u64,
        optimization_level: i32,
        aux_streams: i32,
        tf32: bool,
        detailed: bool,
        refit: bool,
        weight_streaming: bool,
        compute_capabilities: Vec<i32>,
        use_timing_cache: bool,
        timing_cache: Vec<u8>,
    }

    /// `runtime_cache` are kernels compiled earlier, empty if there are none. `tensors` are the
    /// names of all inputs, of which there are `inputs`, and outputs, as later calls count them.
    /// `eager` compiles kernels for new shapes at once. With `user_scratch`, scratch memory is not
    /// allocated but at `scratch`, `scratch_size` bytes of it. `layer_ranges` is a `ProfilingVerbosity`, or
    /// negative for that of the engine.
    #[derive(Clone, Debug)]
    struct ContextOptions {
        tensors: Vec<String>,
        inputs: usize,
        eager: bool,
        use_runtime_cache: bool,
        runtime_cache: Vec<u8>,
        user_scratch: bool,
        scratch: u64,
        scratch_size: u64,
        layer_ranges: i32,
    }

    extern "Rust" {
        type Progress;

        fn phase_started(self: &Progress, phase: &str, parent: &str, steps: i32);
        fn step_finished(self: &Progress, phase: &str, step: i32) -> bool;
        fn phase_finished(self: &Progress, phase: &str);
        type OutputMemory<'a>;

        fn reserve(self: &mut OutputMemory<'_>, output: usize, size: u64, alignment: u64) -> u64;
        fn shape_known(self: &mut OutputMemory<'_>, output: usize, sizes: &[i64]);

        fn note_cuda_error(number: i32);

        fn log_enabled(severity: i32) -> bool;
        fn log_message(severity: i32, text: &str);
    }

    unsafe extern "C++" {
        include!("accelerant/cpp/api.h");

        type HostMemory;
        fn bytes(self: &HostMemory) -> &[u8];

        type Builder;
        fn load_model(self: Pin<&mut Builder>, model: &[u8]) -> Result<()>;
        /// # Safety
        /// `data` must be valid for reads of `size` bytes as long as the builder lives.
        unsafe fn load_weights(
            self: Pin<&mut Builder>,
            name: &str,
            data: *const u8,
            size: usize,
        ) -> Result<()>;
        fn parse(self: Pin<&mut Builder>) -> Result<()>;
        fn parser_errors(self: &Builder) -> Result<Vec<ParserError>>;
        fn tensors(self: &Builder) -> Result<Vec<TensorInfo>>;
        fn add_profile(self: Pin<&mut Builder>, shapes: &[ProfileShape]) -> Result<()>;
        fn build(
            self: Pin<&mut Builder>,
            options: &BuildOptions,
            progress: &Progress,
        ) -> Result<UniquePtr<HostMemory>>;
        fn timing_cache(self: &Builder, others: &[u8]) -> Result<UniquePtr<HostMemory>>;

        type Refitter;
        fn load_model(self: Pin<&mut Refitter>, model: &[u8]) -> Result<()>;
        /// # Safety
        /// `data` must be valid for reads of `size` bytes as long as the refitter lives.
        unsafe fn load_weights(
            self: Pin<&mut Refitter>,
            name: &str,
            data: *const u8,
            size: usize,
        ) -> Result<()>;
        /// # Safety
        /// The engine must have no context.
        unsafe fn refit(self: Pin<&mut Refitter>) -> Result<()>;
        fn parser_errors(self: &Refitter) -> Result<Vec<ParserError>>;

        type Context;
        /// # Safety
        /// `stream` must be a live stream of the current device.
        unsafe fn set_profile(self: Pin<&mut Context>, index: i32, stream: usize) -> Result<()>;
        fn set_serial(self: Pin<&mut Context>) -> Result<()>;
        fn set_timed(self: Pin<&mut Context>) -> Result<()>;
        fn take_times(self: Pin<&mut Context>) -> Result<Vec<LayerTime>>;
        /// # Safety
        /// No execution may be pending that was given other values.
        unsafe fn set_shapes(
            self: Pin<&mut Context>,
            inputs: &[i64],
            values: &[i64],
            outputs: &mut [i64],
        ) -> Result<()>;
        /// # Safety
        /// Every address must be device memory large enough for its tensor with the shapes set,
        /// `stream` a live stream of the current device, and all of it must stay so until the
        /// stream is done. Nothing that is pending may use the memory of `computed`.
        unsafe fn enqueue(
            self: Pin<&mut Context>,
            addresses: &[u64],
            computed: &mut OutputMemory<'_>,
            stream: usize,
        ) -> Result<()>;
        fn kernels(self: &Context) -> Result<UniquePtr<HostMemory>>;
        /// # Safety
        /// No execution may be pending, and nothing else may be called afterwards.
        unsafe fn finish(self: Pin<&mut Context>) -> Result<UniquePtr<HostMemory>>;

        type Engine;
        fn tensors(self: &Engine) -> Result<Vec<TensorInfo>>;
        fn profile_count(self: &Engine) -> i32;
        fn profile_shape(
            self: &Engine,
            input: &str,
            profile: i32,
            of_values: bool,
        ) -> Result<ProfileShape>;
        fn device_memory_size(self: &Engine) -> i64;
        fn weights_size(self: &Engine) -> i64;
        fn layer_information(self: &Engine) -> Result<String>;
        fn is_refittable(self: &Engine) -> bool;
        fn create_refitter(self: &Engine) -> Result<UniquePtr<Refitter>>;
        fn serialize(self: &Engine) -> Result<UniquePtr<HostMemory>>;
        fn streamable_weights(self: &Engine) -> i64;
        /// # Safety
        /// The engine must have no context.
        unsafe fn set_weight_budget(self: &Engine, bytes: i64) -> Result<()>;
        /// # Safety
        /// Scratch memory that is given must be memory of the engine's device of this size that
        /// outlives the context; it must be used by one execution at a time.
        unsafe fn create_context(
            self: &Engine,
            options: &ContextOptions,
        ) -> Result<UniquePtr<Context>>;
        fn merge_kernels(
            self: &Engine,
            kept: &[u8],
            compiled: &[u8],
        ) -> Result<UniquePtr<HostMemory>>;

        type Runtime;
        fn invalidity(self: &Runtime, plan: &[u8]) -> Result<u64>;
        /// # Safety
        /// `plan` must be bytes that this flavor built: the library does not check all it reads.
        unsafe fn deserialize(self: &Runtime, plan: &[u8]) -> Result<SharedPtr<Engine>>;

        type Library;
        fn path(self: &Library) -> Result<String>;
        fn version(self: &Library) -> Version;
        fn builder_problem(self: &Library) -> Result<String>;
        fn create_builder(self: &Library) -> Result<UniquePtr<Builder>>;
        /// # Safety
        /// The library must have the version of the headers and, for the Enterprise flavor, the
        /// CUDA driver must have been initialized.
        unsafe fn create_runtime(self: &Library) -> Result<SharedPtr<Runtime>>;

        /// # Safety
        /// Runs the initializers of the libraries named.
        unsafe fn open_library(
            flavor: Flavor,
            core: &str,
            parser: &str,
        ) -> Result<SharedPtr<Library>>;
        fn header_version(flavor: Flavor) -> Result<Version>;
        /// # Safety
        /// Runs the initializers of the library named.
        unsafe fn load_problem(name: &str) -> Result<String>;
    }
}

// SAFETY: plain memory, only read after it was made.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}
// SAFETY: entry points and constants; TensorRT's create functions may be called from any thread.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}
// SAFETY: bound to no thread; the C++ class guards its calls with a mutex.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}
// SAFETY: bound to no thread. TensorRT documents an engine's getters as callable from several
// threads at once ("Thread Safety" in its developer guide); the C++ class guards what changes it.
unsafe impl Send for Engine {}
// SAFETY: as above.
unsafe impl Sync for Engine {}
// SAFETY: bound to no thread, and its methods that change it take `&mut`. Not `Sync`: TensorRT
// allows one thread at a time.
unsafe impl Send for Context {}
