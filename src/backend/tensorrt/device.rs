//! The CUDA driver and its devices, asked before TensorRT touches them, and memory on them. Knows
//! nothing of engines.

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// The driver's library.
const DRIVER: &str = "libcuda.so.1";

/// Device `ordinal`, bound to this thread.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver or no such device.
pub(super) fn open(ordinal: usize) -> Result<Arc<CudaContext>> {
    let error = |text: String| Error::new(ErrorKind::Device, text);
    // cudarc panics where the driver's library is missing.
    // SAFETY: the CUDA driver may be loaded at any time.
    let problem = unsafe { ffi::load_problem(DRIVER) }.unwrap_or_else(|e| e.what().to_owned());
    if !problem.is_empty() {
        return Err(error(format!("no CUDA driver ({DRIVER}): {problem}")));
    }
    let count = result::init()
        .and_then(|()| CudaContext::device_count())
        .map_err(|e| device_error("the CUDA driver does not start", e))?;
    if ordinal >= count.max(0) as usize {
        return Err(error(format!("no CUDA device {ordinal}: the driver knows {count}")));
    }
    let context = CudaContext::new(ordinal)
        .map_err(|e| device_error(&format!("CUDA device {ordinal}"), e))?;
    Ok(context)
}

/// An error of the driver.
pub(super) fn device_error(what: &str, source: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: {source}")).with_source(source)
}

/// Makes `device` the current one of this thread.
pub(super) fn bind(device: &CudaContext) -> Result<()> {
    device.bind_to_thread().map_err(|e| device_error("the CUDA device cannot be bound", e))
}

/// Memory of one tensor: on the device, and pinned on the host to copy through. Grows on demand
/// and is never given back before the end.
pub(super) struct Buffer {
    device: Arc<CudaContext>,
    on_device: sys::CUdeviceptr,
    on_host: *mut c_void,
    capacity: usize,
}

// SAFETY: plain memory of the driver, which any thread with the device bound may use and free.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(super) fn new(device: Arc<CudaContext>) -> Self {
        Self { device, on_device: 0, on_host: std::ptr::null_mut(), capacity: 0 }
    }

    /// The address on the device; valid until the next growth.
    pub(super) fn address(&self) -> u64 {
        self.on_device
    }

    /// Makes room for `len` bytes; what was there is lost. The device must be bound, and nothing
    /// enqueued may use the memory.
    pub(super) fn reserve(&mut self, len: usize) -> Result<()> {
        // TensorRT wants an address even where there is nothing to write.
        let len = len.max(1);
        if len <= self.capacity {
            return Ok(());
        }
        let len = len.checked_next_power_of_two().unwrap_or(len).max(256);
        self.free();
        let failed = |e| device_error(&format!("{len} bytes cannot be allocated"), e);
        // SAFETY: the device is bound; `free` forgot the old memory.
        self.on_device = unsafe { result::malloc_sync(len) }.map_err(failed)?;
        // SAFETY: as above. Flags 0: the memory is read by the host, so it is not write-combined.
        self.on_host = unsafe { result::malloc_host(len, 0) }.map_err(failed)?;
        self.capacity = len;
        Ok(())
    }

    /// Enqueues a copy of `bytes` to the device.
    ///
    /// # Safety
    /// No copy of this buffer that was enqueued before may be pending, the device must be bound,
    /// and this buffer must live until `stream` is done.
    pub(super) unsafe fn upload(&mut self, bytes: &[u8], stream: &CudaStream) -> Result<()> {
        self.reserve(bytes.len())?;
        // SAFETY: pinned memory of at least this length, which nobody uses meanwhile.
        let staging =
            unsafe { std::slice::from_raw_parts_mut(self.on_host.cast::<u8>(), bytes.len()) };
        staging.copy_from_slice(bytes);
        // SAFETY: both sides are `bytes.len()` long at least and outlive the copy.
        unsafe { result::memcpy_htod_async(self.on_device, staging, stream.cu_stream()) }
            .map_err(|e| device_error("an input cannot be copied to the device", e))
    }

    /// Enqueues a copy of the first `len` bytes to the host, where [`host`](Self::host) sees them.
    ///
    /// # Safety
    /// As for [`upload`](Self::upload), and `len` bytes must have been reserved.
    pub(super) unsafe fn download(&mut self, len: usize, stream: &CudaStream) -> Result<()> {
        // SAFETY: pinned memory of this length, which nobody uses meanwhile.
        let staging = unsafe { std::slice::from_raw_parts_mut(self.on_host.cast::<u8>(), len) };
        // SAFETY: both sides are `len` long at least and outlive the copy.
        unsafe { result::memcpy_dtoh_async(staging, self.on_device, stream.cu_stream()) }
            .map_err(|e| device_error("an output cannot be copied from the device", e))
    }

    /// The first `len` bytes on the host.
    ///
    /// # Safety
    /// They must have been [downloaded](Self::download), and the stream be done.
    pub(super) unsafe fn host(&self, len: usize) -> &[u8] {
        // SAFETY: pinned memory of this length, written by the copy.
        unsafe { std::slice::from_raw_parts(self.on_host.cast::<u8>(), len) }
    }

    fn free(&mut self) {
        self.capacity = 0;
        let on_device = std::mem::take(&mut self.on_device);
        let on_host = std::mem::replace(&mut self.on_host, std::ptr::null_mut());
        if on_device != 0 {
            // SAFETY: allocated by `reserve`, and forgotten here. An error is one of earlier work.
            let _ = unsafe { result::free_sync(on_device) };
        }
        if !on_host.is_null() {
            // SAFETY: as above.
            let _ = unsafe { result::free_host(on_host) };
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            self.free();
        }
    }
}
