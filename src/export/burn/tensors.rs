//! What a forward function takes and returns: tensors, and tuples and arrays of them; to and from
//! host tensors. No graphs.

use std::vec;

use ::burn::backend::capture::{CaptureBackend, TensorId};
use ::burn::tensor::{
    Bool, BoolStore, Bytes, DType as BurnDType, Device, Float, Int, Tensor, TensorData,
};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Tensors that go into or come out of a forward function: a [`Tensor`] of any rank and kind, or
/// a tuple or array of such.
pub trait BurnTensors: Sized {
    /// Appends type and sizes of each tensor.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for types that ONNX does not have.
    fn describe(&self, out: &mut Vec<(DType, Vec<usize>)>) -> Result<()>;

    /// The device of the first tensor, if there is any.
    fn device(&self) -> Option<Device>;

    /// Appends the values of each tensor.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when a device cannot be read.
    fn into_host(self, out: &mut Vec<HostTensor>) -> Result<()>;

    /// Takes as many tensors as it needs from `tensors` to `device`.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`] when there are too few; [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::DTypeMismatch`] when one does not fit.
    fn from_host(tensors: &mut vec::IntoIter<HostTensor>, device: &Device) -> Result<Self>;

    /// Appends the ids of tensors that live on a capture device.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when one lives elsewhere.
    #[doc(hidden)]
    fn capture_ids(&self, out: &mut Vec<TensorId>) -> Result<()>;
}

/// The type that ONNX has for Burn's.
pub(super) fn dtype(dtype: BurnDType) -> Result<DType> {
    Ok(match dtype {
        BurnDType::F64 => DType::F64,
        // A 32-bit float that may be computed in less.
        BurnDType::F32 | BurnDType::Flex32 => DType::F32,
        BurnDType::F16 => DType::F16,
        BurnDType::BF16 => DType::BF16,
        BurnDType::I64 => DType::I64,
        BurnDType::I32 => DType::I32,
        BurnDType::I16 => DType::I16,
        BurnDType::I8 => DType::I8,
        BurnDType::U64 => DType::U64,
        BurnDType::U32 => DType::U32,
        BurnDType::U16 => DType::U16,
        BurnDType::U8 => DType::U8,
        BurnDType::Bool(_) => DType::Bool,
        BurnDType::QFloat(_) => {
            let text = "quantized Burn tensors have no ONNX form yet";
            return Err(Error::new(ErrorKind::DTypeMismatch, text));
        }
    })
}

fn burn_dtype(dtype: DType) -> BurnDType {
    match dtype {
        DType::F64 => BurnDType::F64,
        DType::F32 => BurnDType::F32,
        DType::F16 => BurnDType::F16,
        DType::BF16 => BurnDType::BF16,
        DType::I64 => BurnDType::I64,
        DType::I32 => BurnDType::I32,
        DType::I16 => BurnDType::I16,
        DType::I8 => BurnDType::I8,
        DType::U64 => BurnDType::U64,
        DType::U32 => BurnDType::U32,
        DType::U16 => BurnDType::U16,
        DType::U8 => BurnDType::U8,
        DType::Bool => BurnDType::Bool(BoolStore::Native),
    }
}

/// Lets shared bytes own what Burn allocated.
struct Owner(Bytes);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Takes the data over; bools stored in 32 bits are narrowed, all else is not copied.
pub(super) fn to_host(data: TensorData) -> Result<HostTensor> {
    let (bytes, shape, stored) = data.into_parts();
    let shape: Vec<usize> = shape.iter().copied().collect();
    let bytes = match stored {
        BurnDType::Bool(BoolStore::U32) => {
            bytes.chunks_exact(4).map(|word| u8::from(word != [0; 4])).collect()
        }
        _ => bytes::Bytes::from_owner(Owner(bytes)),
    };
    HostTensor::from_bytes(dtype(stored)?, shape, bytes)
}

/// Zeros, for inputs whose values do not matter.
pub(super) fn zeros(dtype: DType, sizes: &[usize]) -> Result<HostTensor> {
    let len = sizes.iter().product::<usize>() * dtype.size();
    HostTensor::from_bytes(dtype, sizes, vec![0u8; len])
}

fn to_data(tensor: &HostTensor) -> TensorData {
    TensorData::from_bytes_vec(tensor.bytes().to_vec(), tensor.shape(), burn_dtype(tensor.dtype()))
}

