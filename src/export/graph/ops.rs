//! Operators as methods of a value, by the names the frameworks use. Each adds one ONNX node, or
//! the few that stand for it where the consumer's operator set has no word for it.

use half::{bf16, f16};

use super::{GraphBuilder, Value, infer, tensorrt};
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx;
use crate::spec::{DType, Dim, Shape};
use crate::tensor::HostTensor;

/// Parameters of a convolution along its spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conv {
    /// Step of the window along each axis.
    pub strides: Vec<usize>,
    /// Zeros before and after each axis.
    pub padding: Vec<(usize, usize)>,
    /// Distance of the kernel's elements along each axis.
    pub dilations: Vec<usize>,
    /// Number of groups that the channels are divided into.
    pub groups: usize,
}

/// Parameters of a pooling window along its spatial axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Size of the window along each axis.
    pub kernel: Vec<usize>,
    /// Step of the window along each axis.
    pub strides: Vec<usize>,
    /// Cells before and after each axis.
    pub padding: Vec<(usize, usize)>,
    /// Distance of the window's cells along each axis.
    pub dilations: Vec<usize>,
    /// Whether a last window that hangs over the end counts.
    pub ceil_mode: bool,
}

pub(super) fn ints(values: &[usize]) -> Vec<i64> {
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
        /// x * y with numpy's broadcasting.
        mul => "Mul";
        /// x / y with numpy's broadcasting.
        div => "Div";
        /// The larger of the two, with numpy's broadcasting.
        maximum => "Max";
        /// The smaller of the two, with numpy's broadcasting.
        minimum => "Min";
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
        /// Matrix product `[.., m, k] x [.., k, n]`, with numpy's broadcasting of the leading axes.
        matmul => "MatMul";
    }

    /// A constant scalar of this value's element type.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for bool.
    pub fn scalar_like(&self, value: f64) -> Result<Value> {
        Ok(self.graph.constant("scalar", scalar(self.dtype, value)?))
    }

    /// `x * scale + bias` with two numbers; a step that changes nothing is left out.
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

    /// The Gaussian error linear unit (Hendrycks and Gimpel, 2016), exact or in its tanh form.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for types that are not floating point.
    pub fn gelu(&self, tanh: bool) -> Result<Value> {
        if self.graph.consumer.opset_version() >= 20 {
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

    /// exp(x) over its sum along `axis`, which counts from the end when negative.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn softmax(&self, axis: i64) -> Result<Value> {
        self.graph.node("Softmax").input(self).attr("axis", axis).build()
    }

    /// The logarithm of [`softmax`](Self::softmax).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn log_softmax(&self, axis: i64) -> Result<Value> {
        self.graph.node("LogSoftmax").input(self).attr("axis", axis).build()
    }

    /// A fully connected layer: `x @ weight + bias` with `weight` as `[in, out]`, or as
    /// `[out, in]` when `transposed`. One Gemm for a matrix, else MatMul and Add.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] naming weight or bias.
    pub fn linear(&self, weight: &Value, bias: Option<&Value>, transposed: bool) -> Result<Value> {
        let from = self.graph.node_count();
        let y = self.linear_nodes(weight, bias, transposed)?;
        self.graph.record(from, [self, &y], weight, bias, transposed);
        Ok(y)
    }

    fn linear_nodes(
        &self,
        weight: &Value,
        bias: Option<&Value>,
        transposed: bool,
    ) -> Result<Value> {
        // tract has Gemm for 32-bit floats alone.
        let whole = self.dtype == DType::F32 || !self.graph.consumer.is_portable();
        if whole && self.rank() == 2 && weight.rank() == 2 {
            let node = self.graph.node("Gemm").input(self).input(weight).input_opt(bias);
            return if transposed { node.attr("transB", 1).build() } else { node.build() };
        }
        let weight = if transposed { &weight.transpose(&[1, 0])? } else { weight };
        let product = self.matmul(weight)?;
        bias.map_or(Ok(product.clone()), |bias| product.add(bias))
    }

    /// Convolution of `[batch, channels, ..]` with `weight` as `[out, in / groups, ..]`.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] naming tensor and axis.
    pub fn conv(&self, weight: &Value, bias: Option<&Value>, options: &Conv) -> Result<Value> {
        let node = self.graph.node("Conv").input(self).input(weight).input_opt(bias);
        let y = node
            .attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("dilations", ints(&options.dilations))
            .attr("group", options.groups as i64)
            .build()?;
        self.graph.record_convolution([self, &y], weight, bias, options);
        Ok(y)
    }

    /// Largest value in each window.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the window does not fit.
    pub fn max_pool(&self, options: &Pool) -> Result<Value> {
        let node =
            self.graph.node("MaxPool").input(self).attr("kernel_shape", ints(&options.kernel));
        node.attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("dilations", ints(&options.dilations))
            .attr("ceil_mode", i64::from(options.ceil_mode))
            .build()
    }

    /// Mean of each window; padding counts as zeros when `count_include_pad`, else not at all.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the window does not fit;
    /// [`ErrorKind::UnsupportedOperation`] for dilations, which the operator has only from
    /// operator set 19 on.
    pub fn average_pool(&self, options: &Pool, count_include_pad: bool) -> Result<Value> {
        let mut node =
            self.graph.node("AveragePool").input(self).attr("kernel_shape", ints(&options.kernel));
        if options.dilations.iter().any(|&dilation| dilation != 1) {
            if self.graph.consumer.opset_version() < 19 {
                let text = "dilations need operator set 19";
                let error =
                    Error::new(ErrorKind::UnsupportedOperation, text).in_operation("AveragePool");
                return Err(error.on_tensor(&*self.name));
            }
            node = node.attr("dilations", ints(&options.dilations));
        }
        node.attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("ceil_mode", i64::from(options.ceil_mode))
            .attr("count_include_pad", i64::from(count_include_pad))
            .build()
    }

    /// Batch normalization in its running form along axis 1.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when a parameter does not have as many values as channels.
    pub fn batch_norm(
        &self,
        scale: &Value,
        bias: &Value,
        mean: &Value,
        variance: &Value,
        epsilon: f64,
    ) -> Result<Value> {
        let node = self.graph.node("BatchNormalization").input(self).input(scale).input(bias);
        node.input(mean).input(variance).attr("epsilon", epsilon as f32).build()
    }

    /// Layer normalization (Ba, Kiros and Hinton, 2016) over the axes from `axis` on, with `scale`
    /// and `bias` of their shape.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when the types differ.
    pub fn layer_norm(
        &self,
        scale: &Value,
        bias: Option<&Value>,
        axis: i64,
        epsilon: f64,
    ) -> Result<Value> {
        let node = self.graph.node("LayerNormalization").input(self).input(scale).input_opt(bias);
        node.attr("axis", axis).attr("epsilon", epsilon as f32).build()
    }

    /// Transposed convolution of `[batch, channels, ..]` with `weight` as `[in, out / groups, ..]`.
    /// `output_padding` is added behind each spatial axis of the output.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] naming tensor and axis.
    pub fn conv_transpose(
        &self,
        weight: &Value,
        bias: Option<&Value>,
        options: &Conv,
        output_padding: &[usize],
    ) -> Result<Value> {
        if let Some(value) = tensorrt::conv_transpose(self, weight, bias, options, output_padding)?
        {
            return Ok(value);
        }
        let node = self.graph.node("ConvTranspose").input(self).input(weight).input_opt(bias);
        node.attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("dilations", ints(&options.dilations))
            .attr("group", options.groups as i64)
            .attr("output_padding", ints(output_padding))
            .build()
    }

    /// Where this bool is set the first value, elsewhere the second, with numpy's broadcasting.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] when this is not bool or the values' types differ.
    pub fn select(&self, yes: &Value, no: &Value) -> Result<Value> {
        self.graph.node("Where").input(self).input(yes).input(no).build()
    }

    /// Slices along `axis` at `indices`, whose axes take the place of `axis`.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for indices that are not i32 or i64.
    pub fn gather(&self, indices: &Value, axis: i64) -> Result<Value> {
        self.graph.node("Gather").input(self).input(indices).attr("axis", axis).build()
    }

    /// Position of the largest (`ArgMax`) or smallest (`ArgMin`) value along an axis, kept as
    /// size 1, as i64; the first of several.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn arg(&self, op: &'static str, axis: i64) -> Result<Value> {
        self.graph.node(op).input(self).attr("axis", axis).build()
    }

    /// The same value repeated along axes of size 1 up to the dimensions `dims`, whose symbols are
    /// read from this value or `sources` when the model runs.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when this value does not broadcast to `dims`, or a symbol is
    /// nowhere to be read.
    pub fn expand(&self, dims: &[Dim], sources: &[&Value]) -> Result<Value> {
        let target = Shape::from(dims.to_vec());
        let named = |e: Error| e.in_operation("Expand").on_tensor(&*self.name);
        if infer::broadcast(&self.shape, &target).map_err(named)? != target {
            let text = format!("{} does not expand to {target}", self.shape);
            return Err(named(Error::new(ErrorKind::ShapeMismatch, text)));
        }
        if self.shape == target {
            return Ok(self.clone());
        }
        let sources: Vec<&Value> = std::iter::once(self).chain(sources.iter().copied()).collect();
        let shape = self.graph.shape_tensor(dims, &sources)?;
        let node = self.graph.node("Expand").input(self).input(&shape);
        node.outputs([(self.dtype, target)]).build()
    }

    /// The axes in another order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when `order` is no permutation.
    pub fn transpose(&self, order: &[usize]) -> Result<Value> {
        if order.iter().copied().eq(0..self.rank()) {
            return Ok(self.clone());
        }
        self.graph.node("Transpose").input(self).attr("perm", ints(order)).build()
    }

    /// The same values under other dimensions; `None` stands for what is left over, once.
    /// A symbolic dimension is read from this value when the model runs.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the number of elements differs, or a symbol is not one of
    /// this value's.
    pub fn reshape(&self, dims: &[Option<Dim>]) -> Result<Value> {
        let known: Vec<Dim> = dims.iter().flatten().cloned().collect();
        let wrong = |text: String| {
            Error::new(ErrorKind::ShapeMismatch, text)
                .in_operation("Reshape")
                .on_tensor(&*self.name)
        };
        let Some(rest) = infer::quotient(self.dims(), &known) else {
            return Err(wrong(format!("{} cannot become {dims:?}", self.shape)));
        };
        let mut target: Vec<Dim> = Vec::with_capacity(dims.len());
        let mut open = 0;
        for dim in dims {
            open += usize::from(dim.is_none());
            target.push(dim.clone().unwrap_or_else(|| rest.clone()));
        }
        if open > 1 || (open == 0 && rest != Dim::Fixed(1)) {
            return Err(wrong(format!("{} cannot become {dims:?}", self.shape)));
        }
        if target == self.dims() {
            return Ok(self.clone());
        }
        let shape = self.shape_operand(&target)?;
        let output = (self.dtype, Shape::from(target));
        self.graph.node("Reshape").input(self).input(&shape).outputs([output]).build()
    }

    /// The target of a Reshape: fixed sizes as they are, one symbol as -1, a symbol that stays in
    /// its place as 0, and others gathered from this value's shape.
    fn shape_operand(&self, target: &[Dim]) -> Result<Value> {
        let same = |i: usize, dim: &Dim| self.dims().get(i) == Some(dim);
        let zero_sized = target.contains(&Dim::Fixed(0));
        let mut moved =
            target.iter().enumerate().filter(|(i, dim)| dim.fixed().is_none() && !same(*i, dim));
        let first = moved.next().map(|(i, _)| i);
        if moved.next().is_none() && !zero_sized {
            let size = |(i, dim): (usize, &Dim)| match dim.fixed() {
                Some(size) => size as i64,
                None if Some(i) == first => -1,
                None => 0,
            };
            let sizes: Vec<i64> = target.iter().enumerate().map(size).collect();
            return Ok(self.graph.constant("shape", HostTensor::from_vec([sizes.len()], sizes)?));
        }
        self.graph.shape_of(target, &[self])
    }

    /// The axes from `start` to `end` (inclusive) as one.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there are no such axes.
    pub fn flatten(&self, start: i64, end: i64) -> Result<Value> {
        let (start, end) = (self.axis(start)?, self.axis(end)?);
        let kept = |dims: &[Dim]| dims.iter().cloned().map(Some).collect::<Vec<_>>();
        let mut dims = kept(&self.dims()[..start]);
        dims.push(None);
        dims.extend(kept(&self.dims()[(end + 1).max(start)..]));
        self.reshape(&dims)
    }

    /// Without the axes given, which have size 1.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when one has another size.
    pub fn squeeze(&self, axes: &[i64]) -> Result<Value> {
        let axes = self.graph.constant("axes", HostTensor::from_vec([axes.len()], axes.to_vec())?);
        self.graph.node("Squeeze").input(self).input(&axes).build()
    }

    /// With new axes of size 1, numbered as they are afterwards.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when an axis is beyond the new rank.
    pub fn unsqueeze(&self, axes: &[i64]) -> Result<Value> {
        let axes = self.graph.constant("axes", HostTensor::from_vec([axes.len()], axes.to_vec())?);
        self.graph.node("Unsqueeze").input(self).input(&axes).build()
    }

    /// Sum, mean, smallest or largest value along axes: `op` is `ReduceSum`, `ReduceMean`, ...
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn reduce(&self, op: &'static str, axes: &[i64], keep_dims: bool) -> Result<Value> {
        let axes = self.graph.constant("axes", HostTensor::from_vec([axes.len()], axes.to_vec())?);
        self.graph.node(op).input(self).input(&axes).attr("keepdims", i64::from(keep_dims)).build()
    }

    /// With zeros before and behind each axis.
    pub(super) fn pad(&self, padding: &[(usize, usize)]) -> Result<Value> {
        let pads = pads(padding);
        let pads = self.graph.constant("pads", HostTensor::from_vec([pads.len()], pads)?);
        self.graph.node("Pad").input(self).input(&pads).build()
    }

    /// The part `start..end` of an axis; `end` of `None` is the axis' end.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn slice(&self, axis: i64, start: i64, end: Option<i64>) -> Result<Value> {
        let operand = |value: i64| {
            Ok::<_, Error>(self.graph.constant("slice", HostTensor::from_vec([1], vec![value])?))
        };
        let node = self.graph.node("Slice").input(self).input(&operand(start)?);
        node.input(&operand(end.unwrap_or(i64::MAX))?).input(&operand(axis)?).build()
    }

    /// This value with its dimensions under other names, given by one who knows that they are equal.
    #[cfg(feature = "candle")]
    pub(crate) fn with_dims(mut self, dims: Vec<Dim>) -> Value {
        self.shape = dims.into();
        self
    }

    /// With another element type; nothing is added when it already has it.
    ///
    /// # Errors
    /// When the graph refuses the node.
    pub fn cast(&self, dtype: DType) -> Result<Value> {
        if dtype == self.dtype {
            return Ok(self.clone());
        }
        if dtype == DType::I64 && self.graph.consumer.is_portable() {
            return self.counted();
        }
        self.graph.node("Cast").input(self).attr("to", onnx::to_onnx(dtype) as i64).build()
    }

    /// As 64-bit integers for computing with. tract takes a Cast to these for one to dimensions, which
    /// it neither returns nor computes with in full.
    pub(crate) fn counted(&self) -> Result<Value> {
        let like = self.graph.constant("like", scalar(DType::I64, 0.0)?);
        let output = (DType::I64, self.shape.clone());
        self.graph.node("CastLike").input(self).input(&like).outputs([output]).build()
    }
}

