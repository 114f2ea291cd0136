//! Streams for captures that other threads leave alone.
//!
//! A thread that waits for the whole device ends a capture on an ordinary stream (`cuCtxSynchronize`, and with it cudarc's first
//! `CudaContext::new_stream` of a handle). The call fails, the capture fails too, and driver 580.159 crashes in some of these
//! cases. With a stream of a green context, call and capture go on undisturbed. Graphs that are captured there start some
//! microseconds later and keep some of the host's memory. Such streams are therefore used only if they were asked for, or after
//! a capture was broken.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::queue::Queue;

/// The first driver that makes streams of green contexts, 12.5.
const FIRST_VERSION: i32 = 12050;

/// Whether a capture was broken in this process.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// One for each device, and none where the driver makes none. They stay until the process ends.
static STREAMS: Mutex<Vec<Apart>> = Mutex::new(Vec::new());

struct Apart {
    ordinal: usize,
    queue: Option<Queue>,
    // Green contexts are a part of the primary one.
    _device: Arc<CudaContext>,
}

/// Notes that another thread broke a capture: it will again.
pub(crate) fn broken() {
    if !BROKEN.swap(true, Ordering::Relaxed) {
        tracing::debug!(
            target: "accelerant::tensorrt",
            "another thread waited for the whole device during a capture: captures are made apart from now on"
        );
    }
}

/// The stream of a device to capture on, for one thread at a time, if captures are `isolated` or one was broken. `None`
/// where the driver has no such thing. The device must be bound.
pub(crate) fn stream(device: &Arc<CudaContext>, isolated: bool) -> Option<Queue> {
    if !isolated && !BROKEN.load(Ordering::Relaxed) {
        return None;
    }
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
    let mut description = ptr::null_mut();
    let (mut context, mut stream) = (ptr::null_mut(), ptr::null_mut());
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
