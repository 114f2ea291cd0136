//! The typed graph builder: values with type and shape, and nodes that are checked when they are added. `passes` changes a
//! graph that was built whole.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Graph, LONGEST_NAME, infer};
use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::export::onnx::{Attribute, NodeProto, StringStringEntryProto};
use crate::spec::{DType, Dim, Shape, Symbol, TensorSpec};
use crate::tensor::HostTensor;

/// Builds an ONNX graph node by node.
///
/// Every node is checked when it is added: types, ranks and sizes must fit, and the error names the node. Cloning gives
/// another handle to the same graph.
///
/// ```
/// use accelerant::{Dim, DType, export::GraphBuilder};
/// use ndarray::Array2;
///
/// let graph = GraphBuilder::new("classifier");
/// let x = graph.input("pixels", DType::F32, [Dim::dynamic("batch", 1..=64)?, Dim::from(64)])?;
/// let weight = graph.weight("fc.weight", Array2::<f32>::ones((64, 10)))?;
/// let bias = graph.weight("fc.bias", ndarray::Array1::<f32>::zeros(10))?;
/// let scores = x.matmul(&weight)?.add(&bias)?.softmax(-1)?;
/// graph.output("scores", &scores)?;
/// let model = graph.finish()?;
/// assert_eq!(model.signature().to_string(), "(pixels: f32 [batch, 64]) -> (scores: f32 [batch, 10])");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct GraphBuilder {
    state: Arc<Mutex<State>>,
    pub(super) target: Target,
}

struct State {
    graph: Graph,
    /// Names of outputs to come, which no other value gets.
    reserved: HashSet<String>,
    symbols: BTreeMap<String, Symbol>,
    /// Sizes that are computed, as 1-D i64 tensors of one element.
    sizes: Vec<(Dim, Arc<str>)>,
    scope: Vec<String>,
}

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
    pub(super) graph: GraphBuilder,
    pub(super) name: Arc<str>,
    pub(super) dtype: DType,
    pub(super) shape: Shape,
    pub(super) constant: Option<HostTensor>,
}

impl GraphBuilder {
    /// An empty graph for every target.
    pub fn new(name: impl Into<String>) -> Self {
        Self::for_target(name, Target::portable())
    }

    /// An empty graph for one target.
    pub fn for_target(name: impl Into<String>, target: Target) -> Self {
        Self::of(Graph::new(name.into(), target), target)
    }

