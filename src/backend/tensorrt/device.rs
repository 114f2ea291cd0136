//! The CUDA driver and its devices, asked before TensorRT touches them, and memory on them. Knows
//! nothing of engines.

use std::{ffi::c_void, sync::Arc};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError, result, sys};

#[cfg(not(feature = "candle-cuda"))]
use super::driver::missing_function;
use super::ffi;
use crate::error::{Error, ErrorKind, Result};

/// The driver's library.
const DRIVER: &str = "libcuda.so.1";

/// Device `ordinal`, bound to this thread.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver or no such device.
pub(super) fn open(ordinal: usize) -> Result<Arc<CudaContext>> {
    expect(ordinal)?;
    CudaContext::new(ordinal).map_err(|e| device_error(&format!("CUDA device {ordinal}"), e))
}

fn expect(ordinal: usize) -> Result<()> {
    let count = count()?;
    if ordinal >= count {
        let text = format!("no CUDA device {ordinal}: the driver knows {count}");
        return Err(Error::new(ErrorKind::Device, text));
    }
    Ok(())
}

/// The compute capability of device `ordinal`, as major and minor, without making a context there.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver or no such device.
pub(super) fn compute_capability(ordinal: usize) -> Result<(i32, i32)> {
    use sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    expect(ordinal)?;
    let asked = |attribute| {
        let device = result::device::get(ordinal as i32)?;
        // SAFETY: the driver gave the device.
        unsafe { result::device::get_attribute(device, attribute) }
    };
    let failed = |e| device_error("the compute capability cannot be asked", e);
    Ok((asked(MAJOR).map_err(failed)?, asked(MINOR).map_err(failed)?))
}

/// Name, compute capability and driver of device `ordinal`, without making a context there.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver or no such device.
pub(super) fn identity(ordinal: usize) -> Result<(String, String, String)> {
    let (major, minor) = compute_capability(ordinal)?;
    let failed = |e| device_error("the device's name cannot be asked", e);
    let device = result::device::get(ordinal as i32).map_err(failed)?;
    let name = result::device::get_name(device).map_err(failed)?;
    let mut cuda = 0;
    // SAFETY: the number is written before it is read.
    unsafe { sys::cuDriverGetVersion(&mut cuda) }
        .result()
        .map_err(|e| device_error("the driver's version cannot be asked", e))?;
    // The driver itself tells CUDA's version alone. Linux has the line of the kernel module.
    let module = std::fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let module = module.lines().next().and_then(|line| {
        let is_version =
            |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
        line.split_whitespace().find(is_version)
    });
    let driver = format!("{} (CUDA {cuda})", module.unwrap_or("unknown"));
    Ok((name, format!("{major}.{minor}"), driver))
}

/// How many devices the driver knows.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver.
pub(super) fn count() -> Result<usize> {
    // cudarc panics where the driver's library is missing.
    // SAFETY: the CUDA driver may be loaded at any time.
    let problem = unsafe { ffi::load_problem(DRIVER) }.unwrap_or_else(|e| e.what().to_owned());
    if !problem.is_empty() {
        let text = format!("no CUDA driver ({DRIVER}): {problem}");
        return Err(Error::new(ErrorKind::Device, text));
    }
    #[cfg(not(feature = "candle-cuda"))]
    if let Some(name) = missing_function() {
        let text = format!("the CUDA driver ({DRIVER}) has no function `{name}`, so it is too old");
        return Err(Error::new(ErrorKind::Device, text));
    }
    let count = result::init()
        .and_then(|()| CudaContext::device_count())
        .map_err(|e| device_error("the CUDA driver does not start", e))?;
    Ok(count.max(0) as usize)
}

/// An error of the driver.
pub(super) fn device_error(what: &str, source: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: {source}")).with_source(source)
}

/// Makes `device` the current one of this thread.
pub(super) fn bind(device: &CudaContext) -> Result<()> {
    device.bind_to_thread().map_err(|e| device_error("the CUDA device cannot be bound", e))
}

/// A stream that work is to be enqueued on.
#[derive(Clone, Copy)]
pub(super) struct Queue {
    raw: usize,
    id: u64,
}

