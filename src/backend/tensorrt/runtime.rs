//! Safe owners of a deserialized engine and of its contexts, bound to a device, and how TensorRT's
//! element types map to this crate's. No buffers and no scheduling: those are the executable's.

use std::{fmt, sync::Arc};

use cudarc::driver::CudaContext;
use cxx::{SharedPtr, UniquePtr};

use super::builder::sides;
use super::captures::loading;
use super::computed::OutputMemory;
use super::device;
use super::ffi::{self, TensorInfo};
use super::library::Library;
use super::ranges::{Range, Ranges};
use super::values;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Dim, Signature, TensorSpec};

/// The element type with TensorRT's number (`nvinfer1::DataType`), if this crate has it.
pub(super) fn dtype_from_tensorrt(number: i32) -> Option<DType> {
    Some(match number {
        0 => DType::F32,
        1 => DType::F16,
        2 => DType::I8,
        3 => DType::I32,
        4 => DType::Bool,
        5 => DType::U8,
        7 => DType::BF16,
        8 => DType::I64,
        _ => return None,
    })
}

/// The name of TensorRT's element type, for people.
pub(super) fn dtype_name(number: i32) -> String {
    match (dtype_from_tensorrt(number), number) {
        (Some(dtype), _) => dtype.to_string(),
        (None, 6) => "fp8".into(),
        (None, 9) => "int4".into(),
        (None, 10) => "fp4".into(),
        (None, 11) => "e8m0".into(),
        (None, _) => format!("type {number}"),
    }
}

/// Checks what the library reads of a plan without a device: the header that it wrote.
///
/// # Errors
/// As [`LoadedEngine::new`], but for what is of devices.
///
/// # Safety
/// The library must create its runtime without a driver.
pub(super) unsafe fn check_header(library: &Library, plan: &[u8]) -> Result<()> {
    // SAFETY: the caller's promise.
    let runtime = unsafe { library.create_runtime() }?;
    Invalidity::of(&runtime, plan)?.check_bytes()
}

/// A deserialized engine on its device.
pub(crate) struct LoadedEngine {
    engine: SharedPtr<ffi::Engine>,
    device: Arc<CudaContext>,
}

impl LoadedEngine {
    /// Deserializes a plan.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`], [`ErrorKind::EngineCorrupt`] or [`ErrorKind::Device`], as
    /// the library tells.
    ///
    /// # Safety
    /// `plan` must be bytes that the library's flavor built.
    pub(super) unsafe fn new(
        library: &Library,
        device: Arc<CudaContext>,
        plan: &[u8],
    ) -> Result<Self> {
        device::bind(&device)?;
        let _loading = loading();
        // SAFETY: the driver was initialized for the device.
        let runtime = unsafe { library.create_runtime() }?;
        let invalidity = Invalidity::of(&runtime, plan)?;
        invalidity.check_bytes()?;
        // SAFETY: the caller's promise.
        let engine = unsafe { runtime.deserialize(plan) };
        let engine = engine.map_err(|e| invalidity.explain(not_deserialized(&e)))?;
        Ok(Self { engine, device })
    }

    /// Checks that the engine has the inputs and outputs of `signature`.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`], naming the tensor.
    pub(super) fn check(&self, signature: &Signature) -> Result<()> {
        let corrupt = |text: String| Error::new(ErrorKind::EngineCorrupt, text);
        let tensors = self.engine.tensors().map_err(|e| corrupt(e.what().into()))?;
        let (stated, found) = (signature.inputs.len() + signature.outputs.len(), tensors.len());
        if stated != found {
            return Err(corrupt(format!(
                "the engine has {found} inputs and outputs, its header {stated}"
            )));
        }
        for (spec, input) in sides(signature) {
            let Some(tensor) = tensors.iter().find(|t| t.name == spec.name && t.input == input)
            else {
                return Err(
                    corrupt("the engine has no such input or output".into()).on_tensor(&spec.name)
                );
            };
            if !agrees(spec, tensor) {
                let (dtype, dims) = (dtype_name(tensor.dtype), &tensor.dims);
                let text = format!(
                    "the engine has {dtype} {dims:?}, its header {} {}",
                    spec.dtype, spec.shape
                );
                return Err(corrupt(text).on_tensor(&spec.name));
            }
            match (tensor.on_host, input) {
                (true, true) => values::check(spec)?,
                (true, false) => {
                    let text = "TensorRT gives this output in host memory, which is not supported";
                    return Err(
                        Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(&spec.name)
                    );
                }
                (false, _) => {}
            }
        }
        self.ranges(signature, &self.deciding(signature)?).map(drop)
    }

