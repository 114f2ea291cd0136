//! A model in memory, the same from the builder, an exporter or a file. A graph has nodes in order, weights, inputs and
//! outputs, and the known type and shape of each value, all found by name. `builder` makes a graph node by node, with `ops`
//! (operators by name) and `infer` (shape rules). `read` makes a graph of an ONNX model, and an ONNX model of a graph. No
//! reader's quirk and no GPU's name: those are in `passes`.

mod body;
mod builder;
mod infer;
mod inline;
mod ops;
mod read;
mod weights;
mod wiring;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::onnx::{ModelProto, NodeProto, TensorProto};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Shape, TensorSpec};
use crate::tensor::HostTensor;

pub use builder::{GraphBuilder, Node, Scope, Value};
pub(in crate::export) use infer::axis;
#[cfg(any(feature = "burn", feature = "candle"))]
pub(in crate::export) use ops::Around;
pub use ops::{Conv, Pool, Reduction};
#[cfg(any(feature = "burn", feature = "candle"))]
pub(crate) use ops::{Resized, factor};
pub(in crate::export) use ops::{ints, scalar};
pub(in crate::export) use weights::Weights;
pub(in crate::export) use wiring::{Wiring, captured};

/// The version of the default operator set of a model; 0 where it names none.
pub(in crate::export) fn opset(model: &ModelProto) -> i64 {
    let sets = model.opset_import.iter();
    let default = sets.filter(|set| matches!(set.domain(), "" | "ai.onnx"));
    default.map(|set| set.version()).max().unwrap_or(0)
}

/// TensorRT takes no longer names, in bytes.
const LONGEST_NAME: usize = 4095;

/// The graph of a model.
#[derive(Clone, Debug)]
pub(in crate::export) struct Graph {
    /// In an order in which each reads only what others before it make.
    pub(in crate::export) nodes: Vec<NodeProto>,
    pub(in crate::export) inputs: Vec<TensorSpec>,
    pub(in crate::export) outputs: Vec<TensorSpec>,
    weights: Weights,
    /// Types and shapes of inputs and of what nodes give, as far as they are known.
    values: HashMap<Arc<str>, (DType, Shape)>,
    /// Every name that is taken.
    names: HashSet<Arc<str>>,
    /// What a body has from around it, or is given without a type.
    given: HashSet<Arc<str>>,
    /// All else of the model: its operator sets, functions, metadata, and what has no type here.
    rest: ModelProto,
}

impl Graph {
    /// The version of the default operator set; 0 for a model that names none.
    pub(in crate::export) fn opset(&self) -> i64 {
        opset(&self.rest)
    }

    /// Its name.
    pub(in crate::export) fn name(&self) -> &str {
        self.rest.graph.as_ref().map_or("", |graph| graph.name())
    }

    /// The same but for its nodes, of which it has none.
    pub(in crate::export) fn without_nodes(&self) -> Self {
        Self {
            nodes: Vec::new(),
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            weights: self.weights.clone(),
            values: self.values.clone(),
            names: self.names.clone(),
            given: self.given.clone(),
            rest: self.rest.clone(),
        }
    }

    /// Type and shape of a value, where they are known.
    pub(in crate::export) fn spec(&self, name: &str) -> Option<TensorSpec> {
        if let Some((dtype, shape)) = self.values.get(name) {
            return Some(TensorSpec::new(name, *dtype, shape.clone()));
        }
        let known = self.constant(name)?;
        Some(TensorSpec::new(name, known.dtype(), known.shape().iter().copied()))
    }

    /// States type and shape of a value.
    pub(in crate::export) fn set_spec(&mut self, name: &str, dtype: DType, shape: Shape) {
        self.values.insert(name.into(), (dtype, shape));
    }

    /// The value of a weight.
    pub(in crate::export) fn constant(&self, name: &str) -> Option<&HostTensor> {
        self.weights.get(name)
    }

    /// A name that nothing has yet, which begins with `hint`.
    pub(in crate::export) fn fresh(&mut self, hint: &str) -> String {
        let mut name = hint.to_owned();
        let mut number = 0;
        while self.names.contains(name.as_str()) {
            number += 1;
            name = format!("{hint}_{number}");
        }
        self.names.insert(name.as_str().into());
        name
    }

    /// Adds a weight under a name that begins with `hint`.
    pub(in crate::export) fn add_constant(&mut self, hint: &str, tensor: HostTensor) -> String {
        let name = self.fresh(hint);
        self.weights.push(name.as_str().into(), tensor);
        name
    }