impl Queue {
    /// Looks at a stream.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is being captured: what TensorRT does may not be.
    ///
    /// # Safety
    /// It must be a live stream of the device that is bound.
    pub(super) unsafe fn new(stream: usize) -> Result<Self> {
        let raw = stream as sys::CUstream;
        // SAFETY: the caller's promise.
        let status = unsafe { result::stream::is_capturing(raw) }
            .map_err(|e| device_error("the stream cannot be asked", e))?;
        if status != sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
            let text =
                "the stream is being captured; a module captures its own graphs when asked to";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let mut id = 0;
        // SAFETY: as above, and `id` is written before it is read. Unlike the handle, the number is
        // not given to another stream once this one is gone.
        unsafe { sys::cuStreamGetId(raw, &mut id) }
            .result()
            .map_err(|e| device_error("the stream cannot be asked", e))?;
        Ok(Self { raw: stream, id })
    }

    /// The raw handle.
    pub(super) fn raw(self) -> sys::CUstream {
        self.raw as sys::CUstream
    }

    /// What no other stream of this process has had.
    pub(super) fn id(self) -> u64 {
        self.id
    }

    /// Whether it is one of CUDA's default streams, where TensorRT waits for the whole device.
    pub(super) fn is_default(self) -> bool {
        self.raw <= 2
    }

    /// Makes this stream wait for what was recorded in `event`, on the device.
    pub(super) fn wait(self, event: &CudaEvent) -> Result<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: the stream is alive as promised, the event is.
        unsafe { result::stream::wait_event(self.raw(), event.cu_event(), flags) }
            .map_err(|e| device_error("the stream cannot wait", e))
    }

    /// Records in `event` what this stream was given so far.
    pub(super) fn record(self, event: &CudaEvent) -> Result<()> {
        // SAFETY: as in `wait`.
        unsafe { result::event::record(event.cu_event(), self.raw()) }
            .map_err(|e| device_error("the stream cannot be recorded", e))
    }
}

/// Memory on the device. Grows on demand and is given back at the end.
pub(super) struct DeviceMemory {
    device: Arc<CudaContext>,
    address: sys::CUdeviceptr,
    capacity: usize,
}

impl DeviceMemory {
    pub(super) fn new(device: Arc<CudaContext>) -> Self {
        Self { device, address: 0, capacity: 0 }
    }

    /// The address; valid until the next growth.
    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Whether there is room for `len` bytes.
    pub(super) fn holds(&self, len: usize) -> bool {
        room_for(len) <= self.capacity
    }

    /// Makes room for `len` bytes; what was there is lost. The device must be bound, and unless it
    /// [holds](Self::holds) them already, nothing enqueued may use the memory.
    pub(super) fn reserve(&mut self, len: usize) -> Result<()> {
        if self.holds(len) {
            return Ok(());
        }
        self.allocate(room_for(len))
    }

    /// Makes room for `len` bytes and no more, under the same conditions.
    pub(super) fn allocate(&mut self, len: usize) -> Result<()> {
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
pub(super) struct Buffer {
    on_device: DeviceMemory,
    on_host: *mut c_void,
    capacity: usize,
}

// SAFETY: plain memory of the driver, which any thread with the device bound may use and free.
unsafe impl Send for Buffer {}

impl Buffer {
    pub(super) fn new(device: Arc<CudaContext>) -> Self {
        Self { on_device: DeviceMemory::new(device), on_host: std::ptr::null_mut(), capacity: 0 }
    }

    /// The address on the device; valid until the next growth.
    pub(super) fn address(&self) -> u64 {
        self.on_device.address()
    }

    /// Whether there is room for `len` bytes on the device.
    pub(super) fn holds(&self, len: usize) -> bool {
        self.on_device.holds(len)
    }

    /// As [`reserve`](Self::reserve), on the device alone.
    pub(super) fn reserve_on_device(&mut self, len: usize) -> Result<()> {
        self.on_device.reserve(len)
    }

    /// Makes room for `len` bytes; what was there is lost. The device must be bound, and unless it
    /// [holds](Self::holds) them already, nothing enqueued may use the memory.
    pub(super) fn reserve(&mut self, len: usize) -> Result<()> {
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
    pub(super) unsafe fn upload(&mut self, bytes: &[u8], stream: &CudaStream) -> Result<()> {
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
    pub(super) unsafe fn download(&mut self, len: usize, stream: &CudaStream) -> Result<()> {
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
    pub(super) unsafe fn host(&self, len: usize) -> &[u8] {
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
