//! `candle_core::streaming` over the traced tensor: sounds that come in parts.

#[doc(no_inline)]
pub use candle_core::streaming::{BinOp, Dim};
use candle_core::{D, Result, Shape};

use super::core::Module;
use crate::export::candle::tensor_ops::TensorOps as _;
use crate::export::candle::traced::Traced;

/// As [`candle_core::StreamTensor`]: a tensor, or nothing yet.
#[derive(Clone, Debug)]
pub struct StreamTensor(Option<Traced>);

impl From<Option<Traced>> for StreamTensor {
    fn from(value: Option<Traced>) -> Self {
        Self(value)
    }
}

impl From<Traced> for StreamTensor {
    fn from(value: Traced) -> Self {
        Self(Some(value))
    }
}

impl From<()> for StreamTensor {
    fn from((): ()) -> Self {
        Self(None)
    }
}

impl StreamTensor {
    /// Nothing.
    pub fn empty() -> Self {
        Self(None)
    }

    /// A tensor.
    pub fn from_tensor(tensor: Traced) -> Self {
        Self(Some(tensor))
    }

    /// The sizes, if there is a tensor.
    pub fn shape(&self) -> Option<&Shape> {
        self.0.as_ref().map(Traced::shape_ref)
    }

    /// This and then the other.
    ///
    /// # Errors
    /// When the other sizes differ.
    pub fn cat2<A: Dim>(&self, rhs: &Self, dim: A) -> Result<Self> {
        Ok(Self(match (&self.0, &rhs.0) {
            (Some(lhs), Some(rhs)) => Some(Traced::cat(&[lhs, rhs], dim)?),
            (Some(xs), None) | (None, Some(xs)) => Some(xs.clone()),
            (None, None) => None,
        }))
    }

    /// The size of an axis; 0 for nothing.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn seq_len<A: Dim>(&self, dim: A) -> Result<usize> {
        self.0.as_ref().map_or(Ok(0), |xs| xs.dim(dim))
    }

    /// Forgets the tensor.
    pub fn reset(&mut self) {
        self.0 = None;
    }

    /// As much of a range of an axis as there is.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn narrow<A: Dim>(&self, dim: A, offset: usize, len: usize) -> Result<Self> {
        let Some(xs) = &self.0 else { return Ok(Self(None)) };
        match xs.dim(dim)?.checked_sub(offset) {
            None | Some(0) => Ok(Self(None)),
            Some(rest) => Ok(Self(Some(xs.narrow(dim, offset, len.min(rest))?))),
        }
    }

    /// The first places along an axis, and the rest.
    ///
    /// # Errors
    /// When there is no such axis.
    pub fn split<A: Dim>(&self, dim: A, lhs_len: usize) -> Result<(Self, Self)> {
        let rest = self.seq_len(dim)?.saturating_sub(lhs_len);
        match lhs_len {
            0 => Ok((Self(None), self.clone())),
            _ => Ok((self.narrow(dim, 0, lhs_len)?, self.narrow(dim, lhs_len, rest)?)),
        }
    }

    /// The tensor, if there is one.
    pub fn as_option(&self) -> Option<&Traced> {
        self.0.as_ref()
    }

    /// Runs a layer on what there is.
    ///
    /// # Errors
    /// The layer's own.
    pub fn apply<M: Module>(&self, m: &M) -> Result<Self> {
        self.0.as_ref().map(|xs| m.forward(xs)).transpose().map(Self)
    }
}

/// As [`candle_core::StreamingModule`].
pub trait StreamingModule {
    /// Takes one more part, and gives what can be computed by now.
    ///
    /// # Errors
    /// Candle's own.
    fn step(&mut self, xs: &StreamTensor) -> Result<StreamTensor>;

    /// Forgets what came before.
    fn reset_state(&mut self);
}

/// As [`candle_core::StreamingBinOp`].
#[derive(Clone, Debug)]
pub struct StreamingBinOp {
    prev_lhs: StreamTensor,
    prev_rhs: StreamTensor,
    /// What it computes.
    pub op: BinOp,
    /// The axis along which parts come.
    pub dim: D,
}

impl StreamingBinOp {
    /// With no part yet.
    pub fn new(op: BinOp, dim: D) -> Self {
        Self { prev_lhs: StreamTensor(None), prev_rhs: StreamTensor(None), op, dim }
    }

    /// Forgets what came before.
    pub fn reset_state(&mut self) {
        self.prev_lhs.reset();
        self.prev_rhs.reset();
    }

    /// Of whole tensors.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn forward(&self, lhs: &Traced, rhs: &Traced) -> Result<Traced> {
        match self.op {
            BinOp::Add => lhs + rhs,
            BinOp::Mul => lhs * rhs,
            BinOp::Sub => lhs - rhs,
            BinOp::Div => lhs / rhs,
        }
    }

    /// Of one more part of each.
    ///
    /// # Errors
    /// When shapes or types differ.
    pub fn step(&mut self, lhs: &StreamTensor, rhs: &StreamTensor) -> Result<StreamTensor> {
        let lhs = StreamTensor::cat2(&self.prev_lhs, lhs, self.dim)?;
        let rhs = StreamTensor::cat2(&self.prev_rhs, rhs, self.dim)?;
        let both = lhs.seq_len(self.dim)?.min(rhs.seq_len(self.dim)?);
        let (lhs, prev_lhs) = lhs.split(self.dim, both)?;
        let (rhs, prev_rhs) = rhs.split(self.dim, both)?;
        (self.prev_lhs, self.prev_rhs) = (prev_lhs, prev_rhs);
        match (lhs.0, rhs.0) {
            (Some(lhs), Some(rhs)) => self.forward(&lhs, &rhs).map(StreamTensor::from_tensor),
            _ => Ok(StreamTensor(None)),
        }
    }
}

/// As [`candle_core::streaming::Map`]: a layer that keeps nothing.
#[derive(Clone, Debug)]
pub struct Map<M>(M);

impl<M: Module> StreamingModule for Map<M> {
    fn step(&mut self, xs: &StreamTensor) -> Result<StreamTensor> {
        xs.apply(&self.0)
    }

    fn reset_state(&mut self) {}
}
