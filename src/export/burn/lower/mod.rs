//! Captured operations to ONNX nodes: one file an operation family, dispatched from here.

mod activation;
mod attention;
mod base;
mod bool;
mod deform;
mod extents;
mod float;
mod index;
mod integer;
mod module;
mod numeric;
mod order;
mod pool;
mod recurrent;
mod reduce;
mod resize;
mod sizes;
mod slices;
mod types;

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{OperationIr, ScalarIr, TensorIr};

use super::caches::CacheWrite;
use super::operation::{Lowered, Operation};
use super::tensors;
use super::trace::{self, CapturedPass};
use super::{BurnGraph, modules};
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{give_directly, write_in_place};
use crate::export::interface::Interface;
use crate::export::report::{Owner, Refusal, Report};
use crate::export::{GraphBuilder, OnnxModel, Target, Value};
use crate::spec::{DType, Dim};

/// What lowering came to.
pub(super) struct Outcome {
    pub(super) report: Report,
    /// Which operation a node was written for, by the first value that the node gives.
    pub(super) owners: HashMap<String, Owner>,
    /// The model, and what became of each operation, if there are no refusals.
    pub(super) model: Option<(OnnxModel, Vec<Lowered>)>,
}

/// Lowers all operations, also after one was refused.
pub(super) fn lower(source: &BurnGraph, target: Target) -> Result<Outcome> {
    let graph = GraphBuilder::for_target(&source.name, target);
    graph.reserve(&source.output_names);
    let trace = &source.trace;
    let mut lowering = Lowering {
        graph: &graph,
        trace,
        others: source.others.iter().map(|other| trace.sizes_in(other)).collect(),
        captures: &source.others,
        values: HashMap::new(),
        refused: HashSet::new(),
        twins: Vec::new(),
        narrow_f64: source.narrow_f64,
        may_leave: false,
    };
    let mut refusals = Vec::new();
    for (spec, id) in source.inputs.iter().zip(&trace.inputs) {
        let value = match lowering.input(spec) {
            Ok(value) => value,
            // What follows from it is looked at as well.
            Err(reason) if reason.kind() == ErrorKind::UnsupportedOperation => {
                refusals.push(Refusal::of_input(reason));
                lowering.refused.insert(*id);
                graph.input(&spec.name, DType::F32, spec.shape.clone())?
            }
            Err(error) => return Err(error),
        };
        lowering.values.insert(*id, value);
    }
    let (mut done, mut owners) = (Vec::new(), Vec::new());
    let paths = modules::paths(trace);
    for (position, (operation, path)) in trace.operations.iter().zip(paths).enumerate() {
        lowering.twins = source.others.iter().filter_map(|t| t.operations.get(position)).collect();
        let before = graph.node_count();
        let scope = (!path.is_empty()).then(|| graph.scope(path.as_str()));
        let lowered = lowering
            .operation(operation)
            .and_then(|()| lowering.in_place(&source.writes, operation));
        drop(scope);
        let owner = Owner { operation: trace::name(operation).into(), module: path, position };
        owners.resize(before, None);
        owners.resize(graph.node_count(), Some(owner.clone()));
        let follows = operation.inputs().any(|tensor| lowering.refused.contains(&tensor.id));
        match lowered {
            Ok(()) => {
                let nodes = graph.operators(before);
                done.push(Lowered { operation: Operation::of(operation), nodes });
            }
            // That sizes do not fit may follow from what stands in for a refused operation.
            Err(reason) if follows && reason.kind() != ErrorKind::UnsupportedOperation => {
                lowering.stand_in(operation)?;
            }
            Err(reason) => {
                refusals.push(Refusal::of(Some(owner), reason));
                lowering.stand_in(operation)?;
            }
        }
        if follows {
            lowering.refused.extend(operation.outputs().map(|tensor| tensor.id));
        }
    }
    let report = Report::new(trace.operations.len(), refusals);
    let owners = graph.with_graph(|graph| {
        let owned = graph.nodes.iter().zip(owners);
        let named = owned.filter_map(|(node, owner)| Some((node.output.first()?.clone(), owner?)));
        named.collect()
    });
    if !report.is_exportable() {
        return Ok(Outcome { report, owners, model: None });
    }
    let outputs = source.output_names.iter().zip(&trace.outputs);
    for ((name, id), own) in outputs.zip(&source.layout.output_types) {
        let value = lowering.by_id(*id)?;
        lowering.output(name, &value, *own)?;
    }
    let named = |types: &[DType]| types.iter().map(ToString::to_string).collect();
    let layout = &source.layout;
    let interface = Interface {
        framework: "burn".to_owned(),
        inputs: named(&layout.input_types),
        outputs: named(&layout.output_types),
        input_lengths: layout.inputs.clone(),
        output_lengths: layout.outputs.clone(),
    };
    interface.write(&graph);
    if target.writes_caches_in_place() {
        graph.with_graph(give_directly);
    }
    Ok(Outcome { report, owners, model: Some((graph.finish()?, done)) })
}

