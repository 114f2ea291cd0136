//! Operators as methods of a value, by the names of the frameworks. A method adds one ONNX node, or a few nodes where the
//! target's operator set lacks the operator.

mod layers;
#[cfg(any(feature = "burn", feature = "candle"))]
mod order;
#[cfg(any(feature = "burn", feature = "candle"))]
mod pads;
#[cfg(any(feature = "burn", feature = "candle"))]
mod ranges;
#[cfg(any(feature = "burn", feature = "candle"))]
mod resize;
mod shapes;

use half::{bf16, f16};

pub use layers::{Conv, Pool};
#[cfg(any(feature = "burn", feature = "candle"))]
pub(in crate::export) use pads::Around;
#[cfg(any(feature = "burn", feature = "candle"))]
pub(crate) use resize::{Resized, factor};
pub use shapes::Reduction;

use super::Value;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx;
use crate::spec::DType;
use crate::tensor::HostTensor;

pub(in crate::export) fn ints(values: &[usize]) -> Vec<i64> {
    values.iter().map(|&value| value as i64).collect()
}

fn pads(padding: &[(usize, usize)]) -> Vec<i64> {
    let (before, after): (Vec<_>, Vec<_>) =
        padding.iter().map(|&(b, a)| (b as i64, a as i64)).unzip();
    [before, after].concat()
}

