//! Shapes of a traced tensor: candle's checks with candle's texts, then one step on the tape. `sizes` decides later which
//! sizes follow a symbol.

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{Error, Result, Shape, Tensor};

use super::{Traced, known};
use crate::export::candle::tape::Op;
use crate::export::candle::tensor_ops::TensorOps;

impl Traced {
    fn reshaped(&self, shape: Shape) -> Result<Self> {
        let xs = self;
        known!(Tensor::reshape(xs, shape); xs);
        if shape.elem_count() != self.elem_count() {
            let (lhs, rhs) = (self.shape().clone(), shape);
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "reshape" }.bt());
        }
        Ok(Self::record(Op::Reshape, &[self], self.dtype(), shape.into_dims()))
    }

    fn broadcast(&self, shape: Shape) -> Result<Self> {
        let xs = &self.placed();
        known!(Tensor::broadcast_as(xs, shape); xs);
        let (from, to) = (self.dims(), shape.dims());
        let fits = to.len() >= from.len()
            && from.iter().rev().zip(to.iter().rev()).all(|(&from, &to)| from == to || from == 1);
        if !fits {
            let (src_shape, dst_shape) = (self.shape().clone(), shape);
            return Err(Error::BroadcastIncompatibleShapes { src_shape, dst_shape }.bt());
        }
        Ok(Self::record(Op::Broadcast, &[xs], self.dtype(), shape.into_dims()))
    }

    /// The axes from `start` to `end` as one, `end` included.
    fn flattened(&self, start: usize, end: usize) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshape(1);
        }
        if start >= end {
            return Ok(self.clone());
        }
        let dims = self.dims();
        let merged = dims[start..=end].iter().product();
        self.reshaped([&dims[..start], &[merged], &dims[end + 1..]].concat().into())
    }

    fn permuted(&self, order: Vec<usize>) -> Result<Self> {
        let xs = self;
        known!(Tensor::permute(xs, order); xs);
        if order.len() != self.rank() || !(0..order.len()).all(|i| order.contains(&i)) {
            let dims = self.dims();
            candle_core::bail!("dimension mismatch in permute, tensor {dims:?}, dims: {order:?}")
        }
        let dims = order.iter().map(|&i| self.dims()[i]).collect();
        Ok(Self::record(Op::Permute { order }, &[self], self.dtype(), dims))
    }

    fn squeezed(&self, dim: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::squeeze(xs, dim); xs);
        if self.dims()[dim] != 1 {
            return Ok(self.clone());
        }
        let mut dims = self.dims().to_vec();
        dims.remove(dim);
        Ok(Self::record(Op::Squeeze { dim }, &[self], self.dtype(), dims))
    }

    fn unsqueezed(&self, dim: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::unsqueeze(xs, dim); xs);
        let mut dims = self.dims().to_vec();
        dims.insert(dim, 1);
        Ok(Self::record(Op::Unsqueeze { dim }, &[self], self.dtype(), dims))
    }

    fn narrowed(&self, dim: usize, start: usize, len: usize) -> Result<Self> {
        let xs = &self.placed();
        known!(Tensor::narrow(xs, dim, start, len); xs);
        let mut dims = self.dims().to_vec();
        let msg = if start > dims[dim] {
            Some("start > dim_len")
        } else {
            (start.saturating_add(len) > dims[dim]).then_some("start + len > dim_len")
        };
        if let Some(msg) = msg {
            let shape = self.shape().clone();
            return Err(Error::NarrowInvalidArgs { shape, dim, start, len, msg }.bt());
        }
        dims[dim] = len;
        // Also where nothing is cut off: whether that is so may depend on a symbol.
        let sizes = vec![start, len];
        Ok(Self::record_sized(Op::Narrow { dim }, &[xs], self.dtype(), dims, sizes))
    }

    fn chunked(&self, chunks: usize, dim: usize) -> Result<Vec<Self>> {
        let size = self.dims()[dim];
        let count = chunks.min(size);
        if count == 0 {
            return Ok(Vec::new());
        }
        let (each, longer) = (size / count, size % count);
        let parts = (0..count).scan(0, |start, i| {
            let len = each + usize::from(i < longer);
            let part = self.narrowed(dim, *start, len);
            *start += len;
            Some(part)
        });
        parts.collect()
    }

    fn padded(&self, dim: usize, left: usize, right: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::pad_with_zeros(xs, dim, left, right); xs);
        let mut dims = self.dims().to_vec();
        dims[dim] += left + right;
        Ok(Self::record(Op::Pad { dim, left, right }, &[self], self.dtype(), dims))
    }

    pub(super) fn concatenated(args: &[&Self], dim: usize) -> Result<Self> {
        let first = args[0];
        if args.len() == 1 {
            return Ok(first.clone());
        }
        if let Some(tensors) = args.iter().map(|arg| arg.known()).collect::<Option<Vec<_>>>() {
            return Tensor::cat(&tensors, dim).map(Self::from_tensor);
        }
        let mut dims = first.dims().to_vec();
        for (i, arg) in args.iter().enumerate().skip(1) {
            if arg.rank() != first.rank() {
                let (expected, got, shape) = (first.rank(), arg.rank(), arg.shape().clone());
                return Err(Error::UnexpectedNumberOfDims { expected, got, shape }.bt());
            }
            first.same_dtype(arg, "cat")?;
            let differs = (0..first.rank())
                .find(|&axis| axis != dim && first.dims()[axis] != arg.dims()[axis]);
            if let Some(axis) = differs {
                let (first_shape, nth_shape) = (first.shape().clone(), arg.shape().clone());
                return Err(Error::ShapeMismatchCat {
                    dim: axis,
                    first_shape,
                    n: i + 1,
                    nth_shape,
                }
                .bt());
            }
            dims[dim] += arg.dims()[dim];
        }
        Ok(Self::record(Op::Cat { dim }, args, first.dtype(), dims))
    }

    pub(super) fn reshape<S: ShapeWithOneHole>(&self, shape: S) -> Result<Self> {
        self.reshaped(shape.into_shape(self.elem_count())?)
    }

    pub(super) fn broadcast_as<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        self.broadcast(shape.into())
    }

    pub(super) fn broadcast_left<S: Into<Shape>>(&self, left_shape: S) -> Result<Self> {
        let mut dims = left_shape.into().into_dims();
        dims.extend(self.dims());
        self.broadcast(dims.into())
    }

    pub(super) fn expand<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        self.broadcast(shape.into())
    }

    pub(super) fn repeat<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        let repeats = shape.into().into_dims();
        let mut xs = self.clone();
        if self.rank() < repeats.len() {
            let ones = vec![1; repeats.len() - self.rank()];
            xs = self.reshape([&ones, self.dims()].concat())?;
        }
        let xs = &xs.placed();
        known!(Tensor::repeat(xs, repeats); xs);
        if repeats.contains(&0) {
            candle_core::bail!("repeat: zero times, {repeats:?}, leaves nothing to export")
        }
        // Also where nothing is repeated: whether that is so may depend on a symbol.
        let mut dims = xs.dims().to_vec();
        dims.iter_mut().zip(&repeats).for_each(|(size, times)| *size *= times);
        let mut times = repeats;
        times.resize(dims.len(), 1);
        Ok(Self::record_sized(Op::Repeat, &[xs], self.dtype(), dims, times))
    }

    pub(super) fn flatten<A: Dim, B: Dim>(&self, start_dim: A, end_dim: B) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshape(1);
        }
        let end = end_dim.to_index(self.shape(), "flatten")?;
        self.flattened(start_dim.to_index(self.shape(), "flatten")?, end)
    }

    pub(super) fn flatten_to<A: Dim>(&self, end_dim: A) -> Result<Self> {
        self.flatten(0, end_dim)
    }

    pub(super) fn flatten_from<A: Dim>(&self, start_dim: A) -> Result<Self> {
        self.flatten(start_dim, candle_core::D::Minus1)
    }

    pub(super) fn flatten_all(&self) -> Result<Self> {
        self.flattened(0, self.rank().saturating_sub(1))
    }

    pub(super) fn t(&self) -> Result<Self> {
        let rank = self.rank();
        if rank < 2 {
            let shape = self.shape().clone();
            return Err(Error::UnexpectedNumberOfDims { expected: 2, got: rank, shape }.bt());
        }
        self.transpose(rank - 2, rank - 1)
    }

    pub(super) fn transpose<A: Dim, B: Dim>(&self, dim1: A, dim2: B) -> Result<Self> {
        let first = dim1.to_index(self.shape(), "transpose")?;
        let second = dim2.to_index(self.shape(), "transpose")?;
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(first, second);
        self.permuted(order)
    }

    pub(super) fn permute<A: Dims>(&self, dims: A) -> Result<Self> {
        self.permuted(dims.to_indexes(self.shape(), "permute")?)
    }

    pub(super) fn squeeze<A: Dim>(&self, dim: A) -> Result<Self> {
        self.squeezed(dim.to_index(self.shape(), "squeeze")?)
    }

    pub(super) fn unsqueeze<A: Dim>(&self, dim: A) -> Result<Self> {
        self.unsqueezed(dim.to_index_plus_one(self.shape(), "unsqueeze")?)
    }

    pub(super) fn narrow<A: Dim>(&self, dim: A, start: usize, len: usize) -> Result<Self> {
        self.narrowed(dim.to_index(self.shape(), "narrow")?, start, len)
    }

    pub(super) fn chunk<A: Dim>(&self, chunks: usize, dim: A) -> Result<Vec<Self>> {
        self.chunked(chunks, dim.to_index(self.shape(), "chunk")?)
    }

    pub(super) fn roll<A: Dim>(&self, shift: i32, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "roll")?;
        let size = self.dims()[dim];
        if size == 0 {
            return Ok(self.clone());
        }
        let shift = i64::from(shift).rem_euclid(size as i64) as usize;
        if shift == 0 {
            return Ok(self.clone());
        }
        let front = self.narrowed(dim, 0, size - shift)?;
        let back = self.narrowed(dim, size - shift, shift)?;
        Self::concatenated(&[&back, &front], dim)
    }

    pub(super) fn flip(&self, dims: &[usize]) -> Result<Self> {
        let xs = self;
        known!(Tensor::flip(xs, dims); xs);
        dims.iter().try_fold(self.clone(), |xs, &dim| {
            xs.dim(dim)?;
            Ok(xs.same(Op::Flip { dim }))
        })
    }

    pub(super) fn unfold<A: Dim>(&self, dim: A, size: usize, step: usize) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "unfold")?;
        let xs = self;
        known!(Tensor::unfold(xs, dim, size, step); xs);
        let mut dims = self.dims().to_vec();
        let whole = dims[dim];
        if size > whole {
            candle_core::bail!(
                "unsqueeze: maximum size for tensor at dimension {dim} is {whole} but size is {size}"
            )
        }
        if step == 0 {
            candle_core::bail!("unfold: the step is zero")
        }
        dims[dim] = (whole - size) / step + 1;
        dims.push(size);
        Ok(Self::record(Op::Unfold { dim, size, step }, &[self], self.dtype(), dims))
    }

    pub(super) fn pad_with_zeros<A: Dim>(&self, dim: A, left: usize, right: usize) -> Result<Self> {
        if left == 0 && right == 0 {
            return Ok(self.clone());
        }
        self.padded(dim.to_index(self.shape(), "pad_with_zeros")?, left, right)
    }

    pub(super) fn pad_with_same<A: Dim>(&self, dim: A, left: usize, right: usize) -> Result<Self> {
        if left == 0 && right == 0 {
            return Ok(self.clone());
        }
        if self.elem_count() == 0 {
            candle_core::bail!("cannot use pad_with_same on an empty tensor")
        }
        let dim = dim.to_index(self.shape(), "pad_with_same")?;
        let xs = self;
        known!(Tensor::pad_with_same(xs, dim, left, right); xs);
        let mut dims = self.dims().to_vec();
        dims[dim] += left + right;
        Ok(Self::record(Op::PadSame { dim, left, right }, &[self], self.dtype(), dims))
    }

    pub(super) fn replication_pad2d(&self, pad: usize) -> Result<Self> {
        match pad {
            0 => Ok(self.clone()),
            1 => {
                self.dims4()?;
                self.pad_with_same(3, 1, 1)?.pad_with_same(2, 1, 1)
            }
            n => candle_core::bail!("replication-pad with a size of {n} is not supported"),
        }
    }

    pub(super) fn pixel_shuffle(&self, upscale_factor: usize) -> Result<Self> {
        let (b, c, h, w) = self.dims4()?;
        if upscale_factor == 0 {
            candle_core::bail!("pixel-shuffle: the factor is zero")
        }
        let out = c / upscale_factor / upscale_factor;
        self.reshape((b, out, upscale_factor, upscale_factor, h, w))?
            .permute((0, 1, 4, 2, 5, 3))?
            .reshape((b, out, h * upscale_factor, w * upscale_factor))
    }

    pub(super) fn pixel_unshuffle(&self, downscale_factor: usize) -> Result<Self> {
        let (b, c, h, w) = self.dims4()?;
        if downscale_factor == 0 {
            candle_core::bail!("pixel-unshuffle: the factor is zero")
        }
        let (rows, columns) = (h / downscale_factor, w / downscale_factor);
        self.reshape((b, c, rows, downscale_factor, columns, downscale_factor))?
            .permute((0, 1, 3, 5, 2, 4))?
            .reshape((b, c * downscale_factor * downscale_factor, rows, columns))
    }

    pub(super) fn normalize_axis(&self, axis: i64) -> Result<usize> {
        let rank = self.rank() as i64;
        if rank <= axis {
            candle_core::bail!("axis {axis} is too large, tensor rank {rank}")
        }
        if axis < -rank {
            candle_core::bail!("axis {axis} is too small, tensor rank {rank}")
        }
        Ok(axis.rem_euclid(rank) as usize)
    }
}
