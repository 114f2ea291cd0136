//! The CUDA driver and its devices, asked before TensorRT touches them. Knows nothing of engines.

use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::bridge;
#[cfg(not(feature = "candle-cuda"))]
use super::driver::missing_function;
use crate::error::{Error, ErrorKind, Result};

/// The driver's library.
const DRIVER: &str = "libcuda.so.1";

/// Device `ordinal`, bound to this thread.
///
/// # Errors
/// [`ErrorKind::Device`] when there is no driver or no such device.
pub(crate) fn open(ordinal: usize) -> Result<Arc<CudaContext>> {
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
pub(crate) fn compute_capability(ordinal: usize) -> Result<(i32, i32)> {
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
pub(crate) fn identity(ordinal: usize) -> Result<(String, String, String)> {
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
pub(crate) fn count() -> Result<usize> {
    // cudarc panics where the driver's library is missing.
    // SAFETY: the CUDA driver may be loaded at any time.
    let problem = unsafe { bridge::load_problem(DRIVER) }.unwrap_or_else(|e| e.what().to_owned());
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
pub(crate) fn device_error(what: &str, source: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("{what}: {source}")).with_source(source)
}

/// Makes `device` the current one of this thread.
pub(crate) fn bind(device: &CudaContext) -> Result<()> {
    device.bind_to_thread().map_err(|e| device_error("the CUDA device cannot be bound", e))
}