macro_rules! unary {
    ($($(#[$doc:meta])* $method:ident => $op:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When the graph refuses the node.
        pub fn $method(&self) -> Result<Value> {
            self.graph.node($op).input(self).build()
        }
    )*};
}

macro_rules! binary {
    ($($(#[$doc:meta])* $method:ident => $op:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] when the two do not broadcast.
        pub fn $method(&self, other: &Value) -> Result<Value> {
            self.graph.node($op).input(self).input(other).build()
        }
    )*};
}

impl Value {
    unary! {
        /// The value itself.
        identity => "Identity";
        /// max(x, 0), elementwise.
        relu => "Relu";
        /// 1 / (1 + exp(-x)), elementwise.
        sigmoid => "Sigmoid";
        /// tanh(x), elementwise.
        tanh => "Tanh";
        /// exp(x), elementwise.
        exp => "Exp";
        /// The natural logarithm, elementwise.
        log => "Log";
        /// The square root, elementwise.
        sqrt => "Sqrt";
        /// The error function, elementwise.
        erf => "Erf";
        /// |x|, elementwise.
        abs => "Abs";
        /// -x, elementwise.
        neg => "Neg";
        /// 1 / x, elementwise.
        reciprocal => "Reciprocal";
        /// sin(x), elementwise.
        sin => "Sin";
        /// cos(x), elementwise.
        cos => "Cos";
        /// Down to a whole number, elementwise.
        floor => "Floor";
        /// Up to a whole number, elementwise.
        ceil => "Ceil";
        /// To the nearest whole number, halves to even, elementwise.
        round => "Round";
        /// -1, 0 or 1, elementwise.
        sign => "Sign";
        /// tan(x), elementwise.
        tan => "Tan";
        /// The inverse cosine, elementwise.
        acos => "Acos";
        /// The inverse sine, elementwise.
        asin => "Asin";
        /// The inverse tangent, elementwise.
        atan => "Atan";
        /// The hyperbolic cosine, elementwise.
        cosh => "Cosh";
        /// The hyperbolic sine, elementwise.
        sinh => "Sinh";
        /// The inverse hyperbolic cosine, elementwise.
        acosh => "Acosh";
        /// The inverse hyperbolic sine, elementwise.
        asinh => "Asinh";
        /// The inverse hyperbolic tangent, elementwise.
        atanh => "Atanh";
        /// Whether x is not a number, elementwise, as bool.
        is_nan => "IsNaN";
        /// Whether x is infinite, elementwise, as bool.
        is_inf => "IsInf";
        /// The other bool, elementwise.
        not => "Not";
        /// Mean over all axes behind batch and channel, kept as size 1.
        global_average_pool => "GlobalAveragePool";
    }

    binary! {
        /// x + y with numpy's broadcasting.
        add => "Add";
        /// x - y with numpy's broadcasting.
        sub => "Sub";
        /// x / y with numpy's broadcasting.
        div => "Div";
        /// x to the power of y, with numpy's broadcasting.
        pow => "Pow";
        /// x = y as bool, with numpy's broadcasting.
        equal => "Equal";
        /// x > y as bool, with numpy's broadcasting.
        greater => "Greater";
        /// x >= y as bool, with numpy's broadcasting.
        greater_equal => "GreaterOrEqual";
        /// x < y as bool, with numpy's broadcasting.
        less => "Less";
        /// x <= y as bool, with numpy's broadcasting.
        less_equal => "LessOrEqual";
        /// Both, of bools, with numpy's broadcasting.
        and => "And";
        /// Either, of bools, with numpy's broadcasting.
        or => "Or";
        /// Only one of the two, of bools, with numpy's broadcasting.
        xor => "Xor";
    }

    /// x * y with numpy's broadcasting.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] when the two do not broadcast.
    pub fn mul(&self, other: &Value) -> Result<Value> {
        self.graph.node("Mul").input(self).input(other).build()
    }

    /// The larger of the two, with numpy's broadcasting.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] when the two do not broadcast.
    pub fn maximum(&self, other: &Value) -> Result<Value> {
        self.extreme("Max", "Greater", other)
    }

    /// The smaller of the two, with numpy's broadcasting.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] when the two do not broadcast.
    pub fn minimum(&self, other: &Value) -> Result<Value> {
        self.extreme("Min", "Less", other)
    }

    /// ONNX Runtime 1.29 looks at the low halves alone in extremes of 64-bit integers.
    fn extreme(&self, op: &'static str, first: &'static str, other: &Value) -> Result<Value> {
        if self.dtype != DType::I64 || self.graph.target.has_extremes_of_i64() {
            return self.graph.node(op).input(self).input(other).build();
        }
        self.graph.node(first).input(self).input(other).build()?.select(self, other)
    }

    /// Matrix product `[.., m, k] x [.., k, n]`, with numpy's broadcasting of the leading axes.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] when the two do not fit.
    pub fn matmul(&self, other: &Value) -> Result<Value> {
        self.graph.node("MatMul").input(self).input(other).build()
    }

    /// A constant scalar of this value's element type.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for bool.
    pub fn scalar_like(&self, value: f64) -> Result<Value> {
        Ok(self.graph.constant("scalar", scalar(self.dtype, value)?))
    }

    /// `x * scale + bias` with two numbers. A step that changes nothing is left out.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for bool.
    pub fn affine(&self, scale: f64, bias: f64) -> Result<Value> {
        let mut value = self.clone();
        if scale != 1.0 {
            value = value.mul(&self.scalar_like(scale)?)?;
        }
        if bias != 0.0 {
            value = value.add(&self.scalar_like(bias)?)?;
        }
        Ok(value)
    }

    /// x raised to a number, elementwise.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for bool.
    pub fn powf(&self, exponent: f64) -> Result<Value> {
        self.graph.node("Pow").input(self).input(&self.scalar_like(exponent)?).build()
    }

    /// x held between two numbers; `None` leaves that side open.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for bool.
    pub fn clamp(&self, min: Option<f64>, max: Option<f64>) -> Result<Value> {
        let limit = |limit: Option<f64>| limit.map(|v| self.scalar_like(v)).transpose();
        let (min, max) = (limit(min)?, limit(max)?);
        self.graph.node("Clip").input(self).input_opt(min.as_ref()).input_opt(max.as_ref()).build()
    }

    /// x where positive, else `slope * x`.
    ///
    /// # Errors
    /// When the graph refuses the node.
    pub fn leaky_relu(&self, slope: f64) -> Result<Value> {
        self.graph.node("LeakyRelu").input(self).attr("alpha", slope as f32).build()
    }

    /// x * sigmoid(x), elementwise.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn silu(&self) -> Result<Value> {
        self.mul(&self.sigmoid()?)
    }

    /// The Gaussian error linear unit (Hendrycks and Gimpel, 2016), exact, by the error function.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for types that are not floating point.
    pub fn gelu(&self) -> Result<Value> {
        self.gelu_by(false)
    }

    /// The Gaussian error linear unit in its tanh form, which is near the [exact](Self::gelu) one.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for types that are not floating point.
    pub fn gelu_tanh(&self) -> Result<Value> {
        self.gelu_by(true)
    }

    fn gelu_by(&self, tanh: bool) -> Result<Value> {
        if self.graph.target.has_gelu() {
            let node = self.graph.node("Gelu").input(self);
            return node.attr("approximate", if tanh { "tanh" } else { "none" }).build();
        }
        let gate = if tanh {
            let cubed = self.mul(self)?.mul(self)?;
            let inner = self.add(&cubed.affine(0.044_715, 0.0)?)?;
            inner.affine((2.0 / std::f64::consts::PI).sqrt(), 0.0)?.tanh()?
        } else {
            self.affine(std::f64::consts::FRAC_1_SQRT_2, 0.0)?.erf()?
        };
        self.mul(&gate.affine(1.0, 1.0)?)?.affine(0.5, 0.0)
    }

    /// The first value where this bool is set, and the second value elsewhere, with numpy's broadcasting.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when this is not bool or the values' types differ.
    pub fn select(&self, yes: &Value, no: &Value) -> Result<Value> {
        self.graph.node("Where").input(self).input(yes).input(no).build()
    }

    /// The value in another element type. If the value has that type already, nothing is added.
    ///
    /// # Errors
    /// When the graph refuses the node.
    pub fn cast(&self, dtype: DType) -> Result<Value> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        self.graph.node("Cast").input(self).attr("to", onnx::to_onnx(dtype) as i64).build()
    }

    /// As 64-bit integers for computing with. tract takes a Cast to these for one to dimensions, which
    /// it neither returns nor computes with in full.
    #[cfg(feature = "burn")]
    pub(crate) fn counted(&self) -> Result<Value> {
        let like = self.graph.constant("like", scalar(DType::I64, 0.0)?);
        let output = (DType::I64, self.shape.clone());
        self.graph.node("CastLike").input(self).input(&like).outputs([output]).build()
    }
}

/// A rank-0 tensor of any numeric type from a number.
pub(crate) fn scalar(dtype: DType, value: f64) -> Result<HostTensor> {
    Ok(match dtype {
        DType::F32 => HostTensor::scalar(value as f32),
        DType::F64 => HostTensor::scalar(value),
        DType::F16 => HostTensor::scalar(f16::from_f64(value)),
        DType::BF16 => HostTensor::scalar(bf16::from_f64(value)),
        DType::I8 => HostTensor::scalar(value as i8),
        DType::I16 => HostTensor::scalar(value as i16),
        DType::I32 => HostTensor::scalar(value as i32),
        DType::I64 => HostTensor::scalar(value as i64),
        DType::U8 => HostTensor::scalar(value as u8),
        DType::U16 => HostTensor::scalar(value as u16),
        DType::U32 => HostTensor::scalar(value as u32),
        DType::U64 => HostTensor::scalar(value as u64),
        DType::Bool => {
            return Err(Error::new(
                ErrorKind::DTypeMismatch,
                "a number was given for a bool tensor",
            ));
        }
    })
}
