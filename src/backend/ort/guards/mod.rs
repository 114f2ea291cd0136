//! Sizes and values of a run that end the process inside ONNX Runtime: a size of 0 where ONNX Runtime divides by the size,
//! and the least integer divided by -1. Guards are nodes before such a node. They make an error of the size or value, or
//! another number that gives the same result. `refused` refuses what the model itself states.

mod needs;
mod nodes;
mod scan;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ptr,
};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};
use crate::export::{KnownInputs, OnnxModel};
use crate::spec::Signature;
use needs::Need;
pub(super) use needs::is_of_interest;
use nodes::Writer;

/// The oldest operator set whose operators the guards are.
const OLDEST_OPSET: i64 = 7;

/// What guards a model.
pub(super) struct Guards {
    /// By the place of the node, as [`places`] counts.
    needs: BTreeMap<usize, Vec<Need>>,
    opset: i64,
    faults: Vec<Fault>,
    /// Symbols of the inputs that must not be 0, with the node that does not bear it.
    symbols: BTreeMap<String, String>,
    /// An operator that ONNX does not define, and whose sizes are not known, takes no input without elements.
    all: Option<String>,
}

/// What a guard has found when one of its nodes fails.
#[derive(Clone, Debug)]
struct Fault {
    operation: String,
    tensor: String,
    text: String,
}

impl Guards {
    /// What a model needs in this ONNX Runtime. `divides_by_zero`: it ends the process when it divides an integer by 0.
    /// `known`: what is known of the inputs of the nodes [of interest](is_of_interest), where somebody has looked.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] for a size that is always 0, [`ErrorKind::UnsupportedOperation`] for a model that is
    /// too old for the guards that it needs.
    pub(super) fn of(
        model: &OnnxModel,
        divides_by_zero: bool,
        known: Option<KnownInputs>,
    ) -> Result<Self> {
        let opset = opset(model.proto());
        let mut guards = Self {
            needs: BTreeMap::new(),
            opset,
            faults: Vec::new(),
            symbols: BTreeMap::new(),
            all: None,
        };
        let mut nodes = Vec::new();
        each(model.proto(), &mut |node| nodes.push(node));
        // Most models are known to need nothing by their weights, without a look at all of their sizes.
        let weights = model.proto().graph.iter().flat_map(|graph| &graph.initializer);
        let weights: HashMap<&str, &TensorProto> =
            weights.map(|weight| (weight.name(), weight)).collect();
        // A body may have another value of the same name.
        let outermost = model.proto().graph.as_ref().map(|graph| graph.node.as_ptr_range());
        let is_open = |node: &NodeProto| {
            let is_inside =
                !outermost.as_ref().is_some_and(|all| all.contains(&ptr::from_ref(node)));
            let weight = node.input.get(1).and_then(|name| weights.get(name.as_str()));
            let weight = weight.filter(|_| !is_inside);
            needs::is_of_interest(node) && !weight.is_some_and(|w| needs::is_met_by(node, w))
        };
        if !nodes.iter().any(|node| is_open(node)) {
            return Ok(guards);
        }
        let known = known.unwrap_or_else(|| model.known_inputs(&is_open));
        for (place, node) in nodes.into_iter().enumerate() {
            if needs::is_foreign_and_fragile(node) {
                guards.all.get_or_insert_with(|| label(node));
            }
            if !is_open(node) {
                continue;
            }
            let found = needs::of(node, opset, known.of(node), divides_by_zero)
                .map_err(|e| e.in_operation(label(node)))?;
            for symbol in found.symbols {
                guards.symbols.entry(symbol).or_insert_with(|| label(node));
            }
            if !found.needs.is_empty() && opset < OLDEST_OPSET {
                let text = format!(
                    "ONNX Runtime may end the process here; operator set {opset} is too old to prevent it"
                );
                return Err(
                    Error::new(ErrorKind::UnsupportedOperation, text).in_operation(label(node))
                );
            }
            if !found.needs.is_empty() {
                guards.needs.insert(place, found.needs);
            }
        }
        Ok(guards)
    }

    /// Whether the model must be written anew.
    pub(super) fn are_needed(&self) -> bool {
        !self.needs.is_empty()
    }

    /// The model with its guards, without the weights that are parts of `plan`. The model calls `plan`
    /// [`WEIGHTS_FILE`](crate::export::WEIGHTS_FILE). `is_whole`: `plan` is what the model is written as.
    pub(super) fn bytes_over(
        &mut self,
        model: &OnnxModel,
        plan: &Bytes,
        is_whole: bool,
    ) -> Vec<u8> {
        model.to_bytes_over(plan, is_whole, |proto| self.write(proto))
    }

