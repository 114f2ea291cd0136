//! Modules on CUDA memory that the caller owns, through cudarc: `memory` has inputs and outputs, `tensor` has tensors that
//! the module allocates, and the calls are here. The backend behind is not known here.

mod memory;
mod tensor;

use std::{fmt, sync::Arc};

use cudarc::driver::{CudaContext, CudaStream, sys::CUstreamCaptureStatus};

use super::InferenceModule;
use super::output_pool::OutputPool;
use crate::backend::{
    DeviceExecutable, DeviceTensor, EngineMemory, ExecutionCounters, StreamHandle,
};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Signature, TensorSpec};

use memory::check_memory;
pub use memory::{CudaRead, CudaWrite};
pub use tensor::CudaTensor;
#[cfg(feature = "burn-cuda")]
pub(super) use tensor::checked_len;
pub(super) use tensor::{byte_len, no_room};

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

impl fmt::Debug for CudaModule<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CudaModule({} on device {})", self.signature, self.ordinal())
    }
}
