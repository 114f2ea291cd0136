//! Tensor values on the host: bytes with a type and a shape, shared without copying, to and from ndarray and slices. Nothing
//! of devices or frameworks.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use half::{bf16, f16};
use ndarray::{Array, ArrayD, ArrayViewD, CowArray, Dimension, IxDyn};

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;

/// A Rust type that can be the element of a tensor.
///
/// Sealed: implemented for `f32`, `f64`, [`struct@f16`], [`struct@bf16`], the integers of 8 to 64
/// bits, and `bool`.
pub trait Element: Copy + Send + Sync + 'static + private::Sealed {
    /// The matching [`DType`].
    const DTYPE: DType;
}

mod private {
    use super::{Bytes, Cow};

    pub trait Sealed: Sized {
        fn to_bytes(values: Vec<Self>) -> Bytes;
        /// The bytes as elements: borrowed when aligned, else copied.
        fn from_bytes(bytes: &[u8]) -> Cow<'_, [Self]>
        where
            Self: Clone;
    }
}

/// Lets [`Bytes`] own a vector of elements without copying it.
struct Owner<T>(Vec<T>);

impl<T: bytemuck::NoUninit> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::must_cast_slice(&self.0)
    }
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),*) => {$(
        impl private::Sealed for $type {
            fn to_bytes(values: Vec<Self>) -> Bytes {
                Bytes::from_owner(Owner(values))
            }

            fn from_bytes(bytes: &[u8]) -> Cow<'_, [Self]> {
                match bytemuck::try_cast_slice(bytes) {
                    Ok(slice) => slice.into(),
                    Err(_) => bytemuck::pod_collect_to_vec(bytes).into(),
                }
            }
        }

        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }
    )*};
}

elements!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32,
    i64 => I64, u8 => U8, u16 => U16, u32 => U32, u64 => U64);

impl private::Sealed for bool {
    fn to_bytes(values: Vec<Self>) -> Bytes {
        Bytes::from_owner(Owner(values))
    }

    fn from_bytes(bytes: &[u8]) -> Cow<'_, [Self]> {
        bytes.iter().map(|&byte| byte != 0).collect::<Vec<_>>().into()
    }
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
}

/// A batch is filled up with rows that nobody gave by no more bytes than this.
const MOST_FILLING: usize = 1 << 30;

/// Memory for a batch of `rows` rows of `row` bytes, of which `given` bytes come from callers and the rest are copies.
///
/// # Errors
/// [`ErrorKind::OutOfProfile`] when the rest is too much, as with a model of 10¹¹ rows; [`ErrorKind::Execution`] when there
/// is no such memory.
pub(crate) fn memory_for_rows(row: usize, rows: usize, given: usize) -> Result<Vec<u8>> {
    let bytes = row.checked_mul(rows);
    let Some(bytes) = bytes.filter(|bytes| bytes.saturating_sub(given) <= MOST_FILLING) else {
        let text = format!("a batch of {rows} rows of {row} bytes is too large to be filled up");
        return Err(Error::new(ErrorKind::OutOfProfile, text));
    };
    let mut memory = Vec::new();
    memory.try_reserve_exact(bytes).map_err(|e| {
        let text = format!("a batch of {rows} rows of {row} bytes has no room: {e}");
        Error::new(ErrorKind::Execution, text)
    })?;
    Ok(memory)
}