struct Lowering<'a> {
    graph: &'a GraphBuilder,
    trace: &'a CapturedPass,
    /// Sizes of each tensor in the other captures; none when all is static.
    others: Vec<HashMap<TensorId, Vec<usize>>>,
    /// The other captures themselves.
    captures: &'a [CapturedPass],
    values: HashMap<TensorId, Value>,
    /// What follows from operations that could not be lowered.
    refused: HashSet<TensorId>,
    /// The operation being lowered as it is in the other captures.
    twins: Vec<&'a OperationIr>,
    /// Whether 64-bit floats may be computed in 32 bits.
    narrow_f64: bool,
    /// Whether the operation being lowered may give integers beyond the range of their type.
    may_leave: bool,
}

impl Lowering<'_> {
    fn operation(&mut self, operation: &OperationIr) -> Result<()> {
        self.may_leave = types::may_leave(operation);
        match operation {
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
                self.base(op)
            }
            OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => self.numeric(op),
            OperationIr::Float(_, op) => self.float(op),
            OperationIr::Module(op) => self.module(op),
            OperationIr::Activation(op) => self.activation(op),
            OperationIr::Bool(op) => self.bool(op),
            OperationIr::Custom(op) => self.recurrent(op),
            OperationIr::Int(op) => self.int(op),
            OperationIr::Distributed(_) => {
                Err(unsupported("communication between devices is not exported"))
            }
            // Not part of the computation.
            OperationIr::Init(_) | OperationIr::Drop(_) => Ok(()),
        }
    }

    /// Where an operation gives a cache with new rows, the rows are written in place if the target can.
    fn in_place(&mut self, writes: &[CacheWrite], operation: &OperationIr) -> Result<()> {
        if !self.graph.target().writes_caches_in_place() {
            return Ok(());
        }
        let gives = |write: &&CacheWrite| operation.outputs().any(|out| out.id == write.result);
        let Some(write) = writes.iter().find(gives) else { return Ok(()) };
        let [positions, cache, rows] = [write.positions, write.cache, write.rows];
        let (positions, cache, rows) =
            (self.by_id(positions)?, self.by_id(cache)?, self.by_id(rows)?);
        let wanted = [&cache.dims()[..2], &positions.dims()[1..2], &cache.dims()[3..]].concat();
        if rows.dims() == wanted && rows.dtype() == cache.dtype() {
            let first = positions.cast(DType::I64)?.slice(1, 0, Some(1))?.squeeze(&[1])?;
            self.values.insert(write.result, write_in_place(&cache, &rows, &first)?);
        }
        Ok(())
    }

    /// Gives the outputs of an operation that cannot be lowered values of their types and sizes, so
    /// that what follows is looked at as well.
    fn stand_in(&mut self, operation: &OperationIr) -> Result<()> {
        for tensor in operation.outputs() {
            self.refused.insert(tensor.id);
            // A type that ONNX does not have was refused where it was read.
            let dtype = self.dtype(tensor).unwrap_or(DType::F32);
            let mut dims = Vec::with_capacity(tensor.shape.len());
            for axis in 0..tensor.shape.len() {
                let extent = self.extent(tensor, axis);
                let known = self.input_extents().into_iter().find(|(_, known)| *known == extent);
                dims.push(match known {
                    Some((dim, _)) => dim,
                    None => extent.dim(format!("?{}_{axis}", tensor.id), extent.range().1)?,
                });
            }
            let node = self.graph.node("Identity").outputs([(dtype, dims.into())]);
            self.values.insert(tensor.id, node.build()?);
        }
        Ok(())
    }

    /// The value of a tensor; parameters and constants enter the graph when first used.
    fn value(&mut self, tensor: &TensorIr) -> Result<Value> {
        self.by_id(tensor.id)
    }

    fn by_id(&mut self, id: TensorId) -> Result<Value> {
        if let Some(value) = self.values.get(&id) {
            return Ok(value.clone());
        }
        let Some(data) = self.trace.values.get(&id) else {
            let text = "a tensor is read that nothing in the capture made";
            return Err(Error::new(ErrorKind::InvalidModel, text));
        };
        let data = &self.constant_data(data)?;
        let value = match self.trace.names.get(&id).filter(|name| !name.is_empty()) {
            Some(name) => self.graph.parameter(name, data.clone()),
            None if self
                .others
                .iter()
                .any(|sizes| sizes.get(&id).is_some_and(|sizes| sizes != data.shape())) =>
            {
                self.counting(id, data)?
            }
            None => self.graph.constant("constant", data.clone()),
        };
        self.values.insert(id, value.clone());
        Ok(value)
    }

    /// Records the result of an operation, after checking that its dimensions are the captured ones.
    fn bind(&mut self, out: &TensorIr, value: Value) -> Result<()> {
        let captured = out.shape.to_vec();
        let value = self.fit(&value, tensors::dtype(out.dtype)?)?;
        if value.rank() != captured.len() {
            let text = format!("lowered to {}, captured {captured:?}", value.shape());
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        let known = self.input_extents();
        let mut dims = value.dims().to_vec();
        for (axis, dim) in dims.iter_mut().enumerate() {
            let extent = self.extent(out, axis);
            let input = known.iter().find(|(known, _)| known == dim);
            let agrees = match (&*dim, input) {
                (Dim::Fixed(size), _) => extent.fixed() == Some(*size),
                (Dim::Symbol(_), Some((_, known))) => extent == *known,
                (Dim::Symbol(_), None) => extent.fixed().is_none(),
            };
            if !agrees {
                let text = format!("its size {dim} is {extent} in the captures");
                return Err(Error::new(ErrorKind::ShapeMismatch, text).at_axis(axis));
            }
            // Operators name computed sizes after how they compute them; equal sizes need one name.
            if dim.fixed().is_none()
                && let Some(named) = extents::named(&extent, &known)
            {
                *dim = named;
            }
        }
        let value = value.with_shape(dims.into());
        self.values.insert(out.id, value);
        Ok(())
    }
}