    /// States that a value is known. No node makes it any more.
    pub(in crate::export) fn set_constant(&mut self, name: &str, tensor: HostTensor) {
        self.weights.push(name.into(), tensor);
    }

    /// Takes over the weights of another graph, beside its own.
    pub(in crate::export) fn take_weights_of(&mut self, other: &Self) {
        for (name, tensor) in other.weights.iter() {
            if self.constant(name).is_none() {
                self.weights.push(name.clone(), tensor.clone());
            }
        }
    }

    /// Adds a weight of a type that this crate has no name for, under a [fresh](Self::fresh) name.
    pub(in crate::export) fn add_proto(&mut self, tensor: TensorProto) {
        self.rest.graph.get_or_insert_default().initializer.push(tensor);
    }

    /// States a newer operator set, whose operators mean the same for this graph.
    pub(in crate::export) fn at_least_opset(&mut self, version: i64) {
        let sets = self.rest.opset_import.iter_mut();
        for set in sets.filter(|set| matches!(set.domain(), "" | "ai.onnx")) {
            set.version = Some(set.version().max(version));
        }
    }

    /// States a newer version of ONNX's own format.
    pub(in crate::export) fn at_least_ir(&mut self, version: i64) {
        self.rest.ir_version = Some(self.rest.ir_version().max(version));
    }

    /// Whether nodes, weights and outputs fit together: every name is made once, before it is read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`] naming the value.
    pub(in crate::export) fn check(&self) -> Result<()> {
        let invalid = |text: String, tensor: &str| {
            Err(Error::new(ErrorKind::InvalidModel, text).on_tensor(tensor))
        };
        let mut known: HashSet<&str> = self.weights.iter().map(|(name, _)| &**name).collect();
        known.extend(self.rest_of_weights());
        known.extend(self.inputs.iter().map(|input| input.name.as_str()));
        known.extend(self.given.iter().map(|name| &**name));
        for (i, node) in self.nodes.iter().enumerate() {
            let label = || format!("node {i}, {} `{}`", node.op_type(), node.name());
            let read = node.input.iter().filter(|name| !name.is_empty());
            if let Some(name) = read.clone().find(|name| !known.contains(name.as_str())) {
                return invalid(format!("{} reads it, but nothing before makes it", label()), name);
            }
            for name in node.output.iter().filter(|name| !name.is_empty()) {
                if !known.insert(name) {
                    return invalid(format!("{} makes it a second time", label()), name);
                }
            }
        }
        match self.output_names().find(|output| !known.contains(output)) {
            Some(output) => invalid("it is an output, but nothing makes it".into(), output),
            None => Ok(()),
        }
    }

    /// The names of its outputs. The types of a body's are not known.
    pub(in crate::export) fn output_names(&self) -> impl Iterator<Item = &str> {
        let read = self.rest.graph.iter().flat_map(|graph| &graph.output);
        self.outputs
            .iter()
            .map(|output| output.name.as_str())
            .chain(read.map(|output| output.name()))
    }

    /// Names of the weights that are kept as they were read.
    fn rest_of_weights(&self) -> impl Iterator<Item = &str> {
        let graph = self.rest.graph.iter();
        let dense = graph.clone().flat_map(|graph| &graph.initializer);
        let sparse = graph.flat_map(|graph| &graph.sparse_initializer);
        dense.chain(sparse.filter_map(|tensor| tensor.values.as_ref())).map(|tensor| tensor.name())
    }

    /// Takes a name, which nothing else may have.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when it is empty or taken.
    fn claim(&mut self, name: &str) -> Result<Arc<str>> {
        let text = if name.is_empty() {
            Some("a name is empty".into())
        } else if name.len() > LONGEST_NAME {
            let text = format!("a name has {} bytes, and {LONGEST_NAME} at most", name.len());
            let start: String = name.chars().take(20).collect();
            let error = Error::new(ErrorKind::InvalidArgument, text);
            return Err(error.on_tensor(format!("{start}…")));
        } else if name.contains('\0') {
            Some("a name has a NUL in it".into())
        } else if self.names.contains(name) {
            Some(format!(
                "the name `{name}` is already the name of an input, an output or a weight"
            ))
        } else {
            None
        };
        if let Some(text) = text {
            return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name));
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        Ok(name)
    }
}