/// A tensor in host memory, in row-major order and little-endian bytes.
///
/// Clones share the bytes.
///
/// ```
/// use accelerant::HostTensor;
/// use ndarray::array;
///
/// let tensor = HostTensor::from(array![[1.0f32, 2.0], [3.0, 4.0]]);
/// assert_eq!(tensor.shape(), [2, 2]);
/// assert_eq!(tensor.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HostTensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl HostTensor {
    /// A tensor from its little-endian bytes, without a copy.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] if the number of bytes does not match the type and the shape.
    pub fn from_bytes(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        bytes: impl Into<Bytes>,
    ) -> Result<Self> {
        let (shape, bytes) = (shape.into(), bytes.into());
        let expected = shape.iter().try_fold(dtype.size(), |n, &size| n.checked_mul(size));
        if expected != Some(bytes.len()) {
            let got = bytes.len();
            let text = match expected {
                Some(expected) => format!("{dtype} {shape:?} needs {expected} bytes, got {got}"),
                None => format!("{dtype} {shape:?} is too large for this machine, got {got} bytes"),
            };
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        Ok(Self { dtype, shape, bytes })
    }

    /// A tensor from a vector in row-major order, without a copy.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] if the length does not match the shape.
    pub fn from_vec<T: Element>(shape: impl Into<Vec<usize>>, values: Vec<T>) -> Result<Self> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        if let Some(expected) = expected.filter(|&expected| expected != values.len()) {
            let (dtype, got) = (T::DTYPE, values.len());
            let text = format!("{dtype} {shape:?} needs {expected} values, got {got}");
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        Self::from_bytes(T::DTYPE, shape, T::to_bytes(values))
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self { dtype: T::DTYPE, shape: Vec::new(), bytes: T::to_bytes(vec![value]) }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The values as little-endian bytes in row-major order.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The values in row-major order.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when `T` is not the element type.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.values().map(Cow::into_owned)
    }

    fn values<T: Element>(&self) -> Result<Cow<'_, [T]>> {
        if T::DTYPE != self.dtype {
            let text = format!("the tensor is {}, not {}", self.dtype, T::DTYPE);
            return Err(Error::new(ErrorKind::DTypeMismatch, text));
        }
        Ok(T::from_bytes(&self.bytes))
    }

    /// The values as an array that borrows the bytes. Bools and unaligned bytes are copied.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when `T` is not the element type.
    pub fn view<T: Element>(&self) -> Result<CowArray<'_, T, IxDyn>> {
        let shape = IxDyn(&self.shape);
        match self.values()? {
            Cow::Borrowed(values) => ArrayViewD::from_shape(shape, values).map(CowArray::from),
            Cow::Owned(values) => ArrayD::from_shape_vec(shape, values).map(CowArray::from),
        }
        .map_err(|e| Error::new(ErrorKind::ShapeMismatch, e.to_string()).with_source(e))
    }

    /// The values as an array.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when `T` is not the element type.
    pub fn to_array<T: Element>(&self) -> Result<ArrayD<T>> {
        self.view().map(CowArray::into_owned)
    }

    /// The same values in another type. For the same type, the tensors share the bytes. Integers beyond the range
    /// wrap, and floats are rounded.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] between floats, integers and bools.
    pub(crate) fn convert(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        match (self.dtype, dtype) {
            (DType::F64, DType::F32) => self.map(|value: f64| value as f32),
            (DType::F32, DType::F64) => self.map(|value: f32| f64::from(value)),
            (from, to) if from.is_int() && to.is_int() => {
                let values: Vec<i64> = match from {
                    DType::I8 => self.numbers(|value: i8| value.into()),
                    DType::I16 => self.numbers(|value: i16| value.into()),
                    DType::I32 => self.numbers(|value: i32| value.into()),
                    DType::U8 => self.numbers(|value: u8| value.into()),
                    DType::U16 => self.numbers(|value: u16| value.into()),
                    DType::U32 => self.numbers(|value: u32| value.into()),
                    DType::U64 => self.numbers(|value: u64| value as i64),
                    _ => self.numbers(|value: i64| value),
                }?;
                let shape = self.shape.clone();
                let values = values.into_iter();
                match to {
                    DType::I8 => Self::from_vec(shape, values.map(|v| v as i8).collect()),
                    DType::I16 => Self::from_vec(shape, values.map(|v| v as i16).collect()),
                    DType::I32 => Self::from_vec(shape, values.map(|v| v as i32).collect()),
                    DType::U8 => Self::from_vec(shape, values.map(|v| v as u8).collect()),
                    DType::U16 => Self::from_vec(shape, values.map(|v| v as u16).collect()),
                    DType::U32 => Self::from_vec(shape, values.map(|v| v as u32).collect()),
                    DType::U64 => Self::from_vec(shape, values.map(|v| v as u64).collect()),
                    _ => Self::from_vec(shape, values.collect()),
                }
            }
            (from, to) if from.is_float() && to.is_float() => {
                let values: Vec<f32> = match from {
                    DType::F16 => self.to_vec::<f16>()?.into_iter().map(f16::to_f32).collect(),
                    DType::BF16 => self.to_vec::<bf16>()?.into_iter().map(bf16::to_f32).collect(),
                    DType::F64 => self.to_vec::<f64>()?.into_iter().map(|v| v as f32).collect(),
                    _ => self.to_vec()?,
                };
                let (shape, values) = (self.shape.clone(), values.into_iter());
                match to {
                    DType::F16 => Self::from_vec(shape, values.map(f16::from_f32).collect()),
                    DType::BF16 => Self::from_vec(shape, values.map(bf16::from_f32).collect()),
                    DType::F64 => Self::from_vec(shape, values.map(f64::from).collect()),
                    _ => Self::from_vec(shape, values.collect()),
                }
            }
            (from, to) => {
                let text = format!("{from} is not converted to {to}");
                Err(Error::new(ErrorKind::DTypeMismatch, text))
            }
        }
    }

    fn map<T: Element, U: Element>(&self, f: impl Fn(T) -> U) -> Result<Self> {
        Self::from_vec(self.shape.clone(), self.to_vec::<T>()?.into_iter().map(f).collect())
    }

    fn numbers<T: Element>(&self, f: impl Fn(T) -> i64) -> Result<Vec<i64>> {
        Ok(self.to_vec::<T>()?.into_iter().map(f).collect())
    }

    /// The same values in another shape.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the number of elements differs.
    pub fn reshape(&self, shape: impl Into<Vec<usize>>) -> Result<Self> {
        Self::from_bytes(self.dtype, shape, self.bytes.clone())
    }
}

