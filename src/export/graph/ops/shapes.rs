//! Operators that change the axes of a value or pick a part, and sizes that are known when the model runs.

use super::{ints, pads};
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::{GraphBuilder, Value, infer};
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// What [`Value::reduce`] computes along axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reduction {
    /// The sum.
    Sum,
    /// The mean.
    Mean,
    /// The largest value.
    Max,
    /// The smallest value.
    Min,
    /// The product.
    Prod,
    /// The sum of the absolute values.
    L1,
    /// The root of the sum of the squares.
    L2,
    /// The sum of the squares.
    SumSquare,
    /// The logarithm of the sum of the exponentials.
    LogSumExp,
}

impl Reduction {
    /// ONNX's operator.
    const fn operator(self) -> &'static str {
        match self {
            Self::Sum => "ReduceSum",
            Self::Mean => "ReduceMean",
            Self::Max => "ReduceMax",
            Self::Min => "ReduceMin",
            Self::Prod => "ReduceProd",
            Self::L1 => "ReduceL1",
            Self::L2 => "ReduceL2",
            Self::SumSquare => "ReduceSumSquare",
            Self::LogSumExp => "ReduceLogSumExp",
        }
    }
}

impl Value {
    /// Slices along `axis` at `indices`. The axes of `indices` take the place of `axis`.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for indices that are not i32 or i64.
    pub fn gather(&self, indices: &Value, axis: i64) -> Result<Value> {
        self.graph.node("Gather").input(self).input(indices).attr("axis", axis).build()
    }

    /// The same along an axis from the end to the start.
    pub(crate) fn backwards(&self, axis: usize) -> Result<Value> {
        let length = &self.dims()[axis];
        let places = match length.fixed() {
            Some(size) => {
                let places = (0..size as i64).rev().collect();
                self.graph.constant("backwards", HostTensor::from_vec([size], places)?)
            }
            None => {
                let count = || self.graph.shape_tensor(std::slice::from_ref(length), &[self]);
                let one = self.graph.constant("one", HostTensor::from_vec([1], vec![1i64])?);
                count()?.sub(&one)?.sub(&self.graph.range(length, count)?)?
            }
        };
        self.gather(&places, axis as i64)
    }

    /// The position of the largest value along an axis, as i64; the first of several. The axis is kept with size 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn arg_max(&self, axis: i64) -> Result<Value> {
        self.arg("ArgMax", axis)
    }

    /// The position of the smallest value along an axis, as i64; the first of several. The axis is kept with size 1.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn arg_min(&self, axis: i64) -> Result<Value> {
        self.arg("ArgMin", axis)
    }

    /// [`arg_max`](Self::arg_max) or [`arg_min`](Self::arg_min), by the operator.
    pub(in crate::export) fn arg(&self, op: &'static str, axis: i64) -> Result<Value> {
        self.graph.node(op).input(self).attr("axis", axis).build()
    }

    /// The same value, repeated along axes of size 1 up to the dimensions `dims`. The symbols of `dims` are read from this
    /// value or `sources` when the model runs.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when this value does not broadcast to `dims`, or when neither this value nor `sources` has
    /// a symbol.
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
    /// ```
    /// use accelerant::{DType, Dim, export::GraphBuilder};
    ///
    /// let graph = GraphBuilder::new("heads");
    /// let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=8)?, Dim::from(12)])?;
    /// let y = x.reshape(&[None, Some(3.into()), Some(4.into())])?;
    /// assert_eq!(y.shape().to_string(), "[batch, 3, 4]");
    ///
    /// let error = x.reshape(&[Some(5.into()), Some(12.into())]).unwrap_err();
    /// assert_eq!(error.to_string(), "Reshape: tensor `x`: [batch, 12] cannot become [5, 12]");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] when the number of elements differs, or a symbol is not one of
    /// this value's.
    pub fn reshape(&self, dims: &[Option<Dim>]) -> Result<Value> {
        let known: Vec<Dim> = dims.iter().flatten().cloned().collect();
        let wrong = || {
            let size = |dim: &Option<Dim>| dim.as_ref().map_or("_".to_owned(), Dim::to_string);
            let wanted: Vec<_> = dims.iter().map(size).collect();
            let text = format!("{} cannot become [{}]", self.shape, wanted.join(", "));
            let error = Error::new(ErrorKind::ShapeMismatch, text);
            error.in_operation("Reshape").on_tensor(&*self.name)
        };
        let Some(rest) = infer::shapes::quotient(self.dims(), &known) else {
            return Err(wrong());
        };
        let mut target: Vec<Dim> = Vec::with_capacity(dims.len());
        let mut open = 0;
        for dim in dims {
            open += usize::from(dim.is_none());
            target.push(dim.clone().unwrap_or_else(|| rest.clone()));
        }
        if open > 1 || (open == 0 && rest != Dim::Fixed(1)) {
            return Err(wrong());
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

    /// Sum, mean, smallest or largest value along axes, which are gone afterwards. Along no axes, this is the value itself.
    ///
    /// ```
    /// use accelerant::{DType, export::{GraphBuilder, Reduction}};
    ///
    /// let graph = GraphBuilder::new("mean");
    /// let x = graph.input("x", DType::F32, [2, 3, 8, 8])?;
    /// assert_eq!(x.reduce(Reduction::Mean, &[-2, -1])?.shape().to_string(), "[2, 3]");
    /// assert_eq!(x.reduce_keepdim(Reduction::Mean, &[-2, -1])?.shape().to_string(), "[2, 3, 1, 1]");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when there is no such axis.
    pub fn reduce(&self, reduction: Reduction, axes: &[i64]) -> Result<Value> {
        self.reduced(reduction.operator(), axes, false)
    }

    /// As [`reduce`](Self::reduce), but the axes stay with size 1.
    ///
    /// # Errors
    /// As [`reduce`](Self::reduce).
    pub fn reduce_keepdim(&self, reduction: Reduction, axes: &[i64]) -> Result<Value> {
        self.reduced(reduction.operator(), axes, true)
    }

    /// A reduction by its operator.
    pub(in crate::export) fn reduced(
        &self,
        op: &'static str,
        axes: &[i64],
        keep_dims: bool,
    ) -> Result<Value> {
        // No axes mean all of them to ONNX.
        if axes.is_empty() {
            return Ok(self.clone());
        }
        let axes = self.graph.constant("axes", HostTensor::from_vec([axes.len()], axes.to_vec())?);
        self.graph.node(op).input(self).input(&axes).attr("keepdims", i64::from(keep_dims)).build()
    }

    /// With zeros before and behind each axis.
    pub(in crate::export) fn pad(&self, padding: &[(usize, usize)]) -> Result<Value> {
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
    pub(crate) fn range(&self, dim: &Dim, count: impl FnOnce() -> Result<Value>) -> Result<Value> {
        if let Some(size) = dim.fixed() {
            let values = HostTensor::from_vec([size], (0..size as i64).collect())?;
            return Ok(self.constant("range", values));
        }
        let count = count()?;
        let number = |value: i64| self.constant("range", HostTensor::scalar(value));
        let output = (crate::spec::DType::I64, Shape::from([dim.clone()]));
        if self.target().has_range() {
            let node = self.node("Range").input(&number(0)).input(&count.squeeze(&[0])?);
            return node.input(&number(1)).outputs([output]).build();
        }
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
