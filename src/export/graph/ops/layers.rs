//! Layers, with their windows along the spatial axes.

use super::{ints, pads};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Value;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Parameters of a convolution along its spatial axes.
///
/// ```
/// use accelerant::{DType, export::{Conv, GraphBuilder}};
/// use ndarray::Array4;
///
/// let graph = GraphBuilder::new("convolution");
/// let x = graph.input("x", DType::F32, [1, 3, 8, 8])?;
/// let weight = graph.weight("weight", Array4::<f32>::zeros((16, 3, 3, 3)))?;
/// let options = Conv::new(2).strides([2, 2]).padding([(1, 1); 2]);
/// assert_eq!(x.conv(&weight, None, &options)?.shape().to_string(), "[1, 16, 4, 4]");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
///
/// ```
/// use accelerant::{DType, export::{GraphBuilder, Pool}};
///
/// let graph = GraphBuilder::new("pooling");
/// let x = graph.input("x", DType::F32, [1, 3, 9, 9])?;
/// assert_eq!(x.max_pool(&Pool::new([2, 2]))?.shape().to_string(), "[1, 3, 4, 4]");
/// let options = Pool::new([3, 3]).strides([1, 1]).padding([(1, 1); 2]);
/// assert_eq!(x.average_pool(&options)?.shape().to_string(), "[1, 3, 9, 9]");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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

impl Conv {
    /// A window over this number of spatial axes: steps and distances of 1, no padding, one group.
    pub fn new(axes: usize) -> Self {
        let (strides, dilations) = (vec![1; axes], vec![1; axes]);
        Self { strides, padding: vec![(0, 0); axes], dilations, groups: 1 }
    }

    /// Sets the step of the window along each axis.
    #[must_use]
    pub fn strides(mut self, strides: impl Into<Vec<usize>>) -> Self {
        self.strides = strides.into();
        self
    }

    /// Sets the zeros before and after each axis.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Vec<(usize, usize)>>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets the distance of the kernel's elements along each axis.
    #[must_use]
    pub fn dilations(mut self, dilations: impl Into<Vec<usize>>) -> Self {
        self.dilations = dilations.into();
        self
    }

    /// Sets the number of groups that the channels are divided into.
    #[must_use]
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

impl Pool {
    /// Windows of these sizes side by side: each begins where the one before ends. No padding, and a window that hangs over
    /// the end does not count.
    pub fn new(kernel: impl Into<Vec<usize>>) -> Self {
        let kernel = kernel.into();
        let (strides, axes) = (kernel.clone(), kernel.len());
        let (padding, dilations) = (vec![(0, 0); axes], vec![1; axes]);
        Self { kernel, strides, padding, dilations, ceil_mode: false }
    }

    /// Sets the step of the window along each axis.
    #[must_use]
    pub fn strides(mut self, strides: impl Into<Vec<usize>>) -> Self {
        self.strides = strides.into();
        self
    }

    /// Sets the cells before and after each axis.
    #[must_use]
    pub fn padding(mut self, padding: impl Into<Vec<(usize, usize)>>) -> Self {
        self.padding = padding.into();
        self
    }

    /// Sets the distance of the window's cells along each axis.
    #[must_use]
    pub fn dilations(mut self, dilations: impl Into<Vec<usize>>) -> Self {
        self.dilations = dilations.into();
        self
    }

    /// Sets whether a last window that hangs over the end counts.
    #[must_use]
    pub fn ceil_mode(mut self, counted: bool) -> Self {
        self.ceil_mode = counted;
        self
    }
}

impl Value {
    /// exp(x) over its sum along `axis`, which counts from the end when negative.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn softmax(&self, axis: i64) -> Result<Value> {
        self.graph.node("Softmax").input(self).attr("axis", axis).build()
    }

