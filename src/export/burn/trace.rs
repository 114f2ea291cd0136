//! A captured graph, and where two captures of different sizes differ. Lowering is elsewhere.

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::{CapturedGraph, TensorId};
use ::burn::backend::ir::{
    BaseOperationIr, IrVisitorMut, ModuleOperationIr, NumericOperationIr as Numeric, OperationIr,
    ScalarIr, TensorIr, TensorStatus,
};
use ::burn::tensor::Slice;

use super::operation::Operation;
use super::parameters::Parameter;
use super::probes::Sizes;
use super::{canonical, recurrent, sequence, tensors};
use crate::error::Result;
use crate::tensor::HostTensor;

/// A captured forward pass with fixed sizes.
#[derive(Debug)]
pub(super) struct CapturedPass {
    pub(super) operations: Vec<OperationIr>,
    /// How many operations Burn recorded, before loops and layers became one again.
    pub(super) captured: usize,
    /// Values of parameters and constants.
    pub(super) values: HashMap<TensorId, HostTensor>,
    /// Paths of the parameters among them.
    pub(super) names: HashMap<TensorId, String>,
    pub(super) inputs: Vec<TensorId>,
    /// The sizes of each input.
    pub(super) sizes: Sizes,
    /// In the order returned; a tensor returned twice is here twice.
    pub(super) outputs: Vec<TensorId>,
}

impl CapturedPass {
    pub(super) fn new(
        captured: CapturedGraph,
        inputs: Vec<TensorId>,
        sizes: Sizes,
        returned: Vec<TensorId>,
        parameters: HashMap<TensorId, &Parameter>,
    ) -> Result<Self> {
        let CapturedGraph { graph, values } = captured;
        // The capture may know a returned tensor under another id: it lists the distinct ones in order.
        let mut distinct: Vec<TensorId> = Vec::new();
        let mut outputs = Vec::with_capacity(returned.len());
        for id in returned {
            let position = distinct.iter().position(|known| *known == id).unwrap_or_else(|| {
                distinct.push(id);
                distinct.len() - 1
            });
            outputs.push(graph.outputs[position]);
        }
        let values = values.into_iter().map(|(id, data)| Ok((id, tensors::to_host(data)?)));
        let mut values = values.collect::<Result<HashMap<_, _>>>()?;
        let mut names = HashMap::new();
        for (id, parameter) in parameters {
            values.insert(id, parameter.value.clone());
            names.insert(id, parameter.path.clone());
        }
        // Inputs and parameters are made without values; they come from outside of the graph.
        let given = |id: &TensorId| inputs.contains(id) || names.contains_key(id);
        let captured = graph.operations.len();
        let operations = graph.operations.into_iter().filter(|op| match op {
            OperationIr::Init(_) | OperationIr::Drop(_) => false,
            op => !op.outputs().any(|tensor| given(&tensor.id)),
        });
        let operations = canonical::canonicalize(operations.collect(), &outputs);
        let operations = needed(recurrent::fold(operations, &outputs), &outputs);
        Ok(Self { operations, captured, values, names, inputs, sizes, outputs })
    }

    /// Whether an operation or the caller reads a tensor.
    pub(super) fn is_read(&self, id: TensorId) -> bool {
        let mut reads = self.operations.iter().flat_map(OperationIr::inputs);
        self.outputs.contains(&id) || reads.any(|tensor| tensor.id == id)
    }

    /// Finds where two captures did not do the same, but for sizes and, where these are `dynamic`, whole numbers that
    /// are added, which may follow from sizes.
    pub(super) fn difference(&self, other: &Self, dynamic: bool) -> Option<CaptureDifference> {
        if self.operations.len() != other.operations.len() {
            let mut pairs = self.operations.iter().zip(&other.operations);
            let first = pairs.position(|(a, b)| name(a) != name(b));
            return Some(CaptureDifference {
                operation: first.map_or("forward", |position| name(&self.operations[position])),
                position: first,
                what: "the number of operations".to_owned(),
            });
        }
        let [mut ours, mut theirs] = [self, other].map(|trace| Normalize::of(trace, dynamic));
        for (position, (a, b)) in self.operations.iter().zip(&other.operations).enumerate() {
            let (mut x, mut y) = (ours.normalize(a), theirs.normalize(b));
            recurrent::agree(&mut x, &mut y);
            let what = if std::mem::discriminant(&x) != std::mem::discriminant(&y)
                || name(&x) != name(&y)
            {
                format!("the sequence of operations ({} or {})", name(&x), name(&y))
            } else if x != y {
                "a parameter of the operation".to_owned()
            } else {
                continue;
            };
            return Some(CaptureDifference { operation: name(&x), position: Some(position), what });
        }
        let whole =
            |what: String| Some(CaptureDifference { operation: "forward", position: None, what });
        // What is read without being made: by now both have seen the same in the same order.
        let twins: HashMap<u64, TensorId> =
            theirs.order.iter().map(|(id, order)| (*order, *id)).collect();
        let mut pairs: Vec<(TensorId, TensorId)> =
            ours.order.iter().filter_map(|(id, order)| Some((*id, *twins.get(order)?))).collect();
        if self.outputs.len() != other.outputs.len() {
            return whole("the number of outputs".to_owned());
        }
        for (a, b) in self.outputs.iter().zip(&other.outputs) {
            match (ours.order.get(a), theirs.order.get(b)) {
                (None, None) => pairs.push((*a, *b)),
                (a, b) if a == b => {}
                _ => return whole("which tensors it returns".to_owned()),
            }
        }
        for (id, twin) in pairs {
            let (first, second) = (self.names.get(&id), other.names.get(&twin));
            if first != second {
                return whole("which parameters it reads".to_owned());
            }
            let (Some(value), Some(twin)) = (self.values.get(&id), other.values.get(&twin)) else {
                continue;
            };
            if first.is_none() && !sequence::same(value, twin) {
                return whole(format!("a constant of shape {:?}", value.shape()));
            }
        }
        None
    }

