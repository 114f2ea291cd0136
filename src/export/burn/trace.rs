//! A captured graph, and what two captures of different sizes tell about each other. Lowering is
//! elsewhere.

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::{CapturedGraph, TensorId};
use ::burn::backend::ir::{BaseOperationIr, IrVisitorMut, OperationIr, TensorIr, TensorStatus};
use ::burn::tensor::Slice;

use super::operation::Operation;
use super::parameters::Parameter;
use super::{canonical, recurrent, sequence, tensors};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Symbol, TensorSpec};
use crate::tensor::HostTensor;

/// A captured forward pass with fixed sizes.
#[derive(Debug)]
pub(super) struct Trace {
    pub(super) operations: Vec<OperationIr>,
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

impl Trace {
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
        let operations = graph.operations.into_iter().filter(|op| match op {
            OperationIr::Init(_) | OperationIr::Drop(_) => false,
            op => !op.outputs().any(|tensor| given(&tensor.id)),
        });
        let operations = canonical::canonicalize(operations.collect(), &outputs);
        let operations = needed(recurrent::fold(operations, &outputs), &outputs);
        Ok(Self { operations, values, names, inputs, sizes, outputs })
    }

    /// Whether an operation or the caller reads a tensor.
    pub(super) fn is_read(&self, id: TensorId) -> bool {
        let mut reads = self.operations.iter().flat_map(OperationIr::inputs);
        self.outputs.contains(&id) || reads.any(|tensor| tensor.id == id)
    }

    /// Checks that both captures did the same, but for sizes if these differ.
    pub(super) fn check_same_operations(&self, other: &Self, dynamic: bool) -> Result<()> {
        let differs = |operation: &str, text: &str| {
            let text = match dynamic {
                true => format!("{text} depends on the sizes of the inputs, which are dynamic"),
                false => format!("{text} is not the same each time the forward function runs"),
            };
            Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation(operation))
        };
        if dynamic && self.operations.len() != other.operations.len() {
            let differs = |(a, b): &(&OperationIr, &OperationIr)| name(a) != name(b);
            let pairs = self.operations.iter().zip(&other.operations);
            let first = pairs.clone().find(differs).map(|(a, _)| name(a));
            let text = "a loop runs as often as a dynamic size; of loops over a dynamic length, LSTM \
                        and GRU layers of burn::nn with their usual activations are exported, \
                        without clipping or coupled gates";
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            return Err(error.in_operation(first.unwrap_or("forward")));
        }
        let (mut ours, mut theirs) = (Normalize::default(), Normalize::default());
        for (a, b) in self.operations.iter().zip(&other.operations) {
            let (mut x, mut y) = (a.clone(), b.clone());
            for (operation, visitor) in [(&mut x, &mut ours), (&mut y, &mut theirs)] {
                operation.visit_mut(visitor);
                if let OperationIr::BaseFloat(BaseOperationIr::RepeatDim(op))
                | OperationIr::BaseInt(BaseOperationIr::RepeatDim(op))
                | OperationIr::BaseBool(BaseOperationIr::RepeatDim(op)) = operation
                {
                    // How often is compared where repetitions are lowered.
                    op.times = 0;
                }
            }
            if std::mem::discriminant(&x) != std::mem::discriminant(&y) || name(&x) != name(&y) {
                return differs(name(&x), "the sequence of operations");
            }
            if x != y {
                return differs(name(&x), "a parameter of the operation");
            }
        }
        if self.operations.len() != other.operations.len() {
            return differs("forward", "the number of operations");
        }
        for (id, order) in &ours.order {
            let twin = theirs.order.iter().find(|(_, theirs)| *theirs == order).map(|(id, _)| id);
            let (Some(value), Some(twin)) =
                (self.values.get(id), twin.and_then(|id| other.values.get(id)))
            else {
                continue;
            };
            if !sequence::same(value, twin) {
                return differs("forward", &format!("a constant of shape {:?}", value.shape()));
            }
        }
        Ok(())
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

/// Replaces ids by the order of their appearance, and takes sizes away.
#[derive(Default)]
struct Normalize {
    order: HashMap<TensorId, u64>,
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

    fn visit_range_mut(&mut self, range: &mut Slice) {
        // Bounds are compared where slices are lowered.
        *range = Slice::new(0, None, range.step);
    }
}

/// The operation's name as Burn spells it, e.g. `MaxPool2d`.
pub(super) fn name(operation: &OperationIr) -> &'static str {
    Operation::of(operation).name
}

