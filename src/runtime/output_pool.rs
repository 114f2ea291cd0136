//! Memory for outputs that frameworks free when they like, from a pool of its own on each device:
//! a loop meets the same few addresses again and again, whatever else the program allocates, which
//! is what CUDA graphs need. A tensor's memory goes back to the pool in the order of its stream.
//!
//! A pool stays until the process ends: outputs may outlive their module, and the driver (580.159) crashes
//! later when a pool was destroyed that something was still allocated from.

use std::ptr;
use std::sync::{Arc, PoisonError, RwLock};

use cudarc::driver::{CudaContext, CudaSlice, CudaStream, DeviceRepr, DriverError, sys};

/// The pool of a device, shared by all modules; none where the driver has no such thing.
pub(crate) struct OutputPool {
    ordinal: usize,
    pool: Option<sys::CUmemoryPool>,
    // The device lives as long as its pool.
    _device: Arc<CudaContext>,
}

// SAFETY: a handle that the driver lets any thread use.
unsafe impl Send for OutputPool {}
// SAFETY: as above.
unsafe impl Sync for OutputPool {}

/// So many free bytes stay in a pool at a synchronization too, at their addresses. More than that goes
/// back to the device, where other allocators may want it.
const KEPT: u64 = 64 << 20;

static POOLS: RwLock<Vec<Arc<OutputPool>>> = RwLock::new(Vec::new());

impl OutputPool {
    /// The pool of the device of `context`, made if there was none yet.
    pub(crate) fn of(context: &Arc<CudaContext>) -> Arc<Self> {
        let ordinal = context.ordinal();
        let find = |pools: &[Arc<Self>]| pools.iter().find(|pool| pool.ordinal == ordinal).cloned();
        // The list is whole at every point where a panic could leave it.
        let known = find(&POOLS.read().unwrap_or_else(PoisonError::into_inner));
        known.unwrap_or_else(|| {
            let mut pools = POOLS.write().unwrap_or_else(PoisonError::into_inner);
            find(&pools).unwrap_or_else(|| {
                let made = if context.has_async_alloc() { create(ordinal) } else { None };
                let pool = Arc::new(Self { ordinal, pool: made, _device: context.clone() });
                pools.push(pool.clone());
                pool
            })
        })
    }

    /// Memory for `len` elements in the order of `stream`, and its address.
    ///
    /// # Errors
    /// Those of the driver, when the device has none left.
    ///
    /// # Safety
    /// `stream` must be of the pool's device, and the memory must not be read before something was
    /// written to it.
    pub(crate) unsafe fn alloc<T: DeviceRepr>(
        &self,
        stream: &Arc<CudaStream>,
        len: usize,
    ) -> Result<(CudaSlice<T>, u64), DriverError> {
        let Some(pool) = self.pool else {
            // SAFETY: the caller's promise.
            let memory = unsafe { stream.alloc::<T>(len) }?;
            let (address, _) = cudarc::driver::DevicePtr::device_ptr(&memory, stream);
            return Ok((memory, address));
        };
        stream.context().bind_to_thread()?;
        let mut address = 0;
        let bytes = bytes_of::<T>(len)?;
        // SAFETY: a pool and a stream of the same device; `address` is written before it is read.
        unsafe { sys::cuMemAllocFromPoolAsync(&mut address, bytes, pool, stream.cu_stream()) }
            .result()?;
        // SAFETY: just allocated for so many elements. It is freed in the order of the stream, and
        // the driver knows to which pool.
        Ok((unsafe { stream.upgrade_device_ptr(address, len) }, address))
    }
}

/// The bytes of so many elements. More than there can be are more than the device has left.
fn bytes_of<T>(len: usize) -> Result<usize, DriverError> {
    let bytes = len.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
    bytes.ok_or(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY))
}

fn create(ordinal: usize) -> Option<sys::CUmemoryPool> {
    // SAFETY: plain data, for which zero is a value.
    let mut asked: sys::CUmemPoolProps = unsafe { std::mem::zeroed() };
    asked.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    asked.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    asked.location.id = ordinal as i32;
    let mut pool = ptr::null_mut();
    // SAFETY: both are as the driver wants them.
    unsafe { sys::cuMemPoolCreate(&mut pool, &asked) }.result().ok()?;
    let mut kept = KEPT;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the attribute is a number of this size.
    let set = unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut kept).cast()) };
    if let Err(e) = set.result() {
        tracing::debug!(target: "accelerant::cuda", "the output pool gives memory back early: {e}");
    }
    Some(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_than_there_can_be_are_no_memory() {
        let none = DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert_eq!(bytes_of::<f32>(3), Ok(12));
        assert_eq!(bytes_of::<u8>(isize::MAX as usize), Ok(isize::MAX as usize));
        for len in [usize::MAX, 1 << 62, (1 << 62) + 1] {
            // A product that wraps would be a small number.
            assert_eq!(bytes_of::<f32>(len), Err(none), "{len}");
        }
        assert_eq!(bytes_of::<u8>(usize::MAX), Err(none));
    }
}
