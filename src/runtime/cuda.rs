//! Modules on CUDA memory that the caller owns, through cudarc: inputs, outputs, the call, and tensors that the module
//! allocates. The backend behind is not known here.

use std::{fmt, sync::Arc};

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut, DeviceRepr,
    DeviceSlice, DriverError, SyncOnDrop, sys::CUstreamCaptureStatus,
};

use super::InferenceModule;
use super::output_pool::OutputPool;
use crate::backend::{
    DeviceExecutable, DeviceTensor, EngineMemory, ExecutionCounters, StreamHandle,
};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Signature, TensorSpec};
use crate::tensor::{Element, HostTensor};

mod private {
    pub trait Sealed {}
}

/// Memory of a CUDA device that may be an input. The length is the number of elements.
///
/// Sealed: implemented for `CudaSlice<T>`, `CudaView<T>` and `CudaViewMut<T>` of every
/// [`Element`], and for [`CudaTensor`].
pub trait CudaRead: private::Sealed {
    /// The element type.
    fn dtype(&self) -> DType;
    /// The number of elements.
    fn elements(&self) -> usize;
    /// The context that the memory belongs to.
    fn context(&self) -> &Arc<CudaContext>;
    /// The address, for reading on `stream`: as [`DevicePtr::device_ptr`].
    fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>);
}

/// Memory of a CUDA device that may be an output.
///
/// Sealed: implemented for `CudaSlice<T>` and `CudaViewMut<T>` of every [`Element`], and for
/// [`CudaTensor`].
pub trait CudaWrite: CudaRead {
    /// The address, for writing on `stream`: as [`DevicePtrMut::device_ptr_mut`].
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>);
}

macro_rules! memory {
    ($($type:ty),*) => {$(
        impl<T: Element> private::Sealed for $type {}

        impl<T: Element> CudaRead for $type {
            fn dtype(&self) -> DType {
                T::DTYPE
            }

            fn elements(&self) -> usize {
                DeviceSlice::len(self)
            }

            fn context(&self) -> &Arc<CudaContext> {
                DeviceSlice::stream(self).context()
            }

            fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
                self.device_ptr(stream)
            }
        }
    )*};
}

memory!(CudaSlice<T>, CudaView<'_, T>, CudaViewMut<'_, T>);

impl<T: Element> CudaWrite for CudaSlice<T> {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.device_ptr_mut(stream)
    }
}

impl<T: Element> CudaWrite for CudaViewMut<'_, T> {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.device_ptr_mut(stream)
    }
}

/// A tensor in device memory: type, sizes and contiguous memory, which is freed in the order of the
/// stream that it was allocated on.
pub struct CudaTensor {
    dtype: DType,
    shape: Vec<usize>,
    memory: CudaSlice<u8>,
}

impl CudaTensor {
    /// Memory for a tensor, allocated in the order of `stream`. The values are not set.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the device has no memory left.
    ///
    /// # Safety
    /// Nothing may read the memory before something was written to it.
    pub unsafe fn alloc(
        stream: &Arc<CudaStream>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
    ) -> Result<Self> {
        let shape = shape.into();
        let len = byte_len(dtype, &shape)?;
        // SAFETY: the caller's promise.
        let memory = unsafe { stream.alloc::<u8>(len) }.map_err(|e| no_room(len, e))?;
        Ok(Self { dtype, shape, memory })
    }

    /// A copy of `host` in device memory, made in the order of `stream`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the device has no memory left, or the copy fails.
    pub fn upload(stream: &Arc<CudaStream>, host: &HostTensor) -> Result<Self> {
        let (dtype, shape) = (host.dtype(), host.shape().to_vec());
        let len = byte_len(dtype, &shape)?;
        let memory = match host.is_empty() {
            true => stream.alloc_zeros::<u8>(len),
            false => stream.clone_htod::<u8, [u8]>(host.bytes()),
        };
        Ok(Self { dtype, shape, memory: memory.map_err(|e| no_room(len, e))? })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The stream that allocated the memory.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.memory.stream()
    }

