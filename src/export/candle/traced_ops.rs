//! [`TensorOps`] for the traced tensor, elementwise and linear algebra: candle's checks with
//! candle's texts, then one step on the tape. Shapes and windows are in
//! `traced_shapes` and `traced_windows`.

use candle_core::shape::{Dim, Dims, ShapeWithOneHole};
use candle_core::{D, DType, Device, Error, Result, Shape, Tensor, ToUsize2};

use super::layers::{self, Layer};
use super::tape::{Binary, Compare, Op, Reduce, Unary};
use super::tensor_ops::{Operand, Right, TensorOps};
use super::traced::Traced;

/// Computes at once where all tensors are known.
macro_rules! known {
    ($f:expr; $($tensor:ident),+) => {
        if let ($(Some($tensor),)+) = ($($tensor.known(),)+) {
            return $f.map(Traced::from_tensor);
        }
    };
}
pub(super) use known;

macro_rules! unary {
    ($($name:ident => $op:ident;)*) => {$(
        fn $name(&self) -> Result<Self> {
            let xs = self;
            known!(<Tensor as TensorOps>::$name(xs); xs);
            Ok(self.unary(Unary::$op))
        }
    )*};
}

macro_rules! binary {
    ($($name:ident => $op:ident, $broadcast:literal;)*) => {$(
        fn $name(&self, rhs: &Self) -> Result<Self> {
            let xs = self;
            known!(Tensor::$name(xs, rhs); xs, rhs);
            self.binary(rhs, Binary::$op, $broadcast, stringify!($name))
        }
    )*};
}

macro_rules! operand {
    ($($name:ident => $op:ident;)*) => {$(
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            let (rhs, broadcast) = self.right(rhs)?;
            let xs = self;
            known!(Tensor::$name(xs, &rhs.broadcast_as(xs.shape())?); xs, rhs);
            self.binary(&rhs, Binary::$op, broadcast, stringify!($name))
        }
    )*};
}

macro_rules! compare {
    ($($name:ident => $op:ident;)*) => {$(
        fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            let (rhs, broadcast) = self.right(rhs)?;
            let xs = self;
            known!(Tensor::$name(xs, &rhs.broadcast_as(xs.shape())?); xs, rhs);
            let dims = self.binary_dims(&rhs, broadcast, "cmp")?;
            Ok(Self::record(Op::Compare(Compare::$op), &[self, &rhs], DType::U8, dims))
        }
    )*};
}

macro_rules! reduce {
    ($bound:ident, $to:ident: $($name:ident => $op:ident, $keep:literal, $text:literal;)*) => {$(
        fn $name<D: $bound>(&self, dims: D) -> Result<Self> {
            let dims = dims.$to(self.shape(), $text)?;
            let xs = self;
            known!(Tensor::$name(xs, dims); xs);
            Ok(self.reduce(Reduce::$op, dims.into_axes(), $keep))
        }
    )*};
}

/// One axis or several, as a list.
trait IntoAxes {
    fn into_axes(self) -> Vec<usize>;
}

impl IntoAxes for usize {
    fn into_axes(self) -> Vec<usize> {
        vec![self]
    }
}

impl IntoAxes for Vec<usize> {
    fn into_axes(self) -> Vec<usize> {
        self
    }
}

macro_rules! arg_reduce {
    ($($name:ident => $max:literal, $keep:literal, $text:literal;)*) => {$(
        fn $name<D: Dim>(&self, dim: D) -> Result<Self> {
            let dim = dim.to_index(self.shape(), $text)?;
            let xs = self;
            known!(Tensor::$name(xs, dim); xs);
            let dims = self.reduced_dims(&[dim], $keep);
            Ok(Self::record(Op::ArgReduce { max: $max, dim, keepdim: $keep }, &[self], DType::U32, dims))
        }
    )*};
}