impl GraphBuilder {
    /// Values one after the other along an axis.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`] without values; [`ErrorKind::ShapeMismatch`] when another axis differs.
    pub fn concat(&self, values: &[&Value], axis: i64) -> Result<Value> {
        values
            .iter()
            .fold(self.node("Concat"), |node, value| node.input(value))
            .attr("axis", axis)
            .build()
    }

    /// `0, 1, .. dim - 1` as 64-bit integers: a constant where it is fixed, else `count` gives the size when the
    /// model runs, as a 1-D tensor.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn range(&self, dim: &Dim, count: impl FnOnce() -> Result<Value>) -> Result<Value> {
        if let Some(size) = dim.fixed() {
            let values = HostTensor::from_vec([size], (0..size as i64).collect())?;
            return Ok(self.constant("range", values));
        }
        let count = count()?;
        let number = |value: i64| self.constant("range", HostTensor::scalar(value));
        let output = (DType::I64, Shape::from([dim.clone()]));
        if !self.consumer().is_portable() {
            let node = self.node("Range").input(&number(0)).input(&count.squeeze(&[0])?);
            return node.input(&number(1)).outputs([output]).build();
        }
        // tract 0.23 takes a part of what was made of a Range from the wrong place.
        let ones = self.node("Expand").input(&number(1)).input(&count).outputs([output]).build()?;
        self.node("CumSum").input(&ones).input(&number(0)).attr("exclusive", 1).build()
    }

    /// The sizes `dims` as a 1-D i64 tensor: a constant where all are fixed, else symbols read from
    /// the first of `sources` that has them.
    pub(crate) fn shape_tensor(&self, dims: &[Dim], sources: &[&Value]) -> Result<Value> {
        match dims.iter().map(Dim::fixed).collect::<Option<Vec<_>>>() {
            Some(sizes) => {
                let sizes = HostTensor::from_vec([sizes.len()], ints(&sizes))?;
                Ok(self.constant("shape", sizes))
            }
            None => self.shape_of(dims, sources),
        }
    }

    /// A 1-D i64 tensor with the sizes `dims`, symbols read from the first of `sources` that has them.
    fn shape_of(&self, dims: &[Dim], sources: &[&Value]) -> Result<Value> {
        let mut parts = Vec::with_capacity(dims.len());
        for dim in dims {
            let index = |at: usize| HostTensor::from_vec([1], vec![at as i64]);
            if let Dim::Fixed(size) = dim {
                parts.push(self.constant("size", index(*size)?));
                continue;
            }
            let found =
                sources.iter().find_map(|v| Some((*v, v.dims().iter().position(|d| d == dim)?)));
            let Some((source, at)) = found else {
                let Some(size) = self.defined(dim) else {
                    let text = format!("`{dim}` is no dimension of the inputs");
                    return Err(Error::new(ErrorKind::ShapeMismatch, text).in_operation("Reshape"));
                };
                parts.push(size);
                continue;
            };
            let shape = self.node("Shape").input(source).build()?;
            let index = self.constant("index", index(at)?);
            parts.push(self.node("Gather").input(&shape).input(&index).attr("axis", 0).build()?);
        }
        self.concat(&parts.iter().collect::<Vec<_>>(), 0)
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