    /// The values as cudarc has them, in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when `T` is not the element type.
    pub fn view<T: Element + DeviceRepr>(&self) -> Result<CudaView<'_, T>> {
        let (elements, dtype) = (self.elements(), self.dtype);
        // SAFETY: memory of this type, or not looked at.
        let view = unsafe { self.memory.transmute(elements) };
        view.filter(|_| dtype == T::DTYPE).ok_or_else(|| {
            let text = format!("the tensor is {dtype}, not {}", T::DTYPE);
            Error::new(ErrorKind::DTypeMismatch, text)
        })
    }
}

impl fmt::Debug for CudaTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.memory.ordinal();
        write!(f, "CudaTensor({} {:?} on device {device})", self.dtype, self.shape)
    }
}

impl private::Sealed for CudaTensor {}

impl CudaRead for CudaTensor {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn elements(&self) -> usize {
        // Its memory was allocated, so the product is a number.
        self.shape.iter().product()
    }

    fn context(&self) -> &Arc<CudaContext> {
        self.memory.context()
    }

    fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.memory.device_ptr(stream)
    }
}

impl CudaWrite for CudaTensor {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.memory.device_ptr_mut(stream)
    }
}

/// Calls `f` while no module captures an execution. Captures of other threads wait until `f` ends.
///
/// Put calls that wait for a whole device into `f`: `cuCtxSynchronize`, [`CudaContext::synchronize`] and the first
/// [`CudaContext::new_stream`] of a handle. CUDA refuses such a call while another thread captures, the capture has to be made
/// again, and driver 580.159 may crash. If you cannot find all such calls, set
/// [`isolated_captures`](crate::backend::tensorrt::TensorRtOptions::isolated_captures), which keeps captures apart from them.
///
/// ```no_run
/// use accelerant::cuda::{cudarc::driver::CudaContext, without_captures};
///
/// let context = CudaContext::new(0)?;
/// let stream = without_captures(|| context.new_stream())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn without_captures<T>(f: impl FnOnce() -> T) -> T {
    // Nothing else in this crate captures.
    #[cfg(feature = "_tensorrt")]
    let _plainly = crate::backend::tensorrt::captures::not_captured();
    f()
}

/// A module on CUDA memory, borrowed from [`InferenceModule::cuda`].
///
/// Nothing here waits for the device, and nothing is copied. Work is enqueued on the given stream, and cudarc's own
/// tracking orders the work with other uses of the memory. [`DeviceExecutable`] says what happens with several streams.
///
/// ```no_run
/// use accelerant::{InferenceModule, OptimizeOptions, cuda::cudarc::driver::CudaContext};
///
/// let module = InferenceModule::open("digits.engine", &OptimizeOptions::new())?;
/// let cuda = module.cuda()?;
/// let stream = CudaContext::new(cuda.ordinal())?.new_stream()?;
///
/// let images = stream.clone_htod(&vec![0f32; 8 * 64])?;
/// let mut scores = stream.alloc_zeros::<f32>(8 * 10)?;
/// cuda.run_on(&stream, &[(&images, &[8, 1, 8, 8])], &mut [&mut scores])?;
/// let scores = stream.clone_dtoh(&scores)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct CudaModule<'m> {
    signature: &'m Signature,
    executable: &'m dyn DeviceExecutable,
}

impl InferenceModule {
    /// This module on CUDA memory.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the backend that runs takes no tensors of a device.
    pub fn cuda(&self) -> Result<CudaModule<'_>> {
        let Some(executable) = self.device() else {
            return Err(self.not_on_device());
        };
        Ok(CudaModule { signature: self.signature(), executable })
    }

    /// This module on the memory of one of [its devices](Self::on_devices), counted from 0.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the module does not run on that device.
    pub fn cuda_on(&self, ordinal: usize) -> Result<CudaModule<'_>> {
        let Some(executable) = self.device_on(ordinal) else {
            let Some(first) = self.device() else { return Err(self.not_on_device()) };
            return Err(not_on(ordinal, first.ordinal()));
        };
        Ok(CudaModule { signature: self.signature(), executable })
    }

    fn not_on_device(&self) -> Error {
        let text = format!("{} takes no tensors in device memory", self.description());
        Error::new(ErrorKind::Device, text)
    }
}

