//! The functions of the CUDA driver, of which a library that calls itself one may have too few. Calls none of them.

use std::{ffi::c_void, panic::catch_unwind, sync::OnceLock};

use cudarc::driver::sys;

/// What this crate calls itself, and through cudarc, which panics at a function that is not there. Those of newer drivers
/// that are called behind a question for the version are left out.
const NEEDED: &[&str] = &[
    "cuInit",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuGetErrorString",
    "cuGraphAddDependencies_v2",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphGetEdges_v2",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphRemoveDependencies_v2",
    "cuMemAllocAsync",
    "cuMemAllocFromPoolAsync",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolSetAttribute",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamGetId",
    "cuStreamIsCapturing",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

/// The first function that the driver lacks, which must have been loaded. Asked once.
pub(crate) fn missing_function() -> Option<&'static str> {
    static MISSING: OnceLock<Option<&str>> = OnceLock::new();
    *MISSING.get_or_init(|| {
        let lacks = |name: &&&str| {
            // SAFETY: nothing is called by the pointer, and the library stays loaded.
            unsafe { sys::culib().get::<*const c_void>(name.as_bytes()) }.is_err()
        };
        // cudarc panics where it finds no library by its own names.
        catch_unwind(|| NEEDED.iter().find(lacks).copied()).unwrap_or(Some(NEEDED[0]))
    })
}
