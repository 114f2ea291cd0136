//! Captured operations to ONNX nodes: one file an operation family, dispatched from here.

mod activation;
mod attention;
mod base;
mod bool;
mod float;
mod module;
mod numeric;
mod recurrent;
mod sizes;

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{IntOperationIr, OperationIr, ScalarIr, TensorIr};

use super::BurnGraph;
use super::operation::{Lowered, Operation};
use super::tensors;
use super::trace::{self, Trace};
use crate::error::{Error, ErrorKind, Result};
use crate::export::{Consumer, GraphBuilder, OnnxModel, Value};
use crate::spec::Dim;

/// The model, and what became of each operation.
pub(super) fn lower(source: &BurnGraph, consumer: Consumer) -> Result<(OnnxModel, Vec<Lowered>)> {
    let graph = GraphBuilder::for_consumer(&source.name, consumer);
    let trace = &source.trace;
    let mut lowering = Lowering {
        graph: &graph,
        trace,
        others: source.other.as_ref().map(|other| trace.sizes_in(other)).unwrap_or_default(),
        values: HashMap::new(),
        refused: HashSet::new(),
        twin: None,
    };
    for (spec, id) in source.inputs.iter().zip(&trace.inputs) {
        let value = graph.input(&spec.name, spec.dtype, spec.shape.clone())?;
        lowering.values.insert(*id, value);
    }
    let (mut refusals, mut done) = (Vec::new(), Vec::new());
    for (i, operation) in trace.operations.iter().enumerate() {
        lowering.twin = source.other.as_ref().and_then(|other| other.operations.get(i));
        // What follows from a refused operation is not its own fault.
        if operation.inputs().any(|tensor| lowering.refused.contains(&tensor.id)) {
            lowering.refused.extend(operation.outputs().map(|tensor| tensor.id));
            continue;
        }
        let path = lowering.module_path(operation);
        let before = graph.node_count();
        path.iter().for_each(|path| graph.enter(path.as_str()));
        let lowered = lowering.operation(operation);
        path.iter().for_each(|_| graph.leave());
        let nodes = graph.operators(before);
        done.push(Lowered { operation: Operation::of(operation), nodes });
        if let Err(error) = lowered {
            let name = trace::name(operation);
            let place = path.map_or_else(|| name.to_owned(), |path| format!("{name} of {path}"));
            refusals.push(error.in_operation(place));
            lowering.refused.extend(operation.outputs().map(|tensor| tensor.id));
        }
    }
    if let Some(error) = combine(refusals) {
        return Err(error);
    }
    for (name, id) in source.output_names.iter().zip(&trace.outputs) {
        let value = lowering.by_id(*id)?;
        graph.output(name, &value)?;
    }
    Ok((graph.finish()?, done))
}

/// One error is passed on; several become one that lists them all.
fn combine(mut refusals: Vec<Error>) -> Option<Error> {
    if refusals.len() < 2 {
        return refusals.pop();
    }
    let kind = refusals[0].kind();
    let lines: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    let text = format!("{} operations cannot be exported: {}", lines.len(), lines.join("; "));
    Some(Error::new(kind, text))
}

struct Lowering<'a> {
    graph: &'a GraphBuilder,
    trace: &'a Trace,
    /// Sizes of each tensor in the other capture; empty when all is static.
    others: HashMap<TensorId, Vec<usize>>,
    values: HashMap<TensorId, Value>,
    /// Outputs of operations that could not be lowered.
    refused: HashSet<TensorId>,
    /// The operation being lowered as it is in the other capture, if there is one.
    twin: Option<&'a OperationIr>,
}