    fn write(&mut self, proto: &mut ModelProto) {
        let mut has_scan = false;
        each(proto, &mut |node| has_scan |= node.op_type() == "Scan");
        let mut writer = Writer::new(prefix(proto), self.opset, has_scan);
        let mut place = 0;
        if let Some(graph) = &mut proto.graph {
            self.in_nodes(&mut graph.node, &mut place, &mut writer);
        }
        for function in &mut proto.functions {
            self.in_nodes(&mut function.node, &mut place, &mut writer);
        }
        self.faults = writer.faults;
    }

    fn in_nodes(&self, nodes: &mut Vec<NodeProto>, place: &mut usize, writer: &mut Writer) {
        let mut all = Vec::with_capacity(nodes.len());
        for mut node in std::mem::take(nodes) {
            for need in self.needs.get(place).into_iter().flatten() {
                writer.guard(&mut node, need);
            }
            *place += 1;
            all.append(&mut writer.nodes);
            let own = *place - 1;
            for body in bodies_mut(&mut node) {
                self.in_nodes(&mut body.node, place, writer);
            }
            // Behind what the body itself has.
            for need in self.needs.get(&own).into_iter().flatten() {
                writer.guard_given(&mut node, need);
            }
            all.push(node);
        }
        *nodes = all;
    }

    /// Refuses sizes of 0 of the inputs, where a node does not bear them.
    ///
    /// # Errors
    /// [`ErrorKind::ShapeMismatch`] with tensor and axis.
    pub(super) fn expect_elements(
        &self,
        signature: &Signature,
        size: impl Fn(usize, usize) -> usize,
    ) -> Result<()> {
        if self.symbols.is_empty() && self.all.is_none() {
            return Ok(());
        }
        for (i, spec) in signature.inputs.iter().enumerate() {
            for (axis, dim) in spec.shape.dims().iter().enumerate() {
                let symbol = dim.symbol().and_then(|symbol| self.symbols.get(symbol.name()));
                if let Some(node) = symbol.or(self.all.as_ref()).filter(|_| size(i, axis) == 0) {
                    let text = format!("ONNX Runtime takes no size of 0 here, because of {node}");
                    let error = Error::new(ErrorKind::ShapeMismatch, text);
                    return Err(error.on_tensor(&spec.name).at_axis(axis));
                }
            }
        }
        Ok(())
    }

    /// What a guard has found, when ONNX Runtime says that one of its nodes failed.
    pub(super) fn found(&self, kind: ErrorKind, message: &str) -> Option<Error> {
        let (_, rest) = message.split_once(nodes::MARK)?;
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        let fault = self.faults.get(number.parse::<usize>().ok()?)?;
        let error = Error::new(kind, &fault.text).in_operation(&fault.operation);
        Some(error.on_tensor(&fault.tensor))
    }
}

fn opset(model: &ModelProto) -> i64 {
    let sets = model.opset_import.iter();
    sets.filter(|set| is_standard(set.domain())).map(|set| set.version()).max().unwrap_or(0)
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

/// What errors call a node.
fn label(node: &NodeProto) -> String {
    match (node.name(), node.output.first()) {
        ("", Some(made)) => format!("{} (makes `{made}`)", node.op_type()),
        (name, _) => format!("{} `{name}`", node.op_type()),
    }
}

/// Calls `f` for each node, in the order in which guards are written: a node, then those in its bodies.
fn each<'m>(model: &'m ModelProto, f: &mut dyn FnMut(&'m NodeProto)) {
    fn in_nodes<'m>(nodes: &'m [NodeProto], f: &mut dyn FnMut(&'m NodeProto)) {
        for node in nodes {
            f(node);
            for attribute in &node.attribute {
                let bodies = attribute.g.iter().chain(&attribute.graphs);
                bodies.for_each(|body| in_nodes(&body.node, f));
            }
        }
    }
    model.graph.iter().for_each(|graph| in_nodes(&graph.node, f));
    model.functions.iter().for_each(|function| in_nodes(&function.node, f));
}

fn bodies_mut(node: &mut NodeProto) -> impl Iterator<Item = &mut GraphProto> {
    let attributes = node.attribute.iter_mut();
    attributes.flat_map(|attribute| attribute.g.iter_mut().chain(&mut attribute.graphs))
}

/// Letters with which no name of the model begins.
fn prefix(model: &ModelProto) -> String {
    let mut names: HashSet<&str> = HashSet::new();
    each(model, &mut |node| {
        names.extend(node.input.iter().chain(&node.output).map(String::as_str))
    });
    let values = model.graph.iter().flat_map(|graph| graph.input.iter().chain(&graph.output));
    names.extend(values.map(|value| value.name()));
    let mut prefix = String::from("guard");
    while names.iter().any(|name| name.starts_with(&prefix)) {
        prefix.push('_');
    }
    prefix
}