    /// The sizes that each tensor of this trace has in `other`.
    pub(super) fn sizes_in(&self, other: &Self) -> HashMap<TensorId, Vec<usize>> {
        let nodes =
            |op: &OperationIr| -> Vec<TensorIr> { op.nodes().into_iter().cloned().collect() };
        let mut sizes = HashMap::new();
        for (a, b) in self.operations.iter().zip(&other.operations) {
            for (x, y) in nodes(a).iter().zip(&nodes(b)) {
                sizes.insert(x.id, y.shape.to_vec());
            }
        }
        for (id, other) in self.inputs.iter().zip(&other.sizes) {
            sizes.insert(*id, other.clone());
        }
        sizes
    }
}

/// The operations that an output depends on.
fn needed(operations: Vec<OperationIr>, outputs: &[TensorId]) -> Vec<OperationIr> {
    let mut read: HashSet<TensorId> = outputs.iter().copied().collect();
    let mut kept = Vec::with_capacity(operations.len());
    for operation in operations.into_iter().rev() {
        if operation.outputs().any(|tensor| read.contains(&tensor.id)) {
            read.extend(operation.inputs().map(|tensor| tensor.id));
            kept.push(operation);
        }
    }
    kept.reverse();
    kept
}

/// Where two captures did not do the same.
#[derive(Debug)]
pub(super) struct CaptureDifference {
    pub(super) operation: &'static str,
    /// Among the operations of the capture.
    pub(super) position: Option<usize>,
    pub(super) what: String,
}

/// Replaces ids by the order of their appearance, and takes sizes away.
struct Normalize {
    order: HashMap<TensorId, u64>,
    dynamic: bool,
}

impl Normalize {
    fn of(trace: &CapturedPass, dynamic: bool) -> Self {
        Self { order: trace.inputs.iter().copied().zip(0..).collect(), dynamic }
    }

    fn normalize(&mut self, operation: &OperationIr) -> OperationIr {
        let mut operation = operation.clone();
        operation.visit_mut(self);
        if let OperationIr::BaseFloat(BaseOperationIr::RepeatDim(op))
        | OperationIr::BaseInt(BaseOperationIr::RepeatDim(op))
        | OperationIr::BaseBool(BaseOperationIr::RepeatDim(op)) = &mut operation
        {
            // How often is compared where repetitions are lowered.
            op.times = 0;
        }
        if let OperationIr::Module(ModuleOperationIr::Interpolate(op)) = &mut operation {
            // As is the size of the picture.
            op.output_size = [0; 2];
        }
        if let OperationIr::NumericInt(_, Numeric::AddScalar(op) | Numeric::SubScalar(op)) =
            &mut operation
            && self.dynamic
            && matches!(op.rhs, ScalarIr::Int(_) | ScalarIr::UInt(_))
        {
            // As is what is added.
            op.rhs = ScalarIr::Int(0);
        }
        operation
    }
}

impl IrVisitorMut for Normalize {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        let next = self.order.len() as u64;
        let order = *self.order.entry(tensor.id).or_insert(next);
        let rank = tensor.shape.len();
        tensor.id = TensorId::new(order);
        tensor.shape = vec![0; rank].into();
        // Whether a tensor may be reused in place is no part of the computation.
        tensor.status = TensorStatus::ReadOnly;
    }

    fn visit_scalar_mut(&mut self, scalar: &mut ScalarIr) {
        // A NaN is not equal to itself, its bits are.
        if let ScalarIr::Float(value) = *scalar
            && value.is_nan()
        {
            *scalar = ScalarIr::UInt(value.to_bits());
        }
    }

    fn visit_range_mut(&mut self, range: &mut Slice) {
        // Bounds are compared where slices are lowered.
        *range = Slice::new(0, None, range.step);
    }
}

/// The operation's name as Burn spells it, e.g. `MaxPool2d`.
pub(super) fn name(operation: &OperationIr) -> &'static str {
    Operation::of(operation).name
}
