//! A tensor in device memory that the module or the caller allocated.

use std::{fmt, sync::Arc};

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, CudaView, DevicePtr, DevicePtrMut, DeviceRepr, DriverError,
    SyncOnDrop,
};

use super::memory::{CudaRead, CudaWrite, private};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::{Element, HostTensor};

/// A tensor in device memory: type, sizes and contiguous memory, which is freed in the order of the
/// stream that it was allocated on.
///
/// ```no_run
/// use accelerant::{HostTensor, cuda::{CudaTensor, cudarc::driver::CudaContext}};
///
/// let stream = CudaContext::new(0)?.new_stream()?;
/// let host = HostTensor::from_vec(vec![2, 2], vec![1.0f32, 2.0, 3.0, 4.0])?;
/// let tensor = CudaTensor::upload(&stream, &host)?;
/// let values: Vec<f32> = stream.clone_dtoh(&tensor.view::<f32>()?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CudaTensor {
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
    pub(super) memory: CudaSlice<u8>,
}

impl CudaTensor {
    /// Memory for a tensor, allocated in the order of `stream`. The values are not set.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the device has no memory left.
    ///
    /// # Safety
    /// Nothing may read the memory before something was written to it.
    pub unsafe fn alloc(
        stream: &Arc<CudaStream>,
        dtype: DType,
        shape: impl Into<Vec<usize>>,
    ) -> Result<Self> {
        let shape = shape.into();
        let len = byte_len(dtype, &shape)?;
        // SAFETY: the caller's promise.
        let memory = unsafe { stream.alloc::<u8>(len) }.map_err(|e| no_room(len, e))?;
        Ok(Self { dtype, shape, memory })
    }

    /// A copy of `host` in device memory, made in the order of `stream`.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the device has no memory left, or the copy fails.
    pub fn upload(stream: &Arc<CudaStream>, host: &HostTensor) -> Result<Self> {
        let (dtype, shape) = (host.dtype(), host.shape().to_vec());
        let len = byte_len(dtype, &shape)?;
        let memory = match host.is_empty() {
            true => stream.alloc_zeros::<u8>(len),
            false => stream.clone_htod::<u8, [u8]>(host.bytes()),
        };
        Ok(Self { dtype, shape, memory: memory.map_err(|e| no_room(len, e))? })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The stream that allocated the memory.
    pub fn stream(&self) -> &Arc<CudaStream> {
        self.memory.stream()
    }

    /// The values as cudarc has them, in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when `T` is not the element type.
    pub fn view<T: Element + DeviceRepr>(&self) -> Result<CudaView<'_, T>> {
        let (elements, dtype) = (self.elements(), self.dtype);
        // SAFETY: memory of this type, or not looked at.
        let view = unsafe { self.memory.transmute(elements) };
        view.filter(|_| dtype == T::DTYPE).ok_or_else(|| {
            let text = format!("the tensor is {dtype}, not {}", T::DTYPE);
            Error::new(ErrorKind::DTypeMismatch, text)
        })
    }
}

impl fmt::Debug for CudaTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = self.memory.ordinal();
        write!(f, "CudaTensor({} {:?} on device {device})", self.dtype, self.shape)
    }
}

impl private::Sealed for CudaTensor {}

impl CudaRead for CudaTensor {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn elements(&self) -> usize {
        // Its memory was allocated, so the product is a number.
        self.shape.iter().product()
    }

    fn context(&self) -> &Arc<CudaContext> {
        self.memory.context()
    }

    fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.memory.device_ptr(stream)
    }
}

impl CudaWrite for CudaTensor {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.memory.device_ptr_mut(stream)
    }
}

/// The bytes to allocate for a tensor; one without elements has an address too.
pub(in crate::runtime) fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize> {
    checked_len(dtype, shape).map(|len| len.max(1))
}

/// The bytes of the elements of a tensor.
///
/// # Errors
/// [`ErrorKind::Device`] where there are more than can be addressed.
pub(in crate::runtime) fn checked_len(dtype: DType, shape: &[usize]) -> Result<usize> {
    let len = shape.iter().try_fold(dtype.size(), |n, &size| n.checked_mul(size));
    len.filter(|&len| isize::try_from(len).is_ok())
        .ok_or_else(|| Error::new(ErrorKind::Device, format!("{dtype} {shape:?} is too large")))
}

pub(in crate::runtime) fn no_room(len: usize, source: DriverError) -> Error {
    let text = format!("{len} bytes cannot be allocated: {source}");
    Error::new(ErrorKind::Device, text).with_source(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Candle's and Burn's tensors are allocated by.
    #[test]
    fn lengths_that_do_not_fit_are_errors_and_do_not_wrap() {
        let half = 1 << 32;
        for (dtype, shape) in [
            (DType::F32, &[half, half][..]),
            // Each wraps to a small number: 0, 4 and 2.
            (DType::F32, &[1 << 62]),
            (DType::F32, &[(1 << 62) + 1]),
            (DType::F16, &[3, half, half, 5]),
            (DType::U8, &[usize::MAX, 2]),
            // No memory is larger than half of all addresses.
            (DType::U8, &[usize::MAX]),
        ] {
            for len in [byte_len(dtype, shape), checked_len(dtype, shape)] {
                let error = len.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Device);
                assert!(error.to_string().contains("is too large"), "{error}");
            }
        }
        assert_eq!(byte_len(DType::F64, &[2, 3]).unwrap(), 48);
        assert_eq!(byte_len(DType::F32, &[half, 0]).unwrap(), 1);
        assert_eq!(checked_len(DType::F32, &[half, 0]).unwrap(), 0);
    }
}