    /// The places of the inputs whose values decide shapes.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`] with the library's words.
    pub(super) fn deciding(&self, signature: &Signature) -> Result<Vec<usize>> {
        let tensors = self.engine.tensors().map_err(|e| {
            Error::new(ErrorKind::EngineCorrupt, e.what()).in_operation("load engine")
        })?;
        let on_host = |spec: &TensorSpec| {
            tensors.iter().any(|tensor| tensor.input && tensor.on_host && tensor.name == spec.name)
        };
        let inputs = signature.inputs.iter().enumerate();
        Ok(inputs.filter(|(_, spec)| on_host(spec)).map(|(i, _)| i).collect())
    }

    /// The engine's optimization profiles. The sizes must be the range that the header states or, where
    /// there are several, lie in it.
    ///
    /// # Errors
    /// [`ErrorKind::EngineCorrupt`], naming the tensor.
    pub(super) fn ranges(&self, signature: &Signature, deciding: &[usize]) -> Result<Ranges> {
        let mut ranges = Ranges::default();
        let dynamic = signature.inputs.iter().any(|spec| spec.shape.is_dynamic());
        if !dynamic && deciding.is_empty() {
            return Ok(ranges);
        }
        let count = self.profile_count();
        for profile in 0..count {
            let mut all = Range::default();
            let [all_min, all_max] = &mut all.sizes;
            for spec in &signature.inputs {
                let [min, _, max] = spec.shape.profile();
                let (min, max) = match spec.shape.is_dynamic() {
                    true => self.range(spec, profile, (min, max), count == 1)?,
                    false => (min, max),
                };
                all_min.extend(min);
                all_max.extend(max);
            }
            let [all_min, all_max] = &mut all.values;
            for &i in deciding {
                let name = &signature.inputs[i].name;
                let range = self.engine.profile_shape(name, profile as i32, true);
                let range = range
                    .map_err(|e| Error::new(ErrorKind::EngineCorrupt, e.what()).on_tensor(name))?;
                all_min.extend(range.min);
                all_max.extend(range.max);
            }
            ranges.push(all);
        }
        Ok(ranges)
    }

    /// The range of an input in a profile, which must be in the one that is stated, or just that.
    fn range(
        &self,
        spec: &TensorSpec,
        profile: usize,
        (min, max): (Vec<usize>, Vec<usize>),
        exactly: bool,
    ) -> Result<(Vec<usize>, Vec<usize>)> {
        let corrupt =
            |text: String| Error::new(ErrorKind::EngineCorrupt, text).on_tensor(&spec.name);
        let shape = self.engine.profile_shape(&spec.name, profile as i32, false);
        let shape = shape.map_err(|e| corrupt(e.what().into()))?;
        let sizes = |built: &[i64]| -> Vec<usize> {
            built.iter().map(|&size| usize::try_from(size).unwrap_or(usize::MAX)).collect()
        };
        let (least, most) = (sizes(&shape.min), sizes(&shape.max));
        let within = least.len() == min.len()
            && most.len() == max.len()
            && min.iter().zip(&least).all(|(stated, built)| stated <= built)
            && max.iter().zip(&most).all(|(stated, built)| stated >= built);
        if !within || (exactly && (least != min || most != max)) {
            return Err(corrupt(format!(
                "the engine takes {least:?} to {most:?}, its header {min:?} to {max:?}"
            )));
        }
        Ok((least, most))
    }

    /// A new context.
    ///
    /// # Errors
    /// [`ErrorKind::EngineIncompatible`] when this device cannot run the engine,
    /// [`ErrorKind::Device`] when it fails or its memory is full.
    ///
    /// # Safety
    /// Scratch memory that is given must be memory of this device of the size told, which outlives the
    /// context and is used by one execution at a time.
    pub(super) unsafe fn create_context(&self, options: &ffi::ContextOptions) -> Result<Context> {
        device::bind(&self.device)?;
        // SAFETY: the caller's promise.
        let context = unsafe { self.engine.create_context(options) }.map_err(|e| {
            failure(&e, ErrorKind::EngineIncompatible).in_operation("create context")
        })?;
        Ok(Context { context, device: self.device.clone(), serial: false })
    }

    /// Kernels that were kept and those that a context compiled, together; `None` where the first are of another
    /// machine.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(super) fn merge_kernels(
        &self,
        kept: &[u8],
        compiled: &[u8],
    ) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        device::bind(&self.device)?;
        let _loading = loading();
        let both = self.engine.merge_kernels(kept, compiled).map_err(|e| execution(&e))?;
        Ok((!both.is_null()).then_some(both))
    }

    /// How many optimization profiles it was built with.
    pub(crate) fn profile_count(&self) -> usize {
        self.engine.profile_count().max(0) as usize
    }

    /// Scratch memory of one context in bytes.
    pub(crate) fn scratch_bytes(&self) -> usize {
        self.engine.device_memory_size().max(0) as usize
    }

    /// All weights in bytes; 0 where the library does not tell.
    pub(crate) fn weight_bytes(&self) -> usize {
        self.engine.weights_size().max(0) as usize
    }

    /// What the library tells of its layers, as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn layer_information(&self) -> Result<String> {
        self.engine.layer_information().map_err(|e| execution(&e))
    }
}

