//! Memory on a GPU with its address, and what the passes of a generation there ask of an engine.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, DriverError};

use crate::backend::DeviceExecutable;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::InferenceModule;
use crate::spec::TensorSpec;

/// Device memory with its address, used on one stream alone.
pub(super) struct Memory {
    _slice: CudaSlice<u8>,
    pub(super) address: u64,
}

impl Memory {
    pub(super) fn new(stream: &Arc<CudaStream>, len: usize) -> Result<Self> {
        // Zeros: what a cache holds is multiplied by 0 where no token stands, and so must be a number.
        let slice = stream.alloc_zeros::<u8>(len.max(1)).map_err(|e| failed("no memory", e))?;
        let (address, guard) = slice.device_ptr(stream);
        drop(guard);
        Ok(Self { _slice: slice, address })
    }
}

/// The sizes of a tensor without dynamic axes.
pub(super) fn sizes(spec: &TensorSpec) -> Vec<usize> {
    spec.shape.fixed().unwrap_or_default()
}

pub(super) fn bytes(spec: &TensorSpec) -> usize {
    sizes(spec).iter().product::<usize>() * spec.dtype.size()
}

pub(super) fn on_device(module: &InferenceModule) -> Result<&dyn DeviceExecutable> {
    let none = || Error::new(ErrorKind::Device, "the engine takes no tensors in device memory");
    module.device().ok_or_else(none)
}

pub(super) fn failed(what: &str, source: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: {source}"))
        .in_operation("generate")
        .with_source(source)
}
