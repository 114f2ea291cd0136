//! A stream that work is enqueued on, and what waits for what on it.

use cudarc::driver::{CudaEvent, result, sys};

use crate::backend::tensorrt::ffi::device_error;
use crate::error::{Error, ErrorKind, Result};

/// A stream that work is to be enqueued on.
#[derive(Clone, Copy)]
pub(crate) struct Queue {
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
    pub(crate) unsafe fn new(stream: usize) -> Result<Self> {
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
    pub(crate) fn raw(self) -> sys::CUstream {
        self.raw as sys::CUstream
    }

    /// What no other stream of this process has had.
    pub(crate) fn id(self) -> u64 {
        self.id
    }

    /// Whether it is one of CUDA's default streams, where TensorRT waits for the whole device.
    pub(crate) fn is_default(self) -> bool {
        self.raw <= 2
    }

    /// Makes this stream wait for what was recorded in `event`, on the device.
    pub(crate) fn wait(self, event: &CudaEvent) -> Result<()> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: the stream is alive as promised, the event is.
        unsafe { result::stream::wait_event(self.raw(), event.cu_event(), flags) }
            .map_err(|e| device_error("the stream cannot wait", e))
    }

    /// Records in `event` what this stream was given so far.
    pub(crate) fn record(self, event: &CudaEvent) -> Result<()> {
        // SAFETY: as in `wait`.
        unsafe { result::event::record(event.cu_event(), self.raw()) }
            .map_err(|e| device_error("the stream cannot be recorded", e))
    }
}
