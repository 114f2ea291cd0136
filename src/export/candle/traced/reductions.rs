//! Reductions, sorting, softmax and normalization of a traced tensor: candle's checks with
//! candle's texts, then one step on the tape.

use candle_core::shape::{Dim, Dims};
use candle_core::{D, DType, Error, Result, Tensor};

use super::{Traced, known};
use crate::export::candle::tape::{Op, Reduce};
use crate::export::candle::tensor_ops::TensorOps;

macro_rules! reduce {
    ($bound:ident, $to:ident: $($name:ident => $op:ident, $keep:literal, $text:literal;)*) => {$(
        pub(super) fn $name<A: $bound>(&self, dims: A) -> Result<Self> {
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
        pub(super) fn $name<A: Dim>(&self, dim: A) -> Result<Self> {
            let dim = dim.to_index(self.shape(), $text)?;
            let xs = self;
            known!(Tensor::$name(xs, dim); xs);
            let dims = self.reduced_dims(&[dim], $keep);
            Ok(Self::record(Op::ArgReduce { max: $max, dim, keepdim: $keep }, &[self], DType::U32, dims))
        }
    )*};
}

macro_rules! reduce_all {
    ($($name:ident => $op:ident;)*) => {$(
        pub(super) fn $name(&self) -> Result<Self> {
            let xs = self;
            known!(Tensor::$name(xs); xs);
            Ok(self.reduce(Reduce::$op, (0..self.rank()).collect(), false))
        }
    )*};
}

impl Traced {
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

    reduce_all! {
        sum_all => Sum;
        mean_all => Mean;
        max_all => Max;
        min_all => Min;
    }

    arg_reduce! {
        argmax => true, false, "argmax";
        argmax_keepdim => true, true, "argmax";
        argmin => false, false, "argmin";
        argmin_keepdim => false, true, "argmin";
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

    pub(super) fn var_keepdim<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "var")?;
        let xs = self;
        known!(Tensor::var_keepdim(xs, dim); xs);
        let dims = self.reduced_dims(&[dim], true);
        Ok(Self::record(Op::Variance { dim }, &[self], self.dtype(), dims))
    }

    pub(super) fn var<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "var")?;
        self.var_keepdim(dim)?.squeeze(dim)
    }

    /// In candle's steps, whose exponents do not overflow; consumers of ONNX's operator differ in
    /// that.
    pub(super) fn log_sum_exp<A: Dims>(&self, dims: A) -> Result<Self> {
        let dims = dims.to_indexes(self.shape(), "log-sum-exp")?;
        let Some((&first, others)) = dims.split_first() else { return Ok(self.clone()) };
        let max =
            others.iter().try_fold(self.max_keepdim(first)?, |max, &dim| max.max_keepdim(dim))?;
        let sum = self.broadcast_sub(&max)?.exp()?.sum(dims.clone())?;
        let mut squeezed = max;
        let mut descending = dims;
        descending.sort_unstable();
        for dim in descending.into_iter().rev() {
            squeezed = squeezed.squeeze(dim)?;
        }
        sum.log()?.add(&squeezed)
    }

    pub(super) fn norm(&self) -> Result<Self> {
        if self.dtype().is_int() {
            candle_core::bail!("norm not supported for integer dtypes");
        }
        self.sqr()?.sum_all()?.sqrt()
    }

    pub(super) fn cumsum<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "cumsum")?;
        let xs = self;
        known!(Tensor::cumsum(xs, dim); xs);
        Ok(self.same(Op::CumSum { dim }))
    }

    pub(super) fn arg_sort_last_dim(&self, asc: bool) -> Result<Self> {
        let xs = self;
        known!(Tensor::arg_sort_last_dim(xs, asc); xs);
        if self.rank() == 0 {
            candle_core::bail!("empty last-dim in arg-sort")
        }
        let op = Op::Sort { ascending: asc, positions: true };
        Ok(Self::record(op, &[self], DType::U32, self.dims().to_vec()))
    }

    pub(super) fn sort_last_dim(&self, asc: bool) -> Result<(Self, Self)> {
        let positions = self.arg_sort_last_dim(asc)?;
        let values = match self.known() {
            Some(_) => self.gather(&positions, D::Minus1)?,
            None => self.same(Op::Sort { ascending: asc, positions: false }),
        };
        Ok((values, positions))
    }

    fn softmax_along(&self, dim: usize, log: bool) -> Self {
        self.same(Op::Softmax { dim, log })
    }

    pub(super) fn softmax<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "softmax")?;
        let xs = self;
        known!(candle_nn::ops::softmax(xs, dim); xs);
        Ok(self.softmax_along(dim, false))
    }

    pub(super) fn softmax_last_dim(&self) -> Result<Self> {
        self.softmax(D::Minus1)
    }

    pub(super) fn log_softmax<A: Dim>(&self, dim: A) -> Result<Self> {
        let dim = dim.to_index(self.shape(), "log-softmax")?;
        let xs = self;
        known!(candle_nn::ops::log_softmax(xs, dim); xs);
        Ok(self.softmax_along(dim, true))
    }

    pub(super) fn layer_norm(&self, alpha: &Self, beta: &Self, eps: f32) -> Result<Self> {
        let xs = self;
        known!(candle_nn::ops::layer_norm(xs, alpha, beta, eps); xs, alpha, beta);
        let size = self.dim(D::Minus1)?;
        if size != alpha.dims1()? || size != beta.dims1()? {
            candle_core::bail!(
                "shape mismatch in layer-norm src: {:?} alpha: {:?} beta: {:?}",
                self.shape(),
                alpha.shape(),
                beta.shape()
            )
        }
        self.normalized(&[alpha, beta], Op::LayerNorm { eps: f64::from(eps) })
    }

    pub(super) fn rms_norm(&self, alpha: &Self, eps: f32) -> Result<Self> {
        let xs = self;
        known!(candle_nn::ops::rms_norm(xs, alpha, eps); xs, alpha);
        if self.dim(D::Minus1)? != alpha.dims1()? {
            candle_core::bail!("shape mismatch in rms-norm {:?} {:?}", self.shape(), alpha.shape())
        }
        self.normalized(&[alpha], Op::RmsNorm { eps: f64::from(eps) })
    }

    /// A step whose result has type and sizes of this tensor, with parameters of the same type.
    pub(in crate::export::candle) fn normalized(
        &self,
        parameters: &[&Self],
        op: Op,
    ) -> Result<Self> {
        for parameter in parameters {
            self.same_dtype(parameter, "normalization")?;
        }
        let inputs = [&[self], parameters].concat();
        Ok(Self::record(op, &inputs, self.dtype(), self.dims().to_vec()))
    }

    fn rope_check(&self, cos: &Self, sin: &Self, length: usize, width: usize) -> Result<()> {
        self.same_dtype(cos, "rope")?;
        self.same_dtype(sin, "rope")?;
        for table in [cos, sin] {
            let (rows, columns) = match *table.dims() {
                [rows, columns] => (rows, columns),
                [batch, rows, columns] if batch == self.dims()[0] => (rows, columns),
                [_, _, _] => candle_core::bail!(
                    "inconsistent batch size in rope {} {:?}",
                    self.dims()[0],
                    table.shape()
                ),
                _ => candle_core::bail!(
                    "cos/sin has to be 2D or 3D in rope {} {:?}",
                    self.dims()[0],
                    table.shape()
                ),
            };
            if columns * 2 != width || length > rows {
                let (xs, cos, sin) = (self.shape(), cos.shape(), sin.shape());
                return Err(Error::Msg(format!(
                    "inconsistent last dim size in rope {xs:?} {cos:?} {sin:?}"
                ))
                .bt());
            }
        }
        Ok(())
    }

    /// The first `length` rows of a table of cosines or sines, to broadcast over the heads, which
    /// are axis `heads`.
    fn rope_table(table: &Self, length: usize, heads: usize) -> Result<Self> {
        let rows = table.rank() - 2;
        let table = table.narrow(rows, 0, length)?;
        let table = if rows == 0 { table.unsqueeze(0)? } else { table };
        table.unsqueeze(heads)
    }

    /// Rotary embedding (Su et al., 2021) of the two halves of the last axis.
    fn rope_halves(&self, cos: &Self, sin: &Self, length_axis: usize) -> Result<Self> {
        let (_, _, _, width) = self.dims4()?;
        let (length, heads) = (self.dims()[length_axis], 3 - length_axis);
        self.rope_check(cos, sin, length, width)?;
        let cos = Self::rope_table(cos, length, heads)?;
        let sin = Self::rope_table(sin, length, heads)?;
        let (a, b) = (self.narrow(3, 0, width / 2)?, self.narrow(3, width / 2, width / 2)?);
        let first = a.broadcast_mul(&cos)?.sub(&b.broadcast_mul(&sin)?)?;
        let second = a.broadcast_mul(&sin)?.add(&b.broadcast_mul(&cos)?)?;
        Self::cat(&[first, second], 3)
    }

    pub(super) fn rope(&self, cos: &Self, sin: &Self) -> Result<Self> {
        let xs = self;
        known!(candle_nn::rotary_emb::rope(xs, cos, sin); xs, cos, sin);
        self.rope_halves(cos, sin, 2)
    }

    pub(super) fn rope_thd(&self, cos: &Self, sin: &Self) -> Result<Self> {
        let xs = self;
        known!(candle_nn::rotary_emb::rope_thd(xs, cos, sin); xs, cos, sin);
        self.rope_halves(cos, sin, 1)
    }

    /// Of neighbors instead of halves.
    pub(super) fn rope_i(&self, cos: &Self, sin: &Self) -> Result<Self> {
        let xs = self;
        known!(candle_nn::rotary_emb::rope_i(xs, cos, sin); xs, cos, sin);
        let (batch, heads, length, width) = self.dims4()?;
        self.rope_check(cos, sin, length, width)?;
        let cos = Self::rope_table(cos, length, 1)?.unsqueeze(4)?;
        let sin = Self::rope_table(sin, length, 1)?.unsqueeze(4)?;
        let pairs = self.reshape((batch, heads, length, width / 2, 2))?;
        let (a, b) = (pairs.narrow(4, 0, 1)?, pairs.narrow(4, 1, 1)?);
        let first = a.broadcast_mul(&cos)?.sub(&b.broadcast_mul(&sin)?)?;
        let second = a.broadcast_mul(&sin)?.add(&b.broadcast_mul(&cos)?)?;
        Self::cat(&[first, second], 4)?.reshape((batch, heads, length, width))
    }
}
