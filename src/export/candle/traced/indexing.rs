//! Selecting and writing by index, of a traced tensor: candle's checks with candle's texts, then
//! one step on the tape.

use std::ops::{Bound, RangeBounds};

use candle_core::shape::Dim;
use candle_core::{DType, Error, Result, Tensor};

use super::{Traced, known};
use crate::export::candle::tape::Op;
use crate::export::candle::tensor_ops::TensorOps;

impl Traced {
    /// Candle's indices are u8, u32 or i64.
    fn index_type(&self, op: &'static str) -> Result<()> {
        match self.dtype() {
            DType::U8 | DType::U32 | DType::I64 => Ok(()),
            other => Err(Error::UnsupportedDTypeForOp(other, op).bt()),
        }
    }

    fn mismatch(&self, other: &Self, op: &'static str) -> Error {
        let (lhs, rhs) = (self.shape().clone(), other.shape().clone());
        Error::ShapeMismatchBinaryOp { lhs, rhs, op }.bt()
    }

    /// Whether the ranks are equal, and all sizes but that of `dim`.
    fn same_but(&self, other: &Self, dim: usize) -> bool {
        let sizes = self.dims().iter().zip(other.dims()).enumerate();
        self.rank() == other.rank() && sizes.filter(|(i, _)| *i != dim).all(|(_, (a, b))| a == b)
    }