impl Traced {
    /// The right-hand side, and whether it is a number for every element.
    fn right<R: Operand<Self>>(&self, rhs: R) -> Result<(Traced, bool)> {
        Ok(match rhs.operand()? {
            Right::Tensor(tensor) => (tensor, false),
            Right::Number(number) => {
                let number = number.to_dtype(self.dtype())?.to_device(self.device())?;
                (Traced::from_tensor(number), true)
            }
        })
    }

    fn binary_dims(&self, rhs: &Self, broadcast: bool, op: &'static str) -> Result<Vec<usize>> {
        let shape = if broadcast {
            self.shape().broadcast_shape_binary_op(rhs.shape(), op)?
        } else if self.shape() == rhs.shape() {
            self.shape().clone()
        } else {
            let (lhs, rhs) = (self.shape().clone(), rhs.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op }.bt());
        };
        self.same_dtype(rhs, op)?;
        Ok(shape.into_dims())
    }

    fn binary(
        &self,
        rhs: &Self,
        binary: Binary,
        broadcast: bool,
        op: &'static str,
    ) -> Result<Self> {
        let dims = self.binary_dims(rhs, broadcast, op)?;
        Ok(Self::record(Op::Binary(binary), &[self, rhs], self.dtype(), dims))
    }

    fn reduced_dims(&self, axes: &[usize], keepdim: bool) -> Vec<usize> {
        let dims =
            self.dims().iter().enumerate().filter_map(|(i, &size)| match axes.contains(&i) {
                true => keepdim.then_some(1),
                false => Some(size),
            });
        dims.collect()
    }

    fn reduce(&self, op: Reduce, axes: Vec<usize>, keepdim: bool) -> Self {
        let dims = self.reduced_dims(&axes, keepdim);
        Self::record(Op::Reduce { op, dims: axes, keepdim }, &[self], self.dtype(), dims)
    }

    fn reduce_all(&self, op: Reduce) -> Self {
        self.reduce(op, (0..self.rank()).collect(), false)
    }

    fn product(&self, rhs: &Self, batch: &[usize]) -> Result<Self> {
        self.same_dtype(rhs, "matmul")?;
        let (m, n) = (self.dims()[self.rank() - 2], rhs.dims()[rhs.rank() - 1]);
        let dims = [batch, &[m, n]].concat();
        Ok(Self::record(Op::MatMul, &[self, rhs], self.dtype(), dims))
    }

    fn softmax_along(&self, dim: usize, log: bool) -> Self {
        Self::record(Op::Softmax { dim, log }, &[self], self.dtype(), self.dims().to_vec())
    }
}

impl TensorOps for Traced {
    fn constant(tensor: &Tensor) -> Self {
        Self::from_tensor(tensor.clone())
    }

    fn layer(layer: Layer<'_>, xs: &Self) -> Result<Self> {
        known!(<Tensor as TensorOps>::layer(layer, xs); xs);
        layers::record(layer, xs)
    }

    fn scope<R>(&self, name: &str, f: impl FnOnce(&Self) -> R) -> R {
        self.within(name, f)
    }

    fn shape(&self) -> &Shape {
        self.shape_ref()
    }

    fn dtype(&self) -> DType {
        self.dtype_of()
    }

    fn device(&self) -> &Device {
        self.device_ref()
    }

    unary! {
        abs => Abs;
        ceil => Ceil;
        cos => Cos;
        erf => Erf;
        exp => Exp;
        floor => Floor;
        gelu => Gelu;
        gelu_erf => GeluErf;
        hard_sigmoid => HardSigmoid;
        log => Log;
        mish => Mish;
        neg => Neg;
        recip => Recip;
        relu => Relu;
        round => Round;
        sigmoid => Sigmoid;
        sign => Sign;
        silu => Silu;
        sin => Sin;
        sqr => Sqr;
        sqrt => Sqrt;
        tanh => Tanh;
    }

