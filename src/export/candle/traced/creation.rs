//! Tensors made in a forward. Their sizes may follow a symbol, so where there are symbols they are
//! steps on the tape; else candle makes them at once.

use candle_core::shape::{Dim, ShapeWithOneHole};
use candle_core::{DType, Device, Error, NdArray, Result, Shape, Tensor, WithDType};

use super::{SharedTape, Traced};
use crate::export::candle::tape::{Op, Triangle};
use crate::export::candle::tensor_ops::TensorOps;

impl Traced {
    /// A step where the trace has symbols, else what candle makes.
    fn made(
        op: Op,
        dtype: DType,
        dims: Vec<usize>,
        candle: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Self> {
        match SharedTape::symbolic() {
            Some(tape) => Ok(tape.push(op, Vec::new(), dtype, dims, Vec::new())),
            None => candle().map(Self::from_tensor),
        }
    }

    pub(super) fn zeros<S: Into<Shape>>(shape: S, dtype: DType, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let dims = shape.dims().to_vec();
        Self::made(Op::Full { value: 0.0 }, dtype, dims, || Tensor::zeros(shape, dtype, device))
    }

    pub(super) fn ones<S: Into<Shape>>(shape: S, dtype: DType, device: &Device) -> Result<Self> {
        let shape = shape.into();
        let dims = shape.dims().to_vec();
        Self::made(Op::Full { value: 1.0 }, dtype, dims, || Tensor::ones(shape, dtype, device))
    }

    pub(super) fn full<V: WithDType, S: Into<Shape>>(
        value: V,
        shape: S,
        device: &Device,
    ) -> Result<Self> {
        let shape = shape.into();
        let (dims, number) = (shape.dims().to_vec(), value.to_f64());
        Self::made(Op::Full { value: number }, V::DTYPE, dims, || {
            Tensor::full(value, shape, device)
        })
    }

    pub(super) fn zeros_like(&self) -> Result<Self> {
        Self::zeros(self.shape(), self.dtype(), self.device())
    }

    pub(super) fn ones_like(&self) -> Result<Self> {
        Self::ones(self.shape(), self.dtype(), self.device())
    }

    pub(super) fn arange<V: WithDType>(start: V, end: V, device: &Device) -> Result<Self> {
        Self::arange_step(start, end, V::one(), device)
    }

    pub(super) fn arange_step<V: WithDType>(
        start: V,
        end: V,
        step: V,
        device: &Device,
    ) -> Result<Self> {
        let tensor = Tensor::arange_step(start, end, step, device)?;
        let op = Op::Range { start: start.to_f64(), step: step.to_f64() };
        Self::made(op, V::DTYPE, tensor.dims().to_vec(), || Ok(tensor))
    }

    pub(super) fn tril2(n: usize, dtype: DType, device: &Device) -> Result<Self> {
        let op = Op::Triangle(Triangle::Lower);
        Self::made(op, dtype, vec![n, n], || Tensor::tril2(n, dtype, device))
    }

    pub(super) fn triu2(n: usize, dtype: DType, device: &Device) -> Result<Self> {
        let op = Op::Triangle(Triangle::Upper);
        Self::made(op, dtype, vec![n, n], || Tensor::triu2(n, dtype, device))
    }

    pub(super) fn eye(n: usize, dtype: DType, device: &Device) -> Result<Self> {
        let op = Op::Triangle(Triangle::Diagonal);
        Self::made(op, dtype, vec![n, n], || Tensor::eye(n, dtype, device))
    }

    pub(super) fn new<A: NdArray>(array: A, device: &Device) -> Result<Self> {
        Tensor::new(array, device).map(Self::from_tensor)
    }

    pub(super) fn from_vec<S: ShapeWithOneHole, V: WithDType>(
        data: Vec<V>,
        shape: S,
        device: &Device,
    ) -> Result<Self> {
        Tensor::from_vec(data, shape, device).map(Self::from_tensor)
    }

    pub(super) fn from_slice<S: ShapeWithOneHole, V: WithDType>(
        array: &[V],
        shape: S,
        device: &Device,
    ) -> Result<Self> {
        Tensor::from_slice(array, shape, device).map(Self::from_tensor)
    }

    pub(super) fn cat<A: AsRef<Self>, B: Dim>(args: &[A], dim: B) -> Result<Self> {
        let args: Vec<&Self> = args.iter().map(AsRef::as_ref).collect();
        let Some(first) = args.first() else {
            return Err(Error::OpRequiresAtLeastOneTensor { op: "cat" }.bt());
        };
        Self::concatenated(&args, dim.to_index(first.shape(), "cat")?)
    }

    pub(super) fn stack<A: AsRef<Self>, B: Dim>(args: &[A], dim: B) -> Result<Self> {
        let Some(first) = args.first() else {
            return Err(Error::OpRequiresAtLeastOneTensor { op: "stack" }.bt());
        };
        let dim = dim.to_index_plus_one(first.as_ref().shape(), "stack")?;
        let args: Vec<Self> =
            args.iter().map(|arg| arg.as_ref().unsqueeze(dim)).collect::<Result<_>>()?;
        Self::concatenated(&args.iter().collect::<Vec<_>>(), dim)
    }

    pub(super) fn meshgrid<A: AsRef<Self>>(args: &[A], xy_indexing: bool) -> Result<Vec<Self>> {
        if args.len() <= 1 {
            return Err(Error::OpRequiresAtLeastTwoTensors { op: "meshgrid" }.bt());
        }
        let mut args: Vec<&Self> = args.iter().map(AsRef::as_ref).collect();
        if xy_indexing {
            args.reverse();
        }
        let sizes = args.iter().map(|arg| arg.dims1()).collect::<Result<Vec<_>>>()?;
        let grid = |(i, arg): (usize, &&Self)| {
            let mut shape = vec![1; sizes.len()];
            shape[i] = sizes[i];
            arg.reshape(shape)?.broadcast_as(sizes.clone())
        };
        let mut grids = args.iter().enumerate().map(grid).collect::<Result<Vec<_>>>()?;
        if xy_indexing {
            grids.reverse();
        }
        Ok(grids)
    }
}
