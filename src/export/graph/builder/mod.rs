//! The typed graph builder. Each node is checked when it is added: `node` describes one, `value` is what it gives, and
//! `state` is what was built so far. `passes` changes a graph that was built whole.

mod node;
mod scope;
mod state;
mod value;

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Graph;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::export::onnx::StringStringEntryProto;
use crate::spec::{DType, Dim, Shape, TensorSpec};
use crate::tensor::HostTensor;

pub use node::Node;
pub use scope::Scope;
use state::State;
pub use value::Value;

/// Builds an ONNX graph node by node.
///
/// The builder checks types, ranks and sizes of each node when the node is added, and an error names the node. A clone
/// is another handle of the same graph.
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

    /// Adds a weight or another constant. An owned array and a shared tensor are not copied.
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

    /// Adds `path/` before the names of the following nodes, until the scope is dropped. Nested scopes join their
    /// paths.
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

impl fmt::Debug for GraphBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        write!(f, "GraphBuilder({}, {} nodes)", state.graph.name(), state.graph.nodes.len())
    }
}