impl Drop for LoadedEngine {
    fn drop(&mut self) {
        // The library frees memory of the current device.
        let _ = self.device.bind_to_thread();
        let _loading = loading();
        self.engine = SharedPtr::null();
    }
}

impl fmt::Debug for LoadedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedEngine")
            .field("scratch_bytes", &self.scratch_bytes())
            .finish_non_exhaustive()
    }
}

/// The size of an output where it is computed.
pub(super) const COMPUTED: usize = usize::MAX;

/// One execution of an engine at a time, on addresses and a stream that the caller gives.
pub(crate) struct Context {
    context: UniquePtr<ffi::Context>,
    device: Arc<CudaContext>,
    serial: bool,
}

impl Context {
    /// Has each kernel of later executions wait for the end of the one before, also where it was launched to start
    /// earlier. Executions take longer then, and cannot be captured.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when the library refuses.
    pub(super) fn set_serial(&mut self) -> Result<()> {
        let _loading = loading();
        self.context.pin_mut().set_serial().map_err(|e| execution(&e))?;
        self.serial = true;
        Ok(())
    }

    pub(super) fn is_serial(&self) -> bool {
        self.serial
    }

    /// Chooses an optimization profile, counted from 0, which forgets the shapes set before. It
    /// holds when `stream`, a raw `CUstream`, has come to it.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when the engine has no such profile.
    ///
    /// # Safety
    /// `stream` must be a live stream of the engine's device, and no execution of this context
    /// may be pending on another.
    pub(crate) unsafe fn select_profile(&mut self, index: usize, stream: usize) -> Result<()> {
        device::bind(&self.device)?;
        let index = i32::try_from(index).unwrap_or(i32::MAX);
        // SAFETY: the caller's promise; the device is current.
        unsafe { self.context.pin_mut().set_profile(index, stream) }.map_err(|e| execution(&e))
    }

    /// Sets the shapes of all inputs and gives those of all outputs: sizes in the order of the
    /// signature, one tensor after the other, [`COMPUTED`] for one that only an execution tells. They
    /// are kept for later executions, and so are `values`, those of the inputs that decide
    /// shapes.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when the engine refuses them.
    ///
    /// # Safety
    /// No execution may be pending that was given other values.
    pub(super) unsafe fn set_shapes(
        &mut self,
        inputs: &[usize],
        values: &[i64],
        outputs: &mut [usize],
    ) -> Result<()> {
        // Kernels for them may be compiled and loaded.
        let _loading = loading();
        let inputs: Vec<i64> = inputs.iter().map(|&size| size as i64).collect();
        let mut told = vec![0; outputs.len()];
        // SAFETY: the caller's promise.
        unsafe { self.context.pin_mut().set_shapes(&inputs, values, &mut told) }
            .map_err(|e| execution(&e))?;
        for (size, told) in outputs.iter_mut().zip(&told) {
            *size = usize::try_from(*told).unwrap_or(COMPUTED);
        }
        Ok(())
    }

    /// Enqueues an execution on `stream`, a raw `CUstream` of the engine's device, which must be
    /// bound to this thread. The addresses are in the order of the signature.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    ///
    /// # Safety
    /// Shapes must have been set, every address must be device memory that holds its tensor with
    /// them (but for inputs that decide shapes and outputs with a size that is computed, which are
    /// passed over), nothing pending may use the memory of `computed`, and memory, stream and this context must stay as they are until `stream` is done.
    pub(super) unsafe fn enqueue(
        &mut self,
        addresses: &[u64],
        computed: &mut OutputMemory,
        stream: usize,
    ) -> Result<()> {
        computed.forget();
        // SAFETY: the caller's promise.
        let enqueued = unsafe { self.context.pin_mut().enqueue(addresses, computed, stream) };
        enqueued.map_err(|e| computed.take_error().unwrap_or_else(|| execution(&e)))
    }

    /// The kernels that this context was given and compiled, if it was to keep them. None may be compiling.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(super) fn kernels(&self) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        device::bind(&self.device)?;
        let _loading = loading();
        let kernels = self.context.kernels().map_err(|e| execution(&e))?;
        Ok((!kernels.is_null()).then_some(kernels))
    }

    /// Ends this context and gives the kernels that it compiled, if it was to keep them.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    ///
    /// # Safety
    /// No execution may be pending.
    pub(super) unsafe fn finish(mut self) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        device::bind(&self.device)?;
        let _loading = loading();
        // SAFETY: the caller's promise, and `self` ends here.
        let cache = unsafe { self.context.pin_mut().finish() }.map_err(|e| execution(&e))?;
        Ok((!cache.is_null()).then_some(cache))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let _ = self.device.bind_to_thread();
        let _loading = loading();
        self.context = UniquePtr::null();
    }
}