    binary! {
        add => Add, false;
        sub => Sub, false;
        mul => Mul, false;
        div => Div, false;
        broadcast_add => Add, true;
        broadcast_sub => Sub, true;
        broadcast_mul => Mul, true;
        broadcast_div => Div, true;
        broadcast_maximum => Maximum, true;
        broadcast_minimum => Minimum, true;
    }

    operand! {
        maximum => Maximum;
        minimum => Minimum;
    }

    compare! {
        eq => Eq;
        ne => Ne;
        lt => Lt;
        gt => Gt;
        ge => Ge;
        le => Le;
    }

    reduce! { Dims, to_indexes:
        sum => Sum, false, "sum";
        sum_keepdim => Sum, true, "sum";
        mean => Mean, false, "mean";
        mean_keepdim => Mean, true, "mean-keepdim";
    }

    reduce! { Dim, to_index:
        max => Max, false, "max";
        max_keepdim => Max, true, "max";
        min => Min, false, "min";
        min_keepdim => Min, true, "min";
    }

    arg_reduce! {
        argmax => true, false, "argmax";
        argmax_keepdim => true, true, "argmax";
        argmin => false, false, "argmin";
        argmin_keepdim => false, true, "argmin";
    }

    fn affine(&self, mul: f64, add: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::affine(xs, mul, add); xs);
        Ok(Self::record(Op::Affine { mul, add }, &[self], self.dtype(), self.dims().to_vec()))
    }

    fn elu(&self, alpha: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::elu(xs, alpha); xs);
        Ok(Self::record(Op::Elu { alpha }, &[self], self.dtype(), self.dims().to_vec()))
    }

    fn powf(&self, exponent: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::powf(xs, exponent); xs);
        Ok(Self::record(Op::Powf { exponent }, &[self], self.dtype(), self.dims().to_vec()))
    }

    fn leaky_relu(&self, slope: f64) -> Result<Self> {
        let xs = self;
        known!(candle_nn::ops::leaky_relu(xs, slope); xs);
        Ok(Self::record(Op::LeakyRelu { slope }, &[self], self.dtype(), self.dims().to_vec()))
    }

    fn swiglu(&self) -> Result<Self> {
        let halves = self.chunk(2, D::Minus1)?;
        halves[0].silu()?.mul(&halves[1])
    }

    fn softmax<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "softmax")?;
        let xs = self;
        known!(candle_nn::ops::softmax(xs, dim); xs);
        Ok(self.softmax_along(dim, false))
    }

    fn softmax_last_dim(&self) -> Result<Self> {
        self.softmax(D::Minus1)
    }

    fn log_softmax<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "log-softmax")?;
        let xs = self;
        known!(candle_nn::ops::log_softmax(xs, dim); xs);
        Ok(self.softmax_along(dim, true))
    }

    fn matmul(&self, rhs: &Self) -> Result<Self> {
        let xs = self;
        known!(Tensor::matmul(xs, rhs); xs, rhs);
        let (a, b) = (self.dims(), rhs.dims());
        let rank = a.len();
        let fits = rank >= 2
            && b.len() == rank
            && a[rank - 1] == b[rank - 2]
            && a[..rank - 2] == b[..rank - 2];
        if !fits {
            let (lhs, rhs) = (self.shape().clone(), rhs.shape().clone());
            return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "matmul" }.bt());
        }
        self.product(rhs, &a[..rank - 2])
    }

    fn broadcast_matmul(&self, rhs: &Self) -> Result<Self> {
        let xs = self;
        known!(Tensor::broadcast_matmul(xs, rhs); xs, rhs);
        let (a, b) = (self.shape(), rhs.shape());
        if a.rank() < 2 || b.rank() < 2 {
            candle_core::bail!("only 2d matrixes are supported {a:?} {b:?}")
        }
        if a.dims()[a.rank() - 1] != b.dims()[b.rank() - 2] {
            candle_core::bail!("different inner dimensions in broadcast matmul {a:?} {b:?}")
        }
        let batch = |shape: &Shape| Shape::from(&shape.dims()[..shape.rank() - 2]);
        let batch = batch(a).broadcast_shape_binary_op(&batch(b), "broadcast_matmul")?;
        self.product(rhs, batch.dims())
    }

    fn where_cond(&self, on_true: &Self, on_false: &Self) -> Result<Self> {
        let xs = self;
        known!(Tensor::where_cond(xs, on_true, on_false); xs, on_true, on_false);
        if !self.dtype().is_int() {
            return Err(Error::UnsupportedDTypeForOp(self.dtype(), "where_cond").bt());
        }
        on_true.same_dtype(on_false, "where_cond")?;
        for branch in [on_true, on_false] {
            if branch.shape() != self.shape() {
                let (lhs, rhs) = (self.shape().clone(), branch.shape().clone());
                return Err(Error::ShapeMismatchBinaryOp { lhs, rhs, op: "where_cond" }.bt());
            }
        }
        let inputs = [self, on_true, on_false];
        Ok(Self::record(Op::Where, &inputs, on_true.dtype(), self.dims().to_vec()))
    }

    fn conv1d(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::conv1d(xs, kernel, padding, stride, dilation, groups); xs, kernel);
        kernel.dims3()?;
        self.conv(kernel, None, [padding, stride, dilation, groups])
    }

    fn conv2d(
        &self,
        kernel: &Self,
        padding: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    ) -> Result<Self> {
        let xs = self;
        known!(Tensor::conv2d(xs, kernel, padding, stride, dilation, groups); xs, kernel);
        kernel.dims4()?;
        self.conv(kernel, None, [padding, stride, dilation, groups])
    }

    fn upsample_nearest2d(&self, target_h: usize, target_w: usize) -> Result<Self> {
        let xs = self;
        known!(Tensor::upsample_nearest2d(xs, target_h, target_w); xs);
        let (n, c, _, _) = self.dims4()?;
        let dims = vec![n, c, target_h, target_w];
        Ok(Self::record(Op::UpsampleNearest2d, &[self], self.dtype(), dims))
    }

    fn interpolate2d(&self, target_h: usize, target_w: usize) -> Result<Self> {
        self.upsample_nearest2d(target_h, target_w)
    }

    fn avg_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self> {
        let (kernel, stride) = (kernel_size.to_usize2(), stride.to_usize2());
        let xs = self;
        known!(Tensor::avg_pool2d_with_stride(xs, kernel, stride); xs);
        self.pool(false, kernel, stride)
    }

    fn max_pool2d_with_stride<S: ToUsize2>(&self, kernel_size: S, stride: S) -> Result<Self> {
        let (kernel, stride) = (kernel_size.to_usize2(), stride.to_usize2());
        let xs = self;
        known!(Tensor::max_pool2d_with_stride(xs, kernel, stride); xs);
        self.pool(true, kernel, stride)
    }

    fn sum_all(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::sum_all(xs); xs);
        Ok(self.reduce_all(Reduce::Sum))
    }

    fn mean_all(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::mean_all(xs); xs);
        Ok(self.reduce_all(Reduce::Mean))
    }

    fn max_all(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::max_all(xs); xs);
        Ok(self.reduce_all(Reduce::Max))
    }

    fn min_all(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::min_all(xs); xs);
        Ok(self.reduce_all(Reduce::Min))
    }

    fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let xs = self;
        known!(Tensor::to_dtype(xs, dtype); xs);
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        Ok(Self::record(Op::Cast, &[self], dtype, self.dims().to_vec()))
    }

    fn contiguous(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::contiguous(xs); xs);
        Ok(self.clone())
    }

    fn flatten_all(&self) -> Result<Self> {
        self.flattened(0, self.rank().saturating_sub(1))
    }

    fn t(&self) -> Result<Self> {
        let rank = self.rank();
        if rank < 2 {
            let shape = self.shape().clone();
            return Err(Error::UnexpectedNumberOfDims { expected: 2, got: rank, shape }.bt());
        }
        self.transpose(rank - 2, rank - 1)
    }

    fn get(&self, i: usize) -> Result<Self> {
        if self.rank() == 0 {
            return Ok(self.clone());
        }
        let row = self.narrow(0, i, 1)?;
        row.reshape(&self.dims()[1..])
    }

    fn reshape<S: ShapeWithOneHole>(&self, shape: S) -> Result<Self> {
        self.reshaped(shape.into_shape(self.elem_count())?)
    }

    fn broadcast_as<S: Into<Shape>>(&self, shape: S) -> Result<Self> {
        self.broadcast(shape.into())
    }

    fn flatten<A: Dim, B: Dim>(&self, start_dim: A, end_dim: B) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshape(1);
        }
        let end = end_dim.to_index(self.shape(), "flatten")?;
        self.flattened(start_dim.to_index(self.shape(), "flatten")?, end)
    }

    fn flatten_to<A: Dim>(&self, end_dim: A) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshape(1);
        }
        self.flattened(0, end_dim.to_index(self.shape(), "flatten")?)
    }

    fn flatten_from<A: Dim>(&self, start_dim: A) -> Result<Self> {
        if self.rank() == 0 {
            return self.reshape(1);
        }
        self.flattened(start_dim.to_index(self.shape(), "flatten")?, self.rank() - 1)
    }

    fn transpose<A: Dim, B: Dim>(&self, dim1: A, dim2: B) -> Result<Self> {
        let first = dim1.to_index(self.shape(), "transpose")?;
        let second = dim2.to_index(self.shape(), "transpose")?;
        let mut order: Vec<usize> = (0..self.rank()).collect();
        order.swap(first, second);
        self.permuted(order)
    }

    fn permute<A: Dims>(&self, dims: A) -> Result<Self> {
        self.permuted(dims.to_indexes(self.shape(), "permute")?)
    }

    fn squeeze<A: Dim>(&self, dim: A) -> Result<Self> {
        self.squeezed(dim.to_index(self.shape(), "squeeze")?)
    }

    fn unsqueeze<A: Dim>(&self, dim: A) -> Result<Self> {
        self.unsqueezed(dim.to_index_plus_one(self.shape(), "unsqueeze")?)
    }

    fn narrow<A: Dim>(&self, dim: A, start: usize, len: usize) -> Result<Self> {
        self.narrowed(dim.to_index(self.shape(), "narrow")?, start, len)
    }

    fn chunk<A: Dim>(&self, chunks: usize, dim: A) -> Result<Vec<Self>> {
        self.chunked(chunks, dim.to_index(self.shape(), "chunk")?)
    }

    fn pad_with_zeros<A: Dim>(&self, dim: A, left: usize, right: usize) -> Result<Self> {
        if left == 0 && right == 0 {
            return Ok(self.clone());
        }
        self.padded(dim.to_index(self.shape(), "pad_with_zeros")?, left, right)
    }

    fn cat<A: AsRef<Self>, B: Dim>(args: &[A], dim: B) -> Result<Self> {
        let args: Vec<&Self> = args.iter().map(AsRef::as_ref).collect();
        let Some(first) = args.first() else {
            return Err(Error::OpRequiresAtLeastOneTensor { op: "cat" }.bt());
        };
        Self::concatenated(&args, dim.to_index(first.shape(), "cat")?)
    }

    fn stack<A: AsRef<Self>, B: Dim>(args: &[A], dim: B) -> Result<Self> {
        let Some(first) = args.first() else {
            return Err(Error::OpRequiresAtLeastOneTensor { op: "stack" }.bt());
        };
        let dim = dim.to_index_plus_one(first.as_ref().shape(), "stack")?;
        let args: Vec<Self> =
            args.iter().map(|arg| arg.as_ref().unsqueezed(dim)).collect::<Result<_>>()?;
        Self::concatenated(&args.iter().collect::<Vec<_>>(), dim)
    }
}