/// The sizes of every input of one capture.
pub(super) type Sizes = Vec<Vec<usize>>;

/// Sizes for one capture of static inputs, or for two of dynamic ones. Each symbol gets a pair of
/// sizes of its own, by which its dimensions are told from others.
pub(super) fn sizes(inputs: &[TensorSpec]) -> Result<(Sizes, Option<Sizes>)> {
    let largest = |spec: &TensorSpec| {
        let sizes = spec.shape.dims().iter().map(Dim::max);
        sizes.fold(spec.dtype.size(), usize::saturating_mul)
    };
    let roomy = inputs.iter().map(largest).fold(0, usize::saturating_add) <= ROOMY;
    let mut pairs: Vec<(&Symbol, (usize, usize))> = Vec::new();
    for symbol in inputs.iter().flat_map(|spec| spec.shape.dims()).filter_map(|dim| match dim {
        Dim::Symbol(symbol) => Some(symbol),
        Dim::Fixed(_) => None,
    }) {
        if pairs.iter().any(|(known, _)| *known == symbol) {
            continue;
        }
        let taken: Vec<_> = pairs.iter().map(|(_, pair)| *pair).collect();
        let pair = pair(symbol, &taken, roomy).ok_or_else(|| {
            let text =
                format!("the range of {symbol:?} is too small to tell it from the other symbols");
            Error::new(ErrorKind::InvalidArgument, text).in_operation("capture")
        })?;
        pairs.push((symbol, pair));
    }
    let pick = |which: fn((usize, usize)) -> usize| {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size,
            Dim::Symbol(symbol) => pairs
                .iter()
                .find(|(known, _)| *known == symbol)
                .map_or(symbol.opt(), |(_, pair)| which(*pair)),
        };
        inputs.iter().map(|spec| spec.shape.dims().iter().map(size).collect()).collect::<Vec<_>>()
    };
    let second = (!pairs.is_empty()).then(|| pick(|pair| pair.1));
    Ok((pick(|pair| pair.0), second))
}

/// Inputs of this many bytes in all are captured at their largest sizes.
const ROOMY: usize = 256 << 20;

/// Two different sizes of a symbol, far apart, so that a division does not make them equal and a
/// branch on the size shows; close to the smallest where memory is dear. Size 1 is avoided, since
/// it broadcasts.
fn pair(symbol: &Symbol, taken: &[(usize, usize)], roomy: bool) -> Option<(usize, usize)> {
    let (min, max) = (symbol.min(), symbol.max());
    let low = min.max(2).min(max - 1);
    let near = (0..64).map(|k| (low + 3 * k, low + 3 * k + 37));
    let far = (0..64).map(|k| (low + k, max.saturating_sub(k)));
    let edges = [(low, max), (max, low), (min, max), (max, min)];
    let inside = |(a, b): &(usize, usize)| a != b && a.max(b) <= &max && a.min(b) >= &min;
    let free = |pair: &(usize, usize)| inside(pair) && !taken.contains(pair);
    let far = far.take(if roomy { 64 } else { 0 });
    far.chain(near).chain(edges).find(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_symbol_gets_a_pair_of_its_own() {
        let spec = |dims: Vec<Dim>| TensorSpec::new("x", crate::DType::F32, dims);
        let dynamic = |name: &str, max| Dim::dynamic(name, 1..=max).unwrap();
        let inputs =
            [spec(vec![dynamic("a", 2), dynamic("b", 2), dynamic("c", 100), Dim::Fixed(5)])];
        let (first, second) = sizes(&inputs).unwrap();
        let second = second.unwrap();
        let pairs: Vec<_> = first[0].iter().copied().zip(second[0].iter().copied()).collect();
        assert_eq!(pairs, [(1, 2), (2, 1), (2, 100), (5, 5)]);
        let large = [spec(vec![dynamic("n", 1 << 20), Dim::Fixed(1 << 20)])];
        assert_eq!(sizes(&large).unwrap(), (vec![vec![2, 1 << 20]], Some(vec![vec![39, 1 << 20]])));
        let many = [spec(vec![dynamic("a", 2), dynamic("b", 2), dynamic("c", 2)])];
        assert!(sizes(&many).is_err());
    }
}