    /// Goes on with a graph.
    pub(in crate::export) fn of(graph: Graph, target: Target) -> Self {
        let state = State {
            graph,
            reserved: HashSet::new(),
            symbols: BTreeMap::new(),
            sizes: Vec::new(),
            scope: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), target }
    }

    /// What was built so far.
    pub(in crate::export) fn graph(&self) -> Graph {
        self.lock().graph.clone()
    }

    /// Does something to what was built so far.
    pub(in crate::export) fn with_graph<T>(&self, change: impl FnOnce(&mut Graph) -> T) -> T {
        change(&mut self.lock().graph)
    }

    /// A name that no other value has, which begins with `hint`.
    pub(in crate::export) fn unique(&self, hint: &str) -> Arc<str> {
        self.lock().unique(hint)
    }

    /// The target that this graph is written for.
    pub fn target(&self) -> Target {
        self.target
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an input.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name is taken, or a symbol has two ranges.
    pub fn input(&self, name: &str, dtype: DType, shape: impl Into<Shape>) -> Result<Value> {
        let shape = shape.into();
        let mut state = self.lock();
        for (axis, dim) in shape.dims().iter().enumerate() {
            let Dim::Symbol(symbol) = dim else { continue };
            let known =
                state.symbols.entry(symbol.name().to_owned()).or_insert_with(|| symbol.clone());
            if known != symbol {
                let text = format!("symbol {symbol:?} was declared before as {known:?}");
                return Err(Error::new(ErrorKind::InvalidArgument, text)
                    .on_tensor(name)
                    .at_axis(axis));
            }
        }
        let name = state.graph.claim(name)?;
        state.graph.inputs.push(TensorSpec::new(&*name, dtype, shape.clone()));
        state.graph.set_spec(&name, dtype, shape.clone());
        drop(state);
        Ok(self.value(name, dtype, shape))
    }

    /// Adds a weight or another constant. An owned array or shared tensor is not copied.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name is taken.
    pub fn weight(&self, name: &str, tensor: impl Into<HostTensor>) -> Result<Value> {
        let tensor = tensor.into();
        let mut state = self.lock();
        let name = state.graph.claim(name)?;
        Ok(self.constant_value(&mut state, name, tensor))
    }

    /// Adds a parameter under its name, or another that begins with it where an input or output has that one.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn parameter(&self, name: &str, tensor: impl Into<HostTensor>) -> Value {
        let mut state = self.lock();
        let name = state.free(name.to_owned());
        self.constant_value(&mut state, name, tensor.into())
    }

    /// Adds a constant under a name of the builder's choice that begins with `hint`.
    pub fn constant(&self, hint: &str, tensor: impl Into<HostTensor>) -> Value {
        let mut state = self.lock();
        let name = state.unique(hint);
        self.constant_value(&mut state, name, tensor.into())
    }

    fn constant_value(&self, state: &mut State, name: Arc<str>, tensor: HostTensor) -> Value {
        state.graph.weights.push(name.clone(), tensor.clone());
        let shape = Shape::from(tensor.shape().iter().copied());
        self.value(name, tensor.dtype(), shape).with_constant(tensor)
    }

    pub(in crate::export) fn value(&self, name: Arc<str>, dtype: DType, shape: Shape) -> Value {
        Value { graph: self.clone(), name, dtype, shape, constant: None }
    }

    /// Starts a node of an operator of the default ONNX operator set.
    pub fn node(&self, op_type: &'static str) -> Node<'_> {
        Node {
            graph: self,
            op_type,
            name: None,
            inputs: Vec::new(),
            attributes: Vec::new(),
            outputs: None,
        }
    }

    /// Keeps the names of outputs that come from being given to other values before.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn reserve<'n>(&self, outputs: impl IntoIterator<Item = &'n String>) {
        self.lock().reserved.extend(outputs.into_iter().cloned());
    }

    /// Makes a value an output of the graph under `name`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when the name is taken or the value is of another graph.
    pub fn output(&self, name: &str, value: &Value) -> Result<()> {
        value.expect_in(self, "output")?;
        let claimed = self.lock().graph.claim(name).map_err(|e| e.in_operation("output"))?;
        // An Identity lets an input or weight be an output, and one value have two names.
        let spec = TensorSpec::new(name, value.dtype, value.shape.clone());
        self.lock().push_node(
            "Identity",
            None,
            &[Some(value)],
            &[],
            std::slice::from_ref(&claimed),
        );
        let mut state = self.lock();
        state.graph.set_spec(name, spec.dtype, spec.shape.clone());
        state.graph.outputs.push(spec);
        Ok(())
    }

    /// States that `size`, a 1-D i64 tensor of one element, computes the dimension `dim`.
    #[cfg(feature = "burn")]
    pub(crate) fn define(&self, dim: &Dim, size: &Value) {
        self.lock().sizes.push((dim.clone(), size.name.clone()));
    }

    /// Whether a dimension is computed by some value.
    #[cfg(feature = "burn")]
    pub(crate) fn is_defined(&self, dim: &Dim) -> bool {
        self.defined(dim).is_some()
    }

    /// The value that computes a dimension.
    pub(crate) fn defined(&self, dim: &Dim) -> Option<Value> {
        let state = self.lock();
        let (_, name) = state.sizes.iter().find(|(known, _)| known == dim)?;
        Some(self.value(name.clone(), DType::I64, [1].into()))
    }

    /// Names the nodes that follow `path/…`, until the scope is dropped. Scopes within scopes join their paths.
    ///
    /// ```
    /// use accelerant::{DType, export::GraphBuilder};
    ///
    /// let graph = GraphBuilder::new("scopes");
    /// let x = graph.input("x", DType::F32, [3])?;
    /// let layer = graph.scope("layers.0");
    /// let y = x.relu()?;
    /// drop(layer);
    /// assert_eq!(y.name(), "layers.0/Relu");
    /// assert_eq!(y.tanh()?.name(), "Tanh");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    pub fn scope(&self, path: impl Into<String>) -> Scope {
        let mut state = self.lock();
        let depth = state.scope.len();
        state.scope.push(path.into());
        Scope { graph: self.clone(), depth }
    }

    /// Adds a key and a value to the model's metadata.
    pub fn metadata(&self, key: impl Into<String>, value: impl Into<String>) {
        let entry = StringStringEntryProto { key: Some(key.into()), value: Some(value.into()) };
        self.lock().graph.rest.metadata_props.push(entry);
    }

    /// The operators of the nodes from the `from`-th on.
    #[cfg(feature = "burn")]
    pub(crate) fn operators(&self, from: usize) -> Vec<String> {
        self.lock().graph.nodes[from..].iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) fn node_count(&self) -> usize {
        self.lock().graph.nodes.len()
    }
}

/// A [scope](GraphBuilder::scope) of names, which ends when it is dropped.
#[derive(Debug)]
#[must_use = "the scope ends when it is dropped"]
pub struct Scope {
    graph: GraphBuilder,
    /// The scopes around it.
    depth: usize,
}

impl Drop for Scope {
    fn drop(&mut self) {
        self.graph.lock().scope.truncate(self.depth);
    }
}

impl State {
    fn unique(&mut self, hint: &str) -> Arc<str> {
        let prefix = self.scope.iter().fold(String::new(), |path, part| path + part + "/");
        self.free(format!("{prefix}{hint}"))
    }