    pub(super) fn gather<A: Dim>(&self, indexes: &Self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "gather")?;
        let xs = self;
        known!(Tensor::gather(xs, indexes, dim); xs, indexes);
        let within = self.dims().iter().zip(indexes.dims()).enumerate();
        let fits = self.rank() == indexes.rank()
            && within.filter(|(i, _)| *i != dim).all(|(_, (size, index))| index <= size);
        if !fits {
            return Err(self.mismatch(indexes, "gather"));
        }
        indexes.index_type("gather")?;
        let dims = indexes.dims().to_vec();
        Ok(Self::record(Op::Gather { dim }, &[self, indexes], self.dtype(), dims))
    }

    pub(super) fn index_select<A: Dim>(&self, indexes: &Self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "index-select")?;
        let xs = self;
        known!(Tensor::index_select(xs, indexes, dim); xs, indexes);
        let &[count] = indexes.dims() else {
            return Err(self.mismatch(indexes, "index-select"));
        };
        indexes.index_type("index-select")?;
        let mut dims = self.dims().to_vec();
        dims[dim] = count;
        Ok(Self::record(Op::IndexSelect { dim }, &[self, indexes], self.dtype(), dims))
    }

    pub(super) fn embedding(&self, ids: &Self) -> Result<Self> {
        if self.rank() != 2 || ids.rank() != 1 {
            return Err(self.mismatch(ids, "embedding"));
        }
        self.index_select(ids, 0)
    }

    pub(super) fn index_add<A: Dim>(&self, indexes: &Self, source: &Self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "index-add")?;
        let xs = self;
        known!(Tensor::index_add(xs, indexes, source, dim); xs, indexes, source);
        if !self.same_but(source, dim) {
            return Err(self.mismatch(source, "index-add (self, source)"));
        }
        let count = indexes.dims1()?;
        if source.dims()[dim] != count {
            return Err(indexes.mismatch(source, "index-add (ids, source))"));
        }
        indexes.index_type("index-add")?;
        self.same_dtype(source, "index-add")?;
        // An index for each element of the source.
        let mut shape = vec![1; source.rank()];
        shape[dim] = count;
        let indexes = indexes.reshape(shape)?.broadcast_as(source.shape())?;
        Ok(self.scattered(&indexes, source, dim, true))
    }

    fn scattered(&self, indexes: &Self, source: &Self, dim: usize, add: bool) -> Self {
        let inputs = [self, indexes, source];
        Self::record(Op::Scatter { dim, add }, &inputs, self.dtype(), self.dims().to_vec())
    }

    fn scatter_checks(
        &self,
        indexes: &Self,
        source: &Self,
        dim: usize,
        op: &'static str,
    ) -> Result<()> {
        if !self.same_but(source, dim) {
            return Err(self.mismatch(source, "scatter (self, src)"));
        }
        if indexes.dims() != source.dims() {
            return Err(indexes.mismatch(source, "scatter (indexes, src)"));
        }
        indexes.index_type(op)?;
        self.same_dtype(source, op)
    }

    pub(super) fn scatter<A: Dim>(&self, indexes: &Self, source: &Self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "scatter")?;
        let xs = self;
        known!(Tensor::scatter(xs, indexes, source, dim); xs, indexes, source);
        self.scatter_checks(indexes, source, dim, "scatter")?;
        Ok(self.scattered(indexes, source, dim, false))
    }

    pub(super) fn scatter_add<A: Dim>(
        &self,
        indexes: &Self,
        source: &Self,
        dim: A,
    ) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "scatter-add")?;
        let xs = self;
        known!(Tensor::scatter_add(xs, indexes, source, dim); xs, indexes, source);
        self.scatter_checks(indexes, source, dim, "scatter-add")?;
        Ok(self.scattered(indexes, source, dim, true))
    }

    pub(super) fn slice_scatter<A: Dim>(&self, src: &Self, dim: A, start: usize) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "slice-scatter")?;
        let xs = self;
        known!(Tensor::slice_scatter(xs, src, dim, start); xs, src);
        self.same_dtype(src, "slice-scatter")?;
        if self.rank() != src.rank() {
            let (expected, got, shape) = (self.rank(), src.rank(), src.shape().clone());
            return Err(Error::UnexpectedNumberOfDims { expected, got, shape }.bt());
        }
        let (whole, len) = (self.dims()[dim], src.dims()[dim]);
        if !self.same_but(src, dim) || start.saturating_add(len) > whole {
            return Err(self.mismatch(src, "slice-scatter (self, src)"));
        }
        let end = start + len;
        // What stays in front and behind; nothing is narrowed to nothing, which depends on a size.
        let mut parts = Vec::new();
        if start > 0 {
            parts.push(self.narrow(dim, 0, start)?);
        }
        parts.push(src.clone());
        if end < whole {
            parts.push(self.narrow(dim, end, whole - end)?);
        }
        Self::cat(&parts, dim)
    }

    pub(super) fn slice_scatter0(&self, src: &Self, start: usize) -> Result<Self> {
        self.slice_scatter(src, 0, start)
    }

    pub(super) fn slice_assign<R: RangeBounds<usize>>(
        &self,
        ranges: &[R],
        src: &Self,
    ) -> Result<Self> {
        if self.rank() != src.rank() {
            candle_core::bail!(
                "slice-assign requires input with the same rank {} <> {}",
                self.rank(),
                src.rank()
            )
        }
        if self.rank() != ranges.len() {
            candle_core::bail!(
                "slice-assign requires input with the same rank as there are ranges {} <> {}",
                self.rank(),
                ranges.len()
            )
        }
        let mut starts = Vec::with_capacity(ranges.len());
        for (i, range) in ranges.iter().enumerate() {
            let start = match range.start_bound() {
                Bound::Unbounded => 0,
                Bound::Included(&at) => at,
                Bound::Excluded(&at) => at + 1,
            };
            let end = match range.end_bound() {
                Bound::Unbounded => self.dims()[i],
                Bound::Included(&at) => at + 1,
                Bound::Excluded(&at) => at,
            };
            if end <= start {
                candle_core::bail!("slice-assign: empty range for dim {i}, {start} {end}")
            }
            if self.dims()[i] < end {
                candle_core::bail!(
                    "slice-assign: upper bound is out of range for dim {i}, {end} {}",
                    self.dims()[i]
                )
            }
            if end - start != src.dims()[i] {
                candle_core::bail!(
                    "slice-assign: the range for dim {i} ({start}..{end}) does not match the size of src {}",
                    src.dims()[i]
                )
            }
            starts.push(start);
        }
        self.assigned(&starts, src, 0)
    }

    /// `src` written at `starts`, axis by axis: the slab that is written, between what stays.
    fn assigned(&self, starts: &[usize], src: &Self, axis: usize) -> Result<Self> {
        if axis == self.rank() {
            return Ok(src.clone());
        }
        let slab = self.narrow(axis, starts[axis], src.dims()[axis])?;
        let slab = slab.assigned(starts, src, axis + 1)?;
        self.slice_scatter(&slab, axis, starts[axis])
    }

    pub(super) fn get(&self, i: usize) -> Result<Self> {
        if self.rank() == 0 {
            return Ok(self.clone());
        }
        let row = self.narrow(0, i, 1)?;
        row.reshape(&self.dims()[1..])
    }

    pub(super) fn get_on_dim<A: Dim>(&self, dim: A, index: usize) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "get_on_dim")?;
        self.narrow(dim, index, 1)?.squeeze(dim)
    }
}