/// Why operations that draw are refused.
const NO_RANDOM: &str = "an exported model has no random numbers: generate the numbers outside of the forward, and \
                         pass them as an input";

fn unsupported(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::UnsupportedOperation, text)
}

/// A scalar operand; the graph builder takes numbers as 64-bit floats.
fn number(scalar: &ScalarIr) -> Result<f64> {
    let (value, exact) = match *scalar {
        ScalarIr::Float(value) => (value, true),
        ScalarIr::Int(value) => (value as f64, value as f64 as i128 == i128::from(value)),
        ScalarIr::UInt(value) => (value as f64, value as f64 as i128 == i128::from(value)),
        ScalarIr::Bool(value) => (f64::from(u8::from(value)), true),
    };
    if exact {
        return Ok(value);
    }
    Err(unsupported(format!("the scalar {scalar:?} cannot be written exactly")))
}

/// A scalar operand of an operation on integers.
fn whole(scalar: &ScalarIr) -> Result<i128> {
    match *scalar {
        ScalarIr::Int(value) => Ok(value.into()),
        ScalarIr::UInt(value) => Ok(value.into()),
        ScalarIr::Bool(value) => Ok(value.into()),
        ScalarIr::Float(value) if value.trunc() == value => Ok(value as i128),
        ScalarIr::Float(value) => Err(unsupported(format!("{value} is no integer"))),
    }
}

fn gradient() -> Error {
    unsupported("a gradient is not part of inference")
}
