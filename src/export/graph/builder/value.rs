//! A tensor of a graph that is built; its operators are in `ops`.

use std::{fmt, sync::Arc};

use super::GraphBuilder;
use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::infer;
use crate::spec::{DType, Dim, Shape};
use crate::tensor::HostTensor;

/// A tensor of a graph under construction. Operators are methods of a value, and give values.
///
/// ```
/// use accelerant::{Dim, DType, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("normalize");
/// let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=8)?, Dim::from(4)])?;
/// let y = x.tanh()?.transpose(&[1, 0])?;
/// assert_eq!((y.dtype(), y.shape().to_string()), (DType::F32, "[4, batch]".to_owned()));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct Value {
    pub(in crate::export::graph) graph: GraphBuilder,
    pub(in crate::export::graph) name: Arc<str>,
    pub(in crate::export::graph) dtype: DType,
    pub(in crate::export::graph) shape: Shape,
    pub(in crate::export::graph) constant: Option<HostTensor>,
}

impl Value {
    /// The name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The dimensions.
    pub fn dims(&self) -> &[Dim] {
        self.shape.dims()
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.rank()
    }

    /// The graph this value belongs to.
    pub fn graph(&self) -> &GraphBuilder {
        &self.graph
    }

    /// The values, where they are known while building.
    pub fn as_constant(&self) -> Option<&HostTensor> {
        self.constant.as_ref()
    }

    /// The same value, whose elements are known.
    pub(in crate::export) fn with_constant(mut self, tensor: HostTensor) -> Self {
        self.constant = Some(tensor);
        self
    }

    /// The same value under names of dimensions that are known to be equal.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn with_shape(mut self, shape: Shape) -> Self {
        self.shape = shape;
        self
    }

    pub(super) fn expect_in(&self, graph: &GraphBuilder, operation: &str) -> Result<()> {
        if Arc::ptr_eq(&self.graph.state, &graph.state) {
            return Ok(());
        }
        let error = Error::new(ErrorKind::InvalidArgument, "the value belongs to another graph");
        Err(error.in_operation(operation).on_tensor(&*self.name))
    }

    /// The axis `axis`, which counts from the end when negative.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the value has no such axis.
    pub fn axis(&self, axis: i64) -> Result<usize> {
        infer::axis(axis, self.rank()).map_err(|e| e.on_tensor(&*self.name))
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.name, self.dtype, self.shape)
    }
}
