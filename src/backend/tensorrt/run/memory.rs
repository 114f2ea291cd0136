//! Memory on the device, and pinned on the host to copy through. Knows nothing of engines.

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::{CudaContext, CudaStream, result, sys};

use crate::backend::tensorrt::ffi::device_error;
use crate::error::Result;

/// Memory on the device. Grows on demand and is given back at the end.
pub(crate) struct DeviceMemory {
    device: Arc<CudaContext>,
    address: sys::CUdeviceptr,
    capacity: usize,
}

impl DeviceMemory {
    pub(crate) fn new(device: Arc<CudaContext>) -> Self {
        Self { device, address: 0, capacity: 0 }
    }

    /// The address; valid until the next growth.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Whether there is room for `len` bytes.
    pub(crate) fn holds(&self, len: usize) -> bool {
        room_for(len) <= self.capacity
    }

    /// Makes room for `len` bytes; what was there is lost. The device must be bound, and unless it
    /// [holds](Self::holds) them already, nothing enqueued may use the memory.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        if self.holds(len) {
            return Ok(());
        }
        self.allocate(room_for(len))
    }

    /// Makes room for `len` bytes and no more, under the same conditions.
    pub(crate) fn allocate(&mut self, len: usize) -> Result<()> {
        self.free();
        // SAFETY: the device is bound; `free` forgot the old memory.
        self.address = unsafe { result::malloc_sync(len) }
            .map_err(|e| device_error(&format!("{len} bytes cannot be allocated"), e))?;
        self.capacity = len;
        Ok(())
    }

    fn free(&mut self) {
        self.capacity = 0;
        let address = std::mem::take(&mut self.address);
        if address != 0 {
            // SAFETY: allocated by `reserve`, and forgotten here. An error is one of earlier work.
            let _ = unsafe { result::free_sync(address) };
        }
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            self.free();
        }
    }
}

/// TensorRT wants an address even where there is nothing to write, and growth by doubling is rare.
fn room_for(len: usize) -> usize {
    len.checked_next_power_of_two().unwrap_or(len).max(256)
}

/// Memory of one tensor: on the device, and pinned on the host to copy through. Grows on demand
/// and is never given back before the end.
pub(crate) struct Buffer {
    on_device: DeviceMemory,
    on_host: *mut c_void,
    capacity: usize,
}

// SAFETY: plain memory of the driver, which any thread with the device bound may use and free.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(crate) fn new(device: Arc<CudaContext>) -> Self {
        Self { on_device: DeviceMemory::new(device), on_host: std::ptr::null_mut(), capacity: 0 }
    }

    /// The address on the device; valid until the next growth.
    pub(crate) fn address(&self) -> u64 {
        self.on_device.address()
    }

    /// Whether there is room for `len` bytes on the device.
    pub(crate) fn holds(&self, len: usize) -> bool {
        self.on_device.holds(len)
    }

    /// As [`reserve`](Self::reserve), on the device alone.
    pub(crate) fn reserve_on_device(&mut self, len: usize) -> Result<()> {
        self.on_device.reserve(len)
    }

    /// Makes room for `len` bytes; what was there is lost. The device must be bound, and unless it
    /// [holds](Self::holds) them already, nothing enqueued may use the memory.
    pub(crate) fn reserve(&mut self, len: usize) -> Result<()> {
        self.on_device.reserve(len)?;
        let len = room_for(len);
        if len <= self.capacity {
            return Ok(());
        }
        self.free();
        // SAFETY: the device is bound; `free` forgot the old memory. Flags 0: the memory is read
        // by the host, so it is not write-combined.
        self.on_host = unsafe { result::malloc_host(len, 0) }
            .map_err(|e| device_error(&format!("{len} bytes cannot be allocated"), e))?;
        self.capacity = len;
        Ok(())
    }

    /// Enqueues a copy of `bytes` to the device.
    ///
    /// # Safety
    /// No copy of this buffer that was enqueued before may be pending, the device must be bound,
    /// and this buffer must live until `stream` is done.
    pub(crate) unsafe fn upload(&mut self, bytes: &[u8], stream: &CudaStream) -> Result<()> {
        self.reserve(bytes.len())?;
        // SAFETY: pinned memory of at least this length, which nobody uses meanwhile.
        let staging =
            unsafe { std::slice::from_raw_parts_mut(self.on_host.cast::<u8>(), bytes.len()) };
        staging.copy_from_slice(bytes);
        // SAFETY: both sides are `bytes.len()` long at least and outlive the copy.
        unsafe { result::memcpy_htod_async(self.address(), staging, stream.cu_stream()) }
            .map_err(|e| device_error("an input cannot be copied to the device", e))
    }

    /// Enqueues a copy of the first `len` bytes to the host, where [`host`](Self::host) sees them.
    ///
    /// # Safety
    /// As for [`upload`](Self::upload), and `len` bytes must have been reserved.
    pub(crate) unsafe fn download(&mut self, len: usize, stream: &CudaStream) -> Result<()> {
        // SAFETY: pinned memory of this length, which nobody uses meanwhile.
        let staging = unsafe { std::slice::from_raw_parts_mut(self.on_host.cast::<u8>(), len) };
        // SAFETY: both sides are `len` long at least and outlive the copy.
        unsafe { result::memcpy_dtoh_async(staging, self.address(), stream.cu_stream()) }
            .map_err(|e| device_error("an output cannot be copied from the device", e))
    }

    /// The first `len` bytes on the host.
    ///
    /// # Safety
    /// They must have been [downloaded](Self::download), and the stream be done.
    pub(crate) unsafe fn host(&self, len: usize) -> &[u8] {
        // SAFETY: pinned memory of this length, written by the copy.
        unsafe { std::slice::from_raw_parts(self.on_host.cast::<u8>(), len) }
    }

    fn free(&mut self) {
        self.capacity = 0;
        let on_host = std::mem::replace(&mut self.on_host, std::ptr::null_mut());
        if !on_host.is_null() {
            // SAFETY: allocated by `reserve`, and forgotten here. An error is one of earlier work.
            let _ = unsafe { result::free_host(on_host) };
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.on_device.device.bind_to_thread().is_ok() {
            self.free();
        }
    }
}
