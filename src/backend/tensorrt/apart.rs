//! Streams to capture on. A capture on an ordinary stream is ended by any thread that waits for the whole device
//! (`cuCtxSynchronize`, and with it cudarc's first `CudaContext::new_stream`): the call fails, so does the capture, and
//! driver 580.159 crashes in some of these cases. A stream of a green context stands apart: both go on undisturbed.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::device::Queue;

/// The first driver that makes streams of green contexts, 12.5.
const FIRST_VERSION: i32 = 12050;

/// One for each device, and none where the driver makes none. They stay until the process ends.
static STREAMS: Mutex<Vec<Apart>> = Mutex::new(Vec::new());

struct Apart {
    ordinal: usize,
    queue: Option<Queue>,
    // Green contexts are a part of the primary one.
    _device: Arc<CudaContext>,
}

/// The stream of a device to capture on, for one thread at a time; `None` where the driver has no such thing. The
/// device must be bound.
pub(super) fn stream(device: &Arc<CudaContext>) -> Option<Queue> {
    let mut streams = STREAMS.lock().unwrap_or_else(PoisonError::into_inner);
    let ordinal = device.ordinal();
    if let Some(known) = streams.iter().find(|known| known.ordinal == ordinal) {
        return known.queue;
    }
    let queue = create(ordinal).unwrap_or_else(|e| {
        tracing::debug!(target: "accelerant::tensorrt", "no stream of a green context: {e}");
        None
    });
    streams.push(Apart { ordinal, queue, _device: device.clone() });
    queue
}

fn create(ordinal: usize) -> Result<Option<Queue>, DriverError> {
    let mut version = 0;
    // SAFETY: written before it is read.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    if version < FIRST_VERSION {
        return Ok(None);
    }
    let device = result::device::get(ordinal as i32)?;
    let all = sys::CUdevResourceType::CU_DEV_RESOURCE_TYPE_SM;
    let default = sys::CUgreenCtxCreate_flags::CU_GREEN_CTX_DEFAULT_STREAM as u32;
    let plain = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
    let mut resource = MaybeUninit::uninit();
    let (mut description, mut context, mut stream) =
        (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
    // SAFETY: each call gets what the one before gave, and all multiprocessors stay at the primary context's
    // disposal as well.
    unsafe {
        sys::cuDeviceGetDevResource(device, resource.as_mut_ptr(), all).result()?;
        sys::cuDevResourceGenerateDesc(&mut description, resource.as_mut_ptr(), 1).result()?;
        sys::cuGreenCtxCreate(&mut context, description, device, default).result()?;
        sys::cuGreenCtxStreamCreate(&mut stream, context, plain, 0).result()?;
    }
    // SAFETY: just made, and never destroyed.
    Ok(unsafe { Queue::new(stream as usize) }.ok())
}