fn execution(error: &cxx::Exception) -> Error {
    failure(error, ErrorKind::Execution)
}

/// An error of the device where the library gives a number of CUDA's, else of `kind`.
fn failure(error: &cxx::Exception, kind: ErrorKind) -> Error {
    let kind = ffi::cuda_error(error).map_or(kind, |_| ErrorKind::Device);
    Error::new(kind, error.what())
}

fn agrees(spec: &TensorSpec, tensor: &TensorInfo) -> bool {
    let size = |(dim, &size): (&Dim, &i64)| {
        size == -1 || dim.fixed().is_none_or(|fixed| fixed as i64 == size)
    };
    dtype_from_tensorrt(tensor.dtype) == Some(spec.dtype)
        && spec.shape.rank() == tensor.dims.len()
        && spec.shape.dims().iter().zip(&tensor.dims).all(size)
}

/// Where CUDA has no part in it, the library tells only in words why it cannot deserialize.
fn not_deserialized(error: &cxx::Exception) -> Error {
    let words = error.what();
    let of_another = ["ncompatible", "not compatible", "ersion tag"];
    let kind = match of_another.iter().any(|sign| words.contains(sign)) {
        true => ErrorKind::EngineIncompatible,
        false => ErrorKind::EngineCorrupt,
    };
    failure(error, kind).in_operation("load engine")
}

/// What the library says against a plan, from the header that it wrote.
///
/// It is cautious: of a device that is not on its list of supported ones it says so, and then runs
/// the engine all the same (seen with TensorRT-RTX 1.6 and compute capability 9.0). So only what
/// is wrong with the bytes is refused at once; the rest explains a failure.
struct Invalidity(u64);

impl Invalidity {
    /// Kind and text for each bit of `nvinfer1::EngineInvalidityDiagnostics`.
    const REASONS: [(ErrorKind, &str); 7] = [
        (ErrorKind::EngineIncompatible, "built by another version"),
        (ErrorKind::EngineIncompatible, "not built for the compute capability of this device"),
        (ErrorKind::EngineIncompatible, "built with a newer CUDA driver"),
        (ErrorKind::EngineIncompatible, "built with a newer CUDA runtime"),
        (ErrorKind::Device, "too large for the memory of this device"),
        (ErrorKind::EngineCorrupt, "not an engine"),
        (ErrorKind::Device, "the CUDA driver or runtime is not installed correctly"),
    ];
    /// The bits that are about the bytes alone, the worst first.
    const OF_BYTES: [usize; 2] = [5, 0];
    /// The bits that are about this machine.
    const OF_MACHINE: [usize; 5] = [1, 2, 3, 4, 6];

    fn of(runtime: &ffi::Runtime, plan: &[u8]) -> Result<Self> {
        runtime.invalidity(plan).map(Self).map_err(|e| not_deserialized(&e))
    }

    fn first(&self, bits: &[usize]) -> Option<(ErrorKind, &'static str)> {
        bits.iter().find(|&&bit| self.0 & (1 << bit) != 0).map(|&bit| Self::REASONS[bit])
    }

    /// Fails when the bytes are no plan of this version.
    fn check_bytes(&self) -> Result<()> {
        match self.first(&Self::OF_BYTES) {
            Some((kind, reason)) => Err(Error::new(kind, reason).in_operation("load engine")),
            None => Ok(()),
        }
    }

    /// Adds to an error what speaks against this machine, unless the machine said itself what it lacks.
    fn explain(&self, error: Error) -> Error {
        match self.first(&Self::OF_MACHINE) {
            Some((kind, reason)) if error.kind() != ErrorKind::Device => {
                let text = format!("{reason}: {}", error.message());
                Error::new(kind, text).in_operation("load engine").with_source(error)
            }
            _ => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_device_is_not_taken_for_the_wrong_one() {
        let unlisted = Invalidity(1 << 1);
        let full = Error::new(ErrorKind::Device, "allocateAsync (cudaError 2: out of memory)");
        assert_eq!(unlisted.explain(full).kind(), ErrorKind::Device);
        let corrupt = || Error::new(ErrorKind::EngineCorrupt, "no kernel image");
        let other = unlisted.explain(corrupt());
        assert_eq!(other.kind(), ErrorKind::EngineIncompatible);
        assert!(other.message().contains("compute capability"), "{other}");
        assert!(other.message().contains("no kernel image"), "{other}");
        assert_eq!(Invalidity(0).explain(corrupt()).kind(), ErrorKind::EngineCorrupt);
    }
}