macro_rules! tensors {
    ($kind:ty, $fits:expr, $named:literal) => {
        impl<const D: usize> BurnTensors for Tensor<D, $kind> {
            fn describe(&self, out: &mut Vec<(DType, Vec<usize>)>) -> Result<()> {
                out.push((dtype(self.dtype())?, self.dims().to_vec()));
                Ok(())
            }

            fn device(&self) -> Option<Device> {
                Some(Tensor::device(self))
            }

            fn into_host(self, out: &mut Vec<HostTensor>) -> Result<()> {
                let data = self.try_into_data().map_err(|e| {
                    let text = format!("the tensor cannot be read: {e:?}");
                    Error::new(ErrorKind::Device, text)
                })?;
                out.push(to_host(data)?);
                Ok(())
            }

            fn from_host(tensors: &mut vec::IntoIter<HostTensor>, device: &Device) -> Result<Self> {
                let tensor = tensors.next().ok_or_else(|| {
                    Error::new(
                        ErrorKind::InputMismatch,
                        "the model has fewer tensors than this type",
                    )
                })?;
                if tensor.shape().len() != D {
                    let text = format!("expected rank {D}, got {:?}", tensor.shape());
                    return Err(Error::new(ErrorKind::ShapeMismatch, text));
                }
                let fits: fn(DType) -> bool = $fits;
                if !fits(tensor.dtype()) {
                    let text = format!("expected a {} tensor, got {}", $named, tensor.dtype());
                    return Err(Error::new(ErrorKind::DTypeMismatch, text));
                }
                let stored = burn_dtype(tensor.dtype());
                // Devices differ in how they store bools and in their own type of integers, which a
                // capture takes to be 64 bits wide.
                let stored = match stored {
                    BurnDType::Bool(_) => device.settings().bool_dtype.into(),
                    BurnDType::I64 => device.settings().int_dtype.into(),
                    stored => stored,
                };
                Ok(Tensor::from_data(to_data(&tensor), (device, stored)))
            }

            fn capture_ids(&self, out: &mut Vec<TensorId>) -> Result<()> {
                let primitive =
                    self.clone().try_into_primitive::<CaptureBackend>().map_err(|e| {
                        let text = format!("a tensor does not live on the capture device: {e:?}");
                        Error::new(ErrorKind::InvalidArgument, text).in_operation("capture")
                    })?;
                out.push(primitive.id());
                Ok(())
            }
        }
    };
}

tensors!(Float, DType::is_float, "float");
tensors!(Int, DType::is_int, "int");
tensors!(Bool, |dtype| dtype == DType::Bool, "bool");

macro_rules! tuples {
    ($($name:ident),+) => {
        #[allow(non_snake_case)]
        impl<$($name: BurnTensors),+> BurnTensors for ($($name,)+) {
            fn describe(&self, out: &mut Vec<(DType, Vec<usize>)>) -> Result<()> {
                let ($($name,)+) = self;
                $($name.describe(out)?;)+
                Ok(())
            }

            fn device(&self) -> Option<Device> {
                let ($($name,)+) = self;
                None$(.or_else(|| $name.device()))+
            }

            fn into_host(self, out: &mut Vec<HostTensor>) -> Result<()> {
                let ($($name,)+) = self;
                $($name.into_host(out)?;)+
                Ok(())
            }

            fn from_host(tensors: &mut vec::IntoIter<HostTensor>, device: &Device) -> Result<Self> {
                Ok(($($name::from_host(tensors, device)?,)+))
            }

            fn capture_ids(&self, out: &mut Vec<TensorId>) -> Result<()> {
                let ($($name,)+) = self;
                $($name.capture_ids(out)?;)+
                Ok(())
            }
        }
    };
}

tuples!(A);
tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, E);
tuples!(A, B, C, E, F);
tuples!(A, B, C, E, F, G);

impl<T: BurnTensors, const N: usize> BurnTensors for [T; N] {
    fn describe(&self, out: &mut Vec<(DType, Vec<usize>)>) -> Result<()> {
        self.iter().try_for_each(|item| item.describe(out))
    }

    fn device(&self) -> Option<Device> {
        self.iter().find_map(T::device)
    }

    fn into_host(self, out: &mut Vec<HostTensor>) -> Result<()> {
        self.into_iter().try_for_each(|item| item.into_host(out))
    }

    fn from_host(tensors: &mut vec::IntoIter<HostTensor>, device: &Device) -> Result<Self> {
        let items = (0..N).map(|_| T::from_host(tensors, device)).collect::<Result<Vec<_>>>()?;
        items
            .try_into()
            .map_err(|_| Error::new(ErrorKind::InputMismatch, "an array of another length"))
    }

    fn capture_ids(&self, out: &mut Vec<TensorId>) -> Result<()> {
        self.iter().try_for_each(|item| item.capture_ids(out))
    }
}
