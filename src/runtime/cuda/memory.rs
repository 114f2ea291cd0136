//! CUDA memory that may be an input or an output, whoever owns it.

use std::sync::Arc;

use cudarc::driver::{
    CudaContext, CudaSlice, CudaStream, CudaView, CudaViewMut, DevicePtr, DevicePtrMut,
    DeviceSlice, SyncOnDrop,
};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, TensorSpec};
use crate::tensor::Element;

pub(super) mod private {
    pub trait Sealed {}
}

/// Memory of a CUDA device that may be an input. The length is the number of elements.
///
/// Sealed: implemented for `CudaSlice<T>`, `CudaView<T>` and `CudaViewMut<T>` of every
/// [`Element`], and for [`CudaTensor`](super::CudaTensor).
pub trait CudaRead: private::Sealed {
    /// The element type.
    fn dtype(&self) -> DType;
    /// The number of elements.
    fn elements(&self) -> usize;
    /// The context that the memory belongs to.
    fn context(&self) -> &Arc<CudaContext>;
    /// The address, for reading on `stream`: as [`DevicePtr::device_ptr`].
    fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>);
}

/// Memory of a CUDA device that may be an output.
///
/// Sealed: implemented for `CudaSlice<T>` and `CudaViewMut<T>` of every [`Element`], and for
/// [`CudaTensor`](super::CudaTensor).
pub trait CudaWrite: CudaRead {
    /// The address, for writing on `stream`: as [`DevicePtrMut::device_ptr_mut`].
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>);
}

macro_rules! memory {
    ($($type:ty),*) => {$(
        impl<T: Element> private::Sealed for $type {}

        impl<T: Element> CudaRead for $type {
            fn dtype(&self) -> DType {
                T::DTYPE
            }

            fn elements(&self) -> usize {
                DeviceSlice::len(self)
            }

            fn context(&self) -> &Arc<CudaContext> {
                DeviceSlice::stream(self).context()
            }

            fn read<'a>(&'a self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
                self.device_ptr(stream)
            }
        }
    )*};
}

memory!(CudaSlice<T>, CudaView<'_, T>, CudaViewMut<'_, T>);

impl<T: Element> CudaWrite for CudaSlice<T> {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.device_ptr_mut(stream)
    }
}

impl<T: Element> CudaWrite for CudaViewMut<'_, T> {
    fn write<'a>(&'a mut self, stream: &'a CudaStream) -> (u64, SyncOnDrop<'a>) {
        self.device_ptr_mut(stream)
    }
}

/// Memory must have the type of its tensor and exactly its number of elements.
pub(super) fn check_memory(
    memory: &(impl CudaRead + ?Sized),
    spec: &TensorSpec,
    sizes: &[usize],
) -> Result<()> {
    let dtype = memory.dtype();
    if dtype != spec.dtype {
        let text = format!("expected {}, got {dtype}", spec.dtype);
        return Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&spec.name));
    }
    let (expected, got) =
        (sizes.iter().try_fold(1usize, |n, &s| n.checked_mul(s)), memory.elements());
    if expected != Some(got) {
        let text = format!("{sizes:?} does not have the {got} elements of the memory");
        return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(&spec.name));
    }
    Ok(())
}
