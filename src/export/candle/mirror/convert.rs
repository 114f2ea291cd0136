//! Values and candle's tensors as traced ones.

use candle_core::{Error, Result, Tensor};
use half::{bf16, f16};

use crate::export::candle::traced::Traced;

impl From<Tensor> for Traced {
    fn from(tensor: Tensor) -> Self {
        Self::from_tensor(tensor)
    }
}

impl From<&Tensor> for Traced {
    fn from(tensor: &Tensor) -> Self {
        Self::from_tensor(tensor.clone())
    }
}

/// Where the values are known.
impl TryFrom<Traced> for Tensor {
    type Error = Error;

    fn try_from(traced: Traced) -> Result<Self> {
        traced.into_tensor()
    }
}

macro_rules! values {
    ($($number:ty),*) => {$(
        impl TryFrom<$number> for Traced {
            type Error = Error;

            fn try_from(value: $number) -> Result<Self> {
                Tensor::try_from(value).map(Self::from_tensor)
            }
        }

        impl TryFrom<&[$number]> for Traced {
            type Error = Error;

            fn try_from(values: &[$number]) -> Result<Self> {
                Tensor::try_from(values).map(Self::from_tensor)
            }
        }

        impl TryFrom<Vec<$number>> for Traced {
            type Error = Error;

            fn try_from(values: Vec<$number>) -> Result<Self> {
                Tensor::try_from(&values[..]).map(Self::from_tensor)
            }
        }
    )*};
}

values!(f32, f64, f16, bf16, u8, u32, i64);