    /// A name that nothing has yet, which begins with another.
    fn free(&mut self, base: String) -> Arc<str> {
        let mut base = base.replace('\0', "_");
        // With room for a number.
        base.truncate(base.floor_char_boundary(LONGEST_NAME - 32));
        let mut candidate = base.clone();
        let mut number = self.graph.nodes.len();
        while self.is_taken(&candidate) {
            candidate = format!("{base}_{number}");
            number += 1;
        }
        let name: Arc<str> = candidate.into();
        self.graph.names.insert(name.clone());
        name
    }

    fn is_taken(&self, name: &str) -> bool {
        self.graph.names.contains(name) || self.reserved.contains(name)
    }

    fn push_node(
        &mut self,
        op_type: &str,
        name: Option<String>,
        inputs: &[Option<&Value>],
        attributes: &[(&str, Attribute)],
        outputs: &[Arc<str>],
    ) {
        self.graph.nodes.push(NodeProto {
            name: Some(name.unwrap_or_else(|| outputs[0].to_string())),
            op_type: Some(op_type.to_owned()),
            input: inputs
                .iter()
                .map(|i| i.map_or_else(String::new, |v| v.name.to_string()))
                .collect(),
            output: outputs.iter().map(ToString::to_string).collect(),
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..Default::default()
        });
    }
}

/// A node being described, for an operator of ONNX. [`build`](Self::build) checks and adds the node.
///
/// ```
/// use accelerant::{DType, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("elu");
/// let x = graph.input("x", DType::F32, [2, 3])?;
/// let y = graph.node("Elu").input(&x).attr("alpha", 0.5f32).build()?;
/// graph.output("y", &y)?;
/// assert_eq!(graph.finish()?.signature().outputs[0].to_string(), "y: f32 [2, 3]");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[must_use = "the node is added by `build`"]
pub struct Node<'g> {
    graph: &'g GraphBuilder,
    op_type: &'static str,
    name: Option<String>,
    inputs: Vec<Option<Value>>,
    attributes: Vec<(&'static str, Attribute)>,
    outputs: Option<Vec<(DType, Shape)>>,
}

impl Node<'_> {
    /// Names the node in the model and in errors.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Adds an input.
    pub fn input(mut self, value: &Value) -> Self {
        self.inputs.push(Some(value.clone()));
        self
    }

    /// Adds an optional input, left empty when `None`.
    pub fn input_opt(mut self, value: Option<&Value>) -> Self {
        self.inputs.push(value.cloned());
        self
    }

    /// Sets an attribute.
    pub fn attr(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// States types and shapes of the outputs, for operators without a shape rule here, or with output sizes that depend on
    /// computed values.
    pub fn outputs(mut self, outputs: impl IntoIterator<Item = (DType, Shape)>) -> Self {
        self.outputs = Some(outputs.into_iter().collect());
        self
    }

    /// Adds the node and returns its first output.
    ///
    /// # Errors
    /// As [`build_all`](Self::build_all).
    pub fn build(self) -> Result<Value> {
        let op_type = self.op_type;
        let mut outputs = self.build_all()?;
        if outputs.is_empty() {
            return Err(Error::new(ErrorKind::InvalidModel, "the node has no outputs")
                .in_operation(op_type));
        }
        Ok(outputs.swap_remove(0))
    }

    /// Adds the node and returns its outputs.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`], [`ErrorKind::DTypeMismatch`] or [`ErrorKind::InvalidArgument`]
    /// with the node's name; [`ErrorKind::UnsupportedOperation`] when the operator has no shape rule and
    /// [`outputs`](Self::outputs) was not called.
    pub fn build_all(mut self) -> Result<Vec<Value>> {
        while let Some(None) = self.inputs.last() {
            self.inputs.pop();
        }
        let label = match &self.name {
            Some(name) => format!("{} `{name}`", self.op_type),
            None => self.op_type.to_owned(),
        };
        for value in self.inputs.iter().flatten() {
            value.expect_in(self.graph, &label)?;
        }
        let outputs = match self.outputs {
            Some(outputs) => outputs,
            None => {
                let view = infer::View {
                    op: self.op_type,
                    inputs: &self.inputs,
                    attributes: &self.attributes,
                };
                infer::infer(&view).map_err(|e| e.in_operation(&*label))?
            }
        };
        let mut state = self.graph.lock();
        let hint = self.name.clone().unwrap_or_else(|| self.op_type.to_owned());
        let names: Vec<_> = outputs.iter().map(|_| state.unique(&hint)).collect();
        let inputs: Vec<_> = self.inputs.iter().map(Option::as_ref).collect();
        state.push_node(self.op_type, self.name, &inputs, &self.attributes, &names);
        for (name, (dtype, shape)) in names.iter().zip(&outputs) {
            state.graph.set_spec(name, *dtype, shape.clone());
        }
        drop(state);
        let outputs = names.into_iter().zip(outputs);
        Ok(outputs.map(|(name, (dtype, shape))| self.graph.value(name, dtype, shape)).collect())
    }
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

    fn expect_in(&self, graph: &GraphBuilder, operation: &str) -> Result<()> {
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

impl fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "GraphBuilder({}, {} nodes)", state.graph.name(), state.graph.nodes.len())
    }
}