impl Lowering<'_> {
    fn operation(&mut self, operation: &OperationIr) -> Result<()> {
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
            OperationIr::Int(IntOperationIr::IntoFloat(op)) => {
                // `bind` casts to the type captured.
                let value = self.value(&op.input)?;
                self.bind(&op.out, value)
            }
            _ => Err(unsupported("this operation has no ONNX form yet")),
        }
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
        let value = match self.trace.names.get(&id).filter(|name| !name.is_empty()) {
            Some(name) => self.graph.weight(name, data.clone())?,
            None if self.others.get(&id).is_some_and(|sizes| sizes != data.shape()) => {
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
        let dtype = tensors::dtype(out.dtype)?;
        let value = value.cast(dtype)?;
        if value.rank() != captured.len() {
            let text = format!("lowered to {}, captured {captured:?}", value.shape());
            return Err(Error::new(ErrorKind::ShapeMismatch, text));
        }
        for (axis, dim) in value.dims().iter().enumerate() {
            let (first, second) = self.pair(out, axis);
            let agrees = match dim {
                Dim::Fixed(size) => *size == first && *size == second,
                Dim::Symbol(_) => first != second,
            };
            if !agrees {
                let text = format!("its size {dim} is {first} and {second} in two captures");
                return Err(Error::new(ErrorKind::ShapeMismatch, text).at_axis(axis));
            }
        }
        self.values.insert(out.id, value);
        Ok(())
    }

    /// The sizes of an axis in both captures.
    fn pair(&self, tensor: &TensorIr, axis: usize) -> (usize, usize) {
        let first = tensor.shape[axis];
        (first, self.others.get(&tensor.id).map_or(first, |sizes| sizes[axis]))
    }

    /// The dimensions of `out` in terms of those of `source`; `None` where a size differs between
    /// the captures and is none of the source's.
    fn dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Option<Dim>>> {
        let value = self.value(source)?;
        Ok((0..out.shape.len())
            .map(|axis| match self.pair(out, axis) {
                (first, second) if first == second => Some(Dim::Fixed(first)),
                pair => {
                    let found = (0..source.shape.len()).find(|&i| self.pair(source, i) == pair);
                    found.map(|i| value.dims()[i].clone())
                }
            })
            .collect())
    }

    /// As [`dims`](Self::dims), looking also among the inputs of the model.
    fn all_dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Dim>> {
        // An output that is made from nothing is no source of its own sizes.
        let near = match source.id == out.id {
            true => vec![None; out.shape.len()],
            false => self.dims(out, source)?,
        };
        let dims = near.into_iter().enumerate().map(|(axis, near)| {
            let (first, second) = self.pair(out, axis);
            let fixed = (first == second).then_some(Dim::Fixed(first));
            near.or(fixed).or_else(|| self.input_dim((first, second))).ok_or_else(|| {
                let text = format!("sizes {first} and {second} follow from no input");
                unsupported(text).at_axis(axis)
            })
        });
        dims.collect()
    }

    /// The dimension of an input that had these sizes in the two captures.
    fn input_dim(&self, pair: (usize, usize)) -> Option<Dim> {
        self.trace.inputs.iter().zip(&self.trace.sizes).find_map(|(id, first)| {
            let second = self.others.get(id)?;
            let axis = first.iter().zip(second).position(|(&a, &b)| (a, b) == pair)?;
            Some(self.values.get(id)?.dims()[axis].clone())
        })
    }

    fn input_values(&self) -> Vec<Value> {
        self.trace.inputs.iter().filter_map(|id| self.values.get(id).cloned()).collect()
    }

    /// The module whose parameters the operation reads.
    fn module_path(&self, operation: &OperationIr) -> Option<String> {
        let parameters = operation.inputs().filter_map(|tensor| self.trace.names.get(&tensor.id));
        let paths = parameters.map(|name| name.rsplit_once('.').map_or("", |(path, _)| path));
        paths.reduce(common).filter(|path| !path.is_empty()).map(str::to_owned)
    }
}

/// The module that holds both.
fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let mut end = 0;
    for (part, other) in a.split('.').zip(b.split('.')) {
        if part != other {
            break;
        }
        end += part.len() + 1;
    }
    &a[..end.saturating_sub(1)]
}

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