    /// The logarithm of [`softmax`](Self::softmax), by its parts: runtimes that take the logarithm of a softmax lose
    /// what lies far below the largest value. Half precision is computed in 32 bits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn log_softmax(&self, axis: i64) -> Result<Value> {
        let x = self.wide()?;
        let shifted = x.sub(&x.reduced("ReduceMax", &[axis], true)?)?;
        let sum = shifted.exp()?.reduced("ReduceSum", &[axis], true)?;
        shifted.sub(&sum.log()?)?.cast(self.dtype)
    }

    /// log(1 + exp(x)), elementwise, without an exponential that overflows. Half precision is computed in 32 bits.
    ///
    /// # Errors
    /// When the graph refuses a node.
    pub fn softplus(&self) -> Result<Value> {
        let x = self.wide()?;
        let small = x.abs()?.neg()?.exp()?;
        x.relu()?.add(&small.log1p()?)?.cast(self.dtype)
    }

    /// log(1 + x), elementwise, with the digits of a small x.
    ///
    /// Source: W. Kahan's form, `log(u) x / (u - 1)` with `u = 1 + x`; Hewlett-Packard, HP-15C Advanced Functions
    /// Handbook, 1982.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for types that are not floating point.
    pub fn log1p(&self) -> Result<Value> {
        let one = self.scalar_like(1.0)?;
        let sum = self.add(&one)?;
        let difference = sum.sub(&one)?;
        // Infinity is its own difference.
        let ratio = difference.equal(self)?.select(&one, &self.div(&difference)?)?;
        let lost = difference.equal(&self.scalar_like(0.0)?)?;
        lost.select(self, &sum.log()?.mul(&ratio)?)
    }

    /// In 32 bits at least.
    pub(super) fn wide(&self) -> Result<Value> {
        match self.dtype {
            DType::F16 | DType::BF16 => self.cast(DType::F32),
            _ => Ok(self.clone()),
        }
    }

    /// A fully connected layer: `x @ weight + bias` with `weight` as `[in, out]`, as Burn has weights. One Gemm for a matrix,
    /// else MatMul and Add.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] naming weight or bias.
    pub fn linear(&self, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        self.linear_of(weight, bias, false)
    }

    /// As [`linear`](Self::linear), with `weight` as `[out, in]`, as PyTorch and Candle have weights.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    pub fn linear_by_outputs(&self, weight: &Value, bias: Option<&Value>) -> Result<Value> {
        self.linear_of(weight, bias, true)
    }

    /// Both, for code that gets the order of the weight.
    pub(in crate::export) fn linear_of(
        &self,
        weight: &Value,
        bias: Option<&Value>,
        transposed: bool,
    ) -> Result<Value> {
        if self.rank() == 2 && weight.rank() == 2 {
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
        node.attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("dilations", ints(&options.dilations))
            .attr("group", options.groups as i64)
            .build()
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

    /// Mean of each window. Padding does not count.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the window does not fit;
    /// [`ErrorKind::UnsupportedOperation`] for dilations, which the operator has only from
    /// operator set 19 on.
    pub fn average_pool(&self, options: &Pool) -> Result<Value> {
        self.average_pool_of(options, false)
    }

    /// Mean of each window. Padding counts as zeros.
    ///
    /// # Errors
    /// As [`average_pool`](Self::average_pool).
    pub fn average_pool_padded(&self, options: &Pool) -> Result<Value> {
        self.average_pool_of(options, true)
    }

    /// Both, for code that gets whether padding counts.
    pub(in crate::export) fn average_pool_of(
        &self,
        options: &Pool,
        count_include_pad: bool,
    ) -> Result<Value> {
        let mut node =
            self.graph.node("AveragePool").input(self).attr("kernel_shape", ints(&options.kernel));
        if options.dilations.iter().any(|&dilation| dilation != 1) {
            if !self.graph.target.has_dilated_average_pool() {
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

    /// Group normalization (Wu and He, 2018) of the channels, axis 1, with a scale and a bias for each.
    #[cfg(feature = "candle")]
    pub(crate) fn group_norm(
        &self,
        scale: &Value,
        bias: &Value,
        groups: usize,
        epsilon: f64,
    ) -> Result<Value> {
        if !self.graph.target.has_group_norm() {
            return self.group_norm_in_parts(scale, bias, groups, epsilon);
        }
        let node = self.graph.node("GroupNormalization").input(self).input(scale).input(bias);
        node.attr("num_groups", groups as i64).attr("epsilon", epsilon as f32).build()
    }

    /// The same as an instance normalization of the groups, in 32 bits for narrower types. Scale and bias may also
    /// have one element.
    pub(crate) fn group_norm_in_parts(
        &self,
        scale: &Value,
        bias: &Value,
        groups: usize,
        epsilon: f64,
    ) -> Result<Value> {
        let graph = &self.graph;
        let narrow = matches!(self.dtype, DType::F16 | DType::BF16);
        let wide = if narrow { self.cast(DType::F32)? } else { self.clone() };
        let ones = graph.constant("ones", HostTensor::from_vec([groups], vec![1f32; groups])?);
        let zeros = graph.constant("zeros", HostTensor::from_vec([groups], vec![0f32; groups])?);
        let (ones, zeros) = (ones.cast(wide.dtype)?, zeros.cast(wide.dtype)?);
        let batch = wide.dims()[0].clone();
        let grouped = wide.reshape(&[Some(batch), Some(groups.into()), None])?;
        let node = graph.node("InstanceNormalization").input(&grouped).input(&ones);
        let normed = node.input(&zeros).attr("epsilon", epsilon as f32).build()?;
        let shape = graph.shape_tensor(self.dims(), &[self])?;
        let node = graph.node("Reshape").input(&normed).input(&shape);
        let normed = node.outputs([(wide.dtype, self.shape.clone())]).build()?.cast(self.dtype)?;
        let axes: Vec<i64> = (1..self.rank() as i64 - 1).collect();
        let channels = |parameter: &Value| parameter.unsqueeze(&axes);
        normed.mul(&channels(scale)?)?.add(&channels(bias)?)
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
        let node = self.graph.node("ConvTranspose").input(self).input(weight).input_opt(bias);
        node.attr("strides", ints(&options.strides))
            .attr("pads", pads(&options.padding))
            .attr("dilations", ints(&options.dilations))
            .attr("group", options.groups as i64)
            .attr("output_padding", ints(output_padding))
            .build()
    }
}