/// Tensors of a device on which the engine is not.
pub(super) fn not_on(theirs: usize, ours: usize) -> Error {
    let text = format!("the tensors are on CUDA device {theirs}, the engine is on {ours}");
    Error::new(ErrorKind::Device, text)
}

impl CudaModule<'_> {
    /// The device, counted from 0.
    pub fn ordinal(&self) -> usize {
        self.executable.ordinal()
    }

    /// The memory that the engine takes on the device.
    pub fn memory(&self) -> EngineMemory {
        self.executable.memory()
    }

    /// The runs, copies and graphs so far.
    pub fn counters(&self) -> ExecutionCounters {
        self.executable.counters()
    }

    /// The sizes of all outputs for these sizes of all inputs.
    ///
    /// # Errors
    /// Shapes that do not fit the signature, naming tensor and axis.
    pub fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        self.executable.output_shapes(inputs).map_err(|e| e.in_operation("output shapes"))
    }

    /// Enqueues a run on `stream`. The inputs come with their sizes. The memory for each output has exactly
    /// [as many elements](Self::output_shapes) as the output. Both are in the order of the signature.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::OutOfProfile`] naming tensor and axis; [`ErrorKind::InvalidArgument`] for an
    /// output that does not begin at a multiple of 256 bytes; [`ErrorKind::Device`] for memory or a
    /// stream of another device; [`ErrorKind::Execution`] when the backend fails.
    pub fn run_on(
        &self,
        stream: &CudaStream,
        inputs: &[(&dyn CudaRead, &[usize])],
        outputs: &mut [&mut dyn CudaWrite],
    ) -> Result<()> {
        if outputs.len() != self.signature.outputs.len() {
            let (expected, got) = (self.signature.outputs.len(), outputs.len());
            let text = format!("expected memory for {expected} outputs, got {got}");
            return Err(Error::new(ErrorKind::InputMismatch, text).in_operation("run on a stream"));
        }
        let mut memory: Vec<_> = outputs.iter_mut().map(Some).collect();
        let mut written = Vec::with_capacity(memory.len());
        let mut output = |i: usize, sizes: &[usize]| {
            let (spec, Some(memory)) = (&self.signature.outputs[i], memory[i].take()) else {
                return Err(Error::new(ErrorKind::Execution, "an output was asked for twice"));
            };
            self.check_place(memory.context(), spec)?;
            check_memory(&**memory, spec, sizes)?;
            let (address, guard) = memory.write(stream);
            written.push(guard);
            Ok(address)
        };
        self.enqueue(stream, inputs, &mut output)
    }

    /// As [`run_on`](Self::run_on), into memory that is allocated in the order of `stream`.
    ///
    /// # Errors
    /// As [`run_on`](Self::run_on), and [`ErrorKind::Device`] when the device has no memory left.
    pub fn run_alloc(
        &self,
        stream: &Arc<CudaStream>,
        inputs: &[(&dyn CudaRead, &[usize])],
    ) -> Result<Vec<CudaTensor>> {
        self.check_stream(stream).map_err(|e| e.in_operation("run on a stream"))?;
        let pool = OutputPool::of(stream.context());
        let mut outputs: Vec<Option<CudaTensor>> =
            self.signature.outputs.iter().map(|_| None).collect();
        let mut output = |i: usize, sizes: &[usize]| {
            let spec = &self.signature.outputs[i];
            let len = byte_len(spec.dtype, sizes).map_err(|e| e.on_tensor(&spec.name))?;
            // SAFETY: the pool is of the stream's device. Given out only after the run that writes
            // to it was enqueued.
            let (memory, address) = unsafe { pool.alloc::<u8>(stream, len) }
                .map_err(|e| no_room(len, e).on_tensor(&spec.name))?;
            outputs[i] = Some(CudaTensor { dtype: spec.dtype, shape: sizes.to_vec(), memory });
            Ok(address)
        };
        self.enqueue(stream, inputs, &mut output)?;
        let mut outputs: Vec<CudaTensor> = outputs.into_iter().flatten().collect();
        for output in &mut outputs {
            // Only now is there something for other streams to wait for.
            drop(output.write(stream));
        }
        Ok(outputs)
    }

    fn enqueue(
        &self,
        stream: &CudaStream,
        inputs: &[(&dyn CudaRead, &[usize])],
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
    ) -> Result<()> {
        let in_operation = |e: Error| e.in_operation("run on a stream");
        self.check_stream(stream).map_err(in_operation)?;
        // Before cudarc's events touch the stream, so that the capture is not spoiled.
        let status = stream.capture_status().map_err(|e| {
            let error = Error::new(ErrorKind::Device, format!("the stream cannot be asked: {e}"));
            in_operation(error.with_source(e))
        })?;
        if status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
            let text =
                "the stream is being captured; a module captures its own graphs when asked to";
            return Err(in_operation(Error::new(ErrorKind::InvalidArgument, text)));
        }
        let mut tensors = Vec::with_capacity(inputs.len());
        let mut read = Vec::with_capacity(inputs.len());
        for (i, &(memory, shape)) in inputs.iter().enumerate() {
            if let Some(spec) = self.signature.inputs.get(i) {
                self.check_place(memory.context(), spec).map_err(in_operation)?;
                check_memory(memory, spec, shape).map_err(in_operation)?;
            }
            let (address, guard) = memory.read(stream);
            tensors.push(DeviceTensor { dtype: memory.dtype(), shape, address });
            read.push(guard);
        }
        let stream = StreamHandle(stream.cu_stream() as usize);
        // SAFETY: a live stream of this device. The memory is of this device and of the lengths
        // that type and sizes say. It is borrowed while the run is enqueued; cudarc then frees
        // it in the order of its stream, after the events that the guards record behind the run.
        unsafe { self.executable.enqueue(stream, &tensors, output) }.map_err(in_operation)
    }

    fn check_stream(&self, stream: &CudaStream) -> Result<()> {
        let context = stream.context();
        if context.ordinal() == self.ordinal() && context.is_primary() {
            return Ok(());
        }
        let (theirs, ours) = (context.ordinal(), self.ordinal());
        let text = format!(
            "the stream is of device {theirs}, the module of the primary context of device {ours}"
        );
        Err(Error::new(ErrorKind::Device, text))
    }

    fn check_place(&self, context: &CudaContext, spec: &TensorSpec) -> Result<()> {
        if context.ordinal() == self.ordinal() && context.is_primary() {
            return Ok(());
        }
        let (theirs, ours) = (context.ordinal(), self.ordinal());
        let text = format!(
            "the memory is of device {theirs}, the module of the primary context of device {ours}"
        );
        Err(Error::new(ErrorKind::Device, text).on_tensor(&spec.name))
    }
}

