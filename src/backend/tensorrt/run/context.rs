//! The safe owner of a context of an engine, bound to a device. No buffers and no scheduling: those are the
//! executable's.

use std::sync::Arc;

use cudarc::driver::CudaContext;
use cxx::UniquePtr;

use super::captures::loading;
use super::computed::ComputedOutputs;
use super::failure::execution;
use crate::backend::tensorrt::ffi::{self, OutputMemory, bind};
use crate::error::Result;

/// The size of an output where it is computed.
pub(crate) const COMPUTED: usize = usize::MAX;

/// One execution of an engine at a time, on addresses and a stream that the caller gives.
pub(crate) struct Context {
    context: UniquePtr<ffi::Context>,
    device: Arc<CudaContext>,
    serial: bool,
}

impl Context {
    pub(crate) fn new(context: UniquePtr<ffi::Context>, device: Arc<CudaContext>) -> Self {
        Self { context, device, serial: false }
    }

    /// Has each kernel of later executions wait for the end of the one before, also where it was launched to start
    /// earlier. Executions take longer then, and cannot be captured.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when the library refuses.
    pub(crate) fn set_serial(&mut self) -> Result<()> {
        let _loading = loading();
        self.context.pin_mut().set_serial().map_err(|e| execution(&e))?;
        self.serial = true;
        Ok(())
    }

    /// As [`set_serial`](Self::set_serial), and keeps how long each layer takes.
    ///
    /// # Errors
    /// As [`set_serial`](Self::set_serial).
    pub(crate) fn set_timed(&mut self) -> Result<()> {
        let _loading = loading();
        self.context.pin_mut().set_timed().map_err(|e| execution(&e))?;
        self.serial = true;
        Ok(())
    }

    /// The layers of the executions since this was asked last, one after the other, with milliseconds. All executions
    /// must be over.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when memory is out.
    pub(crate) fn take_times(&mut self) -> Result<Vec<ffi::LayerTime>> {
        self.context.pin_mut().take_times().map_err(|e| execution(&e))
    }

    pub(crate) fn is_serial(&self) -> bool {
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
        bind(&self.device)?;
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
    pub(crate) unsafe fn set_shapes(
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
    pub(crate) unsafe fn enqueue(
        &mut self,
        addresses: &[u64],
        computed: &mut ComputedOutputs,
        stream: usize,
    ) -> Result<()> {
        computed.forget();
        // SAFETY: the caller's promise.
        let enqueued = unsafe {
            self.context.pin_mut().enqueue(addresses, &mut OutputMemory(computed), stream)
        };
        enqueued.map_err(|e| computed.take_error().unwrap_or_else(|| execution(&e)))
    }

    /// The kernels that this context was given and compiled, if it was to keep them. None may be compiling.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the library's words, [`ErrorKind::Device`] where CUDA failed.
    pub(crate) fn kernels(&self) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        bind(&self.device)?;
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
    pub(crate) unsafe fn finish(mut self) -> Result<Option<UniquePtr<ffi::HostMemory>>> {
        bind(&self.device)?;
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
