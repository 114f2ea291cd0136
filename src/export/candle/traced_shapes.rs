//! What a traced tensor does about shapes: candle's checks with candle's texts, then one step on
//! the tape. Which sizes follow a symbol is decided later, in `sizes`.

use candle_core::{Error, Result, Shape, Tensor};

use super::tape::Op;
use super::tensor_ops::TensorOps;
use super::traced::Traced;
use super::traced_ops::known;

impl Traced {
    pub(super) fn reshaped(&self, shape: Shape) -> Result<Self> {
        let xs = self;
        known!(Tensor::reshape(xs, shape); xs);
        if shape.elem_count() != self.elem_count() {
            let (lhs, rhs) = (self.shape().clone(), shape);
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "reshape" }.bt());
        }
        Ok(Self::record(Op::Reshape, &[self], self.dtype(), shape.into_dims()))
    }

    pub(super) fn broadcast(&self, shape: Shape) -> Result<Self> {
        let xs = self;
        known!(Tensor::broadcast_as(xs, shape); xs);
        let (from, to) = (self.dims(), shape.dims());
        let fits = to.len() >= from.len()
            && from.iter().rev().zip(to.iter().rev()).all(|(&from, &to)| from == to || from == 1);
        if !fits {
            let (src_shape, dst_shape) = (self.shape().clone(), shape);
            return Err(Error::BroadcastIncompatibleShapes { src_shape, dst_shape }.bt());
        }
        Ok(Self::record(Op::Broadcast, &[self], self.dtype(), shape.into_dims()))
    }

    /// The axes from `start` to `end` as one, `end` included.
    pub(super) fn flattened(&self, start: usize, end: usize) -> Result<Self> {
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

    pub(super) fn permuted(&self, order: Vec<usize>) -> Result<Self> {
        let xs = self;
        known!(Tensor::permute(xs, order); xs);
        if order.len() != self.rank() || !(0..order.len()).all(|i| order.contains(&i)) {
            let dims = self.dims();
            candle_core::bail!("dimension mismatch in permute, tensor {dims:?}, dims: {order:?}")
        }
        let dims = order.iter().map(|&i| self.dims()[i]).collect();
        Ok(Self::record(Op::Permute { order }, &[self], self.dtype(), dims))
    }

    pub(super) fn squeezed(&self, dim: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::squeeze(xs, dim); xs);
        if self.dims()[dim] != 1 {
            return Ok(self.clone());
        }
        let mut dims = self.dims().to_vec();
        dims.remove(dim);
        Ok(Self::record(Op::Squeeze { dim }, &[self], self.dtype(), dims))
    }

    pub(super) fn unsqueezed(&self, dim: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::unsqueeze(xs, dim); xs);
        let mut dims = self.dims().to_vec();
        dims.insert(dim, 1);
        Ok(Self::record(Op::Unsqueeze { dim }, &[self], self.dtype(), dims))
    }

    pub(super) fn narrowed(&self, dim: usize, start: usize, len: usize) -> Result<Self> {
        let xs = self;
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
        Ok(Self::record_sized(Op::Narrow { dim }, &[self], self.dtype(), dims, sizes))
    }

    pub(super) fn chunked(&self, chunks: usize, dim: usize) -> Result<Vec<Self>> {
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

    pub(super) fn padded(&self, dim: usize, left: usize, right: usize) -> Result<Self> {
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
}