/// The bytes to allocate for a tensor; one without elements has an address too.
pub(super) fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize> {
    let len = shape.iter().try_fold(dtype.size(), |n, &size| n.checked_mul(size));
    len.filter(|&len| isize::try_from(len).is_ok())
        .map(|len| len.max(1))
        .ok_or_else(|| Error::new(ErrorKind::Device, format!("{dtype} {shape:?} is too large")))
}

pub(super) fn no_room(len: usize, source: DriverError) -> Error {
    let text = format!("{len} bytes cannot be allocated: {source}");
    Error::new(ErrorKind::Device, text).with_source(source)
}

/// Memory must have the type of its tensor and exactly its number of elements.
fn check_memory(
    memory: &(impl CudaRead + ?Sized),
    spec: &TensorSpec,
    sizes: &[usize],
) -> Result<()> {
    let dtype = memory.dtype();
    if dtype != spec.dtype {
        let text = format!("expected {}, got {dtype}", spec.dtype);
        return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&spec.name));
    }
    let (expected, got) =
        (sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)), memory.elements());
    if expected != Some(got) {
        let text = format!("{sizes:?} does not have the {got} elements of the memory");
        return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(&spec.name));
    }
    Ok(())
}

impl fmt::Debug for CudaModule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaModule({} on device {})", self.signature, self.ordinal())
    }
}
