//! A graph from an ONNX model, and an ONNX model from a graph. Values without a type in this crate, such as strings or weights
//! of four bits, stay unchanged.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::infer::{self, View};
use super::{Graph, GraphBuilder, Value, Weights, captured};
use crate::export::model::name_nodes_apart;
use crate::export::onnx::{self, Attribute, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::export::{OnnxModel, Target};
use crate::spec::{DType, Dim, Shape, Signature, Symbol, TensorSpec};
use crate::tensor::HostTensor;

impl Graph {
    /// A graph of nothing, as a target reads it.
    pub(in crate::export) fn new(name: String, target: Target) -> Self {
        let rest = ModelProto {
            ir_version: Some(target.ir_version()),
            opset_import: vec![onnx::OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(target.opset_version()),
            }],
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(GraphProto { name: Some(name), ..Default::default() }),
            ..Default::default()
        };
        Self::of_rest(rest)
    }

    pub(super) fn of_rest(rest: ModelProto) -> Self {
        Self {
            nodes: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            weights: Weights::default(),
            values: HashMap::new(),
            names: HashSet::new(),
            given: HashSet::new(),
            rest,
        }
    }

    /// The graph of a model, whose weights are shared.
    pub(in crate::export) fn of(model: &OnnxModel) -> Self {
        let signature = model.signature();
        let mut graph = Self::of_rest(model.proto().clone());
        graph.inputs = signature.inputs.clone();
        graph.outputs = signature.outputs.clone();
        for input in &signature.inputs {
            graph.set_spec(&input.name, input.dtype, input.shape.clone());
        }
        graph.read_nodes();
        graph.take_names();
        let known = model.inner().into_iter().flatten();
        let known = known.filter(|(name, _)| graph.constant(name).is_none());
        let known: Vec<_> = known.map(|(name, spec)| (name.clone(), spec.clone())).collect();
        graph.values.extend(known);
        graph.find_specs();
        let mut made = graph.nodes.iter().flat_map(|node| &node.output);
        if made.any(|name| !name.is_empty() && !graph.values.contains_key(name.as_str())) {
            for (name, spec) in model.inferred() {
                graph.values.entry(name.into()).or_insert(spec);
            }
        }
        graph
    }

    /// Takes nodes and weights out of what was read.
    pub(super) fn read_nodes(&mut self) {
        let rest = self.rest.graph.get_or_insert_default();
        let (nodes, initializers) =
            (std::mem::take(&mut rest.node), std::mem::take(&mut rest.initializer));
        for initializer in initializers {
            match onnx::tensor_from_proto(&initializer) {
                Some(tensor) => self.weights.push(initializer.name().into(), tensor),
                None => rest.initializer.push(initializer),
            }
        }
        let outputs: HashSet<&str> = rest.output.iter().map(|output| output.name()).collect();
        for node in nodes {
            // What is known is a weight, in whatever way it is stated.
            match (constant(&node), &node.output[..]) {
                (Some(tensor), [name]) if !outputs.contains(name.as_str()) => {
                    self.weights.push(name.as_str().into(), tensor);
                }
                _ => self.nodes.push(node),
            }
        }
    }

    /// Takes all names that the model uses for anything.
    fn take_names(&mut self) {
        let mut names: HashSet<Arc<str>> = HashSet::new();
        names.extend(self.inputs.iter().map(|input| input.name.as_str().into()));
        names.extend(self.weights.iter().map(|(name, _)| name.clone()));
        names.extend(self.rest_of_weights().map(Into::into));
        for node in &self.nodes {
            let own = node.input.iter().chain(&node.output).map(String::as_str);
            names.extend(own.chain(captured(node)).chain([node.name()]).map(Arc::from));
        }
        self.names = names;
    }

    /// Finds types and shapes, by the rules of the builder where they have one, else as the model states them.
    pub(super) fn find_specs(&mut self) {
        let stated = self.stated();
        let scratch = GraphBuilder::new("");
        for i in 0..self.nodes.len() {
            let node = &self.nodes[i];
            let found = self.infer(&scratch, node).unwrap_or_default();
            let specs: Vec<_> = node
                .output
                .iter()
                .enumerate()
                .filter(|(_, name)| !name.is_empty() && !self.values.contains_key(name.as_str()))
                .filter_map(|(i, name)| {
                    let spec = found.get(i).or_else(|| stated.get(name.as_str()))?;
                    Some((Arc::from(name.as_str()), spec.clone()))
                })
                .collect();
            self.values.extend(specs);
        }
    }

    /// Finds types and shapes of what one node gives, where they follow from what it reads.
    pub(in crate::export) fn find_specs_of(&mut self, node: &NodeProto) {
        let found = self.infer(&GraphBuilder::new(""), node).unwrap_or_default();
        for (name, (dtype, shape)) in node.output.iter().zip(found) {
            if !name.is_empty() {
                self.set_spec(name, dtype, shape);
            }
        }
    }

    /// What the model states of values within it, with the sizes that its inputs' symbols have.
    fn stated(&self) -> HashMap<String, (DType, Shape)> {
        let symbols: HashMap<&str, &Symbol> = self
            .inputs
            .iter()
            .flat_map(|input| input.shape.dims())
            .filter_map(Dim::symbol)
            .map(|symbol| (symbol.name(), symbol))
            .collect();
        let bound = |dim: &Dim| match dim {
            Dim::Symbol(symbol) => match symbols.get(symbol.name()) {
                Some(&known) => Dim::Symbol(known.clone()),
                None => dim.clone(),
            },
            fixed => fixed.clone(),
        };
        let values = self.rest.graph.iter().flat_map(|graph| &graph.value_info);
        let specs = values.filter_map(|value| onnx::spec_from_proto(value).ok());
        let specs = specs.map(|spec| {
            let dims: Vec<Dim> = spec.shape.dims().iter().map(bound).collect();
            (spec.name, (spec.dtype, Shape::from(dims)))
        });
        let outputs = self.outputs.iter().cloned();
        let outputs = outputs.map(|output| (output.name, (output.dtype, output.shape)));
        specs.chain(outputs).collect()
    }

    fn infer(&self, scratch: &GraphBuilder, node: &NodeProto) -> Option<Vec<(DType, Shape)>> {
        // What older operator sets state as attributes would be passed over here.
        let elsewhere = ["auto_pad", "broadcast", "output_shape", "pads"];
        let windowed =
            matches!(node.op_type(), "Conv" | "MaxPool" | "AveragePool" | "ConvTranspose");
        let strange = |name: &str| match node.stated(name) {
            Some(attribute) if name == "auto_pad" => attribute.s() != b"NOTSET",
            Some(_) => !(name == "pads" && windowed),
            None => false,
        };
        // Such sizes are of a damaged model, and would not fit the arithmetic of the rules.
        let huge = |value: &i64| value.unsigned_abs() > i32::MAX as u64;
        let mut numbers = node.attribute.iter().flat_map(|a| a.ints.iter().chain(&a.i));
        if !node.is_default() || elsewhere.into_iter().any(strange) || numbers.any(huge) {
            return None;
        }
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match name.is_empty() {
                true => None,
                false => Some(self.value(scratch, name)?),
            });
        }
        let attributes: Vec<(&str, Attribute)> = node
            .attribute
            .iter()
            .filter_map(|attribute| Some((attribute.name(), Attribute::from_proto(attribute)?)))
            .collect();
        let view = View { op: node.op_type(), inputs: &inputs, attributes: &attributes };
        infer::infer(&view).ok()
    }

    fn value(&self, scratch: &GraphBuilder, name: &str) -> Option<Value> {
        let spec = self.spec(name)?;
        let value = scratch.value_of(&spec);
        Some(match self.constant(name) {
            Some(tensor) => value.with_constant(tensor.clone()),
            None => value,
        })
    }

    /// The names that nodes read, or that are outputs.
    pub(in crate::export) fn used(&self) -> HashSet<&str> {
        let mut used: HashSet<&str> = self.output_names().collect();
        for node in &self.nodes {
            used.extend(node.input.iter().map(String::as_str).chain(captured(node)));
        }
        used
    }

    /// The model, with the weights that are read. It is said to be written for `target`.
    pub(in crate::export) fn into_model(self, target: Target) -> OnnxModel {
        let used = self.used();
        let weights = self.weights.iter().filter(|(name, _)| used.contains(&**name));
        let weights: Vec<TensorProto> =
            weights.map(|(name, tensor)| onnx::tensor_to_proto(name, tensor)).collect();
        let mut proto = self.rest;
        let graph = proto.graph.get_or_insert_default();
        let made: HashSet<&str> =
            self.nodes.iter().flat_map(|node| &node.output).map(String::as_str).collect();
        graph.value_info.retain(|value| {
            let stated = onnx::spec_from_proto(value).ok();
            let known = self.values.get(value.name());
            let same = stated.zip(known).is_none_or(|(stated, (dtype, shape))| {
                let fits = |(one, other): (&Dim, &Dim)| {
                    one == other || one.fixed().is_none() || other.fixed().is_none()
                };
                let [one, other] = [&stated.shape, shape];
                stated.dtype == *dtype
                    && one.rank() == other.rank()
                    && one.dims().iter().zip(other.dims()).all(fits)
            });
            same && made.contains(value.name())
        });
        graph.initializer.extend(weights);
        graph.node = self.nodes;
        // A pass may have written two nodes for one.
        name_nodes_apart(graph);
        if graph.input.is_empty() {
            graph.input = self.inputs.iter().map(onnx::spec_to_proto).collect();
        }
        if graph.output.is_empty() {
            graph.output = self.outputs.iter().map(onnx::spec_to_proto).collect();
        }
        let signature = Signature { inputs: self.inputs, outputs: self.outputs };
        OnnxModel::from_parts(proto, signature).with_inner(self.values).written_for(target)
    }
}

/// What a `Constant` node gives.
pub(super) fn constant(node: &NodeProto) -> Option<HostTensor> {
    let [attribute] = &node.attribute[..] else { return None };
    if !node.is("Constant") {
        return None;
    }
    match attribute.name() {
        "value" => onnx::tensor_from_proto(attribute.t.as_ref()?),
        "value_float" => Some(HostTensor::scalar(attribute.f())),
        "value_int" => Some(HostTensor::scalar(attribute.i())),
        "value_floats" => {
            HostTensor::from_vec([attribute.floats.len()], attribute.floats.clone()).ok()
        }
        "value_ints" => HostTensor::from_vec([attribute.ints.len()], attribute.ints.clone()).ok(),
        _ => None,
    }
}

impl GraphBuilder {
    fn value_of(&self, spec: &TensorSpec) -> Value {
        self.value(spec.name.as_str().into(), spec.dtype, spec.shape.clone())
    }
}
