//! Elementwise operations of a traced tensor: candle's checks with candle's texts, then one step
//! on the tape.

use candle_core::{D, DType, Device, Error, Result, Tensor};

use super::{Traced, known};
use crate::export::candle::tape::{Binary, Compare, Op, Unary};
use crate::export::candle::tensor_ops::{Operand, Right, TensorOps};

macro_rules! unary {
    ($($name:ident => $op:ident;)*) => {$(
        pub(super) fn $name(&self) -> Result<Self> {
            let xs = self;
            known!(<Tensor as TensorOps>::$name(xs); xs);
            Ok(self.unary(Unary::$op))
        }
    )*};
}

macro_rules! binary {
    ($($name:ident => $op:ident, $broadcast:literal;)*) => {$(
        pub(super) fn $name(&self, rhs: &Self) -> Result<Self> {
            let xs = self;
            known!(Tensor::$name(xs, rhs); xs, rhs);
            self.binary(rhs, Binary::$op, $broadcast, stringify!($name))
        }
    )*};
}

macro_rules! operand {
    ($($name:ident => $op:ident;)*) => {$(
        pub(super) fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            let (rhs, broadcast) = self.right(rhs)?;
            let xs = self;
            known!(Tensor::$name(xs, &rhs.broadcast_as(xs.shape())?); xs, rhs);
            self.binary(&rhs, Binary::$op, broadcast, stringify!($name))
        }
    )*};
}

macro_rules! compare {
    ($($name:ident, $broadcast_name:ident => $op:ident;)*) => {$(
        pub(super) fn $name<R: Operand<Self>>(&self, rhs: R) -> Result<Self> {
            let (rhs, broadcast) = self.right(rhs)?;
            let xs = self;
            known!(Tensor::$name(xs, &rhs.broadcast_as(xs.shape())?); xs, rhs);
            let dims = self.binary_dims(&rhs, broadcast, "cmp")?;
            Ok(Self::record(Op::Compare(Compare::$op), &[self, &rhs], DType::U8, dims))
        }

        pub(super) fn $broadcast_name(&self, rhs: &Self) -> Result<Self> {
            let xs = self;
            known!(Tensor::$broadcast_name(xs, rhs); xs, rhs);
            let dims = self.binary_dims(rhs, true, stringify!($broadcast_name))?;
            Ok(Self::record(Op::Compare(Compare::$op), &[self, rhs], DType::U8, dims))
        }
    )*};
}

impl Traced {
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
        eq, broadcast_eq => Eq;
        ne, broadcast_ne => Ne;
        lt, broadcast_lt => Lt;
        gt, broadcast_gt => Gt;
        ge, broadcast_ge => Ge;
        le, broadcast_le => Le;
    }

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

    /// exp(rhs log(self)), as candle has it: not a number for a negative base.
    pub(super) fn pow(&self, rhs: &Self) -> Result<Self> {
        rhs.mul(&self.log()?)?.exp()
    }

    pub(super) fn broadcast_pow(&self, rhs: &Self) -> Result<Self> {
        rhs.broadcast_mul(&self.log()?)?.exp()
    }

    pub(super) fn round_to(&self, decimals: i32) -> Result<Self> {
        let scale = 10f64.powi(decimals);
        self.affine(scale, 0.0)?.round()?.affine(1.0 / scale, 0.0)
    }

    pub(super) fn affine(&self, mul: f64, add: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::affine(xs, mul, add); xs);
        Ok(self.same(Op::Affine { mul, add }))
    }

    pub(super) fn elu(&self, alpha: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::elu(xs, alpha); xs);
        Ok(self.same(Op::Elu { alpha }))
    }

    pub(super) fn selu(&self, alpha: f32, gamma: f32) -> Result<Self> {
        let xs = self;
        known!(candle_nn::ops::selu(xs, alpha, gamma); xs);
        self.same_dtype(&Traced::from_tensor(Tensor::new(0f32, &Device::Cpu)?), "mul")?;
        Ok(self.same(Op::Selu { alpha, gamma }))
    }

    pub(super) fn powf(&self, exponent: f64) -> Result<Self> {
        let xs = self;
        known!(Tensor::powf(xs, exponent); xs);
        Ok(self.same(Op::Powf { exponent }))
    }

    pub(super) fn leaky_relu(&self, slope: f64) -> Result<Self> {
        let xs = self;
        known!(candle_nn::ops::leaky_relu(xs, slope); xs);
        Ok(self.same(Op::LeakyRelu { slope }))
    }

    pub(super) fn swiglu(&self) -> Result<Self> {
        let halves = self.chunk(2, D::Minus1)?;
        halves[0].silu()?.mul(&halves[1])
    }

    pub(super) fn where_cond(&self, on_true: &Self, on_false: &Self) -> Result<Self> {
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

    pub(super) fn to_dtype(&self, dtype: DType) -> Result<Self> {
        let xs = self;
        known!(Tensor::to_dtype(xs, dtype); xs);
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        Ok(Self::record(Op::Cast, &[self], dtype, self.dims().to_vec()))
    }

    /// The export has no devices: the tensor is where the trace is.
    pub(super) fn to_device(&self, device: &Device) -> Result<Self> {
        let xs = self;
        known!(Tensor::to_device(xs, device); xs);
        Ok(self.clone())
    }

    pub(super) fn contiguous(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::contiguous(xs); xs);
        Ok(self.clone())
    }

    pub(super) fn force_contiguous(&self) -> Result<Self> {
        self.contiguous()
    }

    pub(super) fn copy(&self) -> Result<Self> {
        let xs = self;
        known!(Tensor::copy(xs); xs);
        Ok(self.clone())
    }
}