impl<T: Element, D: Dimension> From<Array<T, D>> for HostTensor {
    /// Takes the memory of the array without a copy. An array that is not contiguous in row-major order is copied.
    fn from(array: Array<T, D>) -> Self {
        let shape = array.shape().to_vec();
        let values = if array.is_standard_layout() {
            let (values, offset) = array.into_raw_vec_and_offset();
            let len = shape.iter().product::<usize>();
            match offset {
                // An array that was made empty still has its values.
                _ if len == 0 => Vec::new(),
                Some(offset) if offset > 0 || values.len() != len => {
                    values[offset..offset + len].to_vec()
                }
                _ => values,
            }
        } else {
            array.iter().copied().collect()
        };
        Self { dtype: T::DTYPE, shape, bytes: T::to_bytes(values) }
    }
}

impl<T: Element> From<ArrayViewD<'_, T>> for HostTensor {
    fn from(view: ArrayViewD<'_, T>) -> Self {
        view.to_owned().into()
    }
}

impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostTensor({} {:?})", self.dtype, self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{array, s};

    #[test]
    fn arrays_of_any_layout_give_their_values() {
        let mut empty = array![1f32, 2., 3.];
        empty.slice_collapse(s![0..0]);
        let empty = HostTensor::from(empty);
        assert_eq!((empty.shape(), empty.bytes().len()), (&[0][..], 0));
        assert!(empty.to_vec::<f32>().unwrap().is_empty());
        let mut part = array![1f32, 2., 3., 4.];
        part.slice_collapse(s![1..3]);
        assert_eq!(HostTensor::from(part).to_vec::<f32>().unwrap(), [2., 3.]);
        let mut row = array![[1f32, 2.], [3., 4.]];
        row.slice_collapse(s![1.., ..]);
        assert_eq!(HostTensor::from(row).to_vec::<f32>().unwrap(), [3., 4.]);
        let turned = array![[1f32, 2.], [3., 4.]].reversed_axes();
        assert_eq!(HostTensor::from(turned).to_vec::<f32>().unwrap(), [1., 3., 2., 4.]);
    }
}
