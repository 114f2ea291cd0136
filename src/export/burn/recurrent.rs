//! Gives recurrent layers their whole form back.
//!
//! Burn's LSTM and GRU are loops over the time steps, and a capture holds every step. The steps are followed from the last one
//! back. If all steps compute the same cell with the same weights, they become one operation, whatever their number. Any other
//! loop stays unchanged.

use std::collections::{HashMap, HashSet};

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{
    ActivationOperationIr, BaseOperationIr as Base, BinaryOpIr, CustomOpIr, FloatOperationIr,
    ModuleOperationIr, NumericOperationIr as Numeric, OperationIr, ScalarIr, SliceAssignOpIr,
    TensorIr,
};

use crate::export::lower::RecurrentKind;

/// One layer over a whole sequence, read back from its operation.
#[derive(Debug)]
pub(super) struct RecurrentLayer<'a> {
    pub(super) kind: RecurrentKind,
    /// From the last step to the first.
    pub(super) reverse: bool,
    /// `[batch, length, inputs]`.
    pub(super) input: &'a TensorIr,
    /// Hidden state, then cell state, before the first step; none where they are zeros.
    pub(super) initial: &'a [TensorIr],
    /// For each gate, the weights of input and hidden state and, where there are any, their biases.
    pub(super) gates: Vec<&'a [TensorIr]>,
    /// The hidden states `[batch, length, hidden]`, then hidden and cell state after the last step.
    pub(super) outputs: &'a [TensorIr],
}

const LSTM: &str = "accelerant.Lstm";
const GRU: &str = "accelerant.Gru";

/// The direction of a layer of one step.
const EITHER: ScalarIr = ScalarIr::UInt(0);

/// Gives a layer of one step the direction of the other, if they are layers.
pub(super) fn agree(x: &mut OperationIr, y: &mut OperationIr) {
    let (OperationIr::Custom(x), OperationIr::Custom(y)) = (x, y) else { return };
    if layer(x).is_none() || layer(y).is_none() {
        return;
    }
    let [one, other] = [&mut x.scalars[0], &mut y.scalars[0]];
    if *one == EITHER {
        *one = *other;
    } else if *other == EITHER {
        *other = *one;
    }
}

/// The layer that an operation stands for, if [`fold`] made it.
pub(super) fn layer(operation: &CustomOpIr) -> Option<RecurrentLayer<'_>> {
    let [direction, ScalarIr::Bool(reset_after), ScalarIr::Bool(zeros)] = operation.scalars[..]
    else {
        return None;
    };
    let reverse = direction == ScalarIr::Bool(true);
    let kind = match operation.id.as_str() {
        LSTM => RecurrentKind::Lstm,
        GRU => RecurrentKind::Gru { reset_after },
        _ => return None,
    };
    let states = if zeros { 0 } else { operation.outputs.len() - 1 };
    let (input, rest) = operation.inputs.split_first()?;
    let (initial, weights) = rest.split_at_checked(states)?;
    let gates = weights.chunks_exact(weights.len() / kind.gates()).collect();
    Some(RecurrentLayer { kind, reverse, input, initial, gates, outputs: &operation.outputs })
}

/// Puts one operation in the place of each recurrent loop. `outputs` are read outside of the
/// sequence.
pub(super) fn fold(mut operations: Vec<OperationIr>, outputs: &[TensorId]) -> Vec<OperationIr> {
    // The last steps, late ones first, so that the places of the others stay.
    let continued: HashSet<TensorId> =
        operations.iter().filter_map(assign).map(|op| op.tensor.id).collect();
    let last = |op: &OperationIr| assign(op).is_some_and(|op| !continued.contains(&op.out.id));
    let ends: Vec<usize> = (0..operations.len()).filter(|&i| last(&operations[i])).collect();
    for end in ends.into_iter().rev() {
        let Some((layer, inside)) = Steps::new(&operations).find(end, outputs) else { continue };
        operations[end] = OperationIr::Custom(layer);
        let mut index = 0;
        operations.retain(|_| {
            index += 1;
            index - 1 == end || !inside.contains(&(index - 1))
        });
    }
    operations
}

/// A sequence of operations, and which of them makes a tensor.
struct Steps<'a> {
    operations: &'a [OperationIr],
    made_by: HashMap<TensorId, usize>,
}

/// One step of a loop: what it reads and makes.
#[derive(Clone, Debug, PartialEq)]
struct Cell<'a> {
    kind: RecurrentKind,
    input: TensorId,
    hidden: &'a TensorIr,
    cell: Option<&'a TensorIr>,
    next_cell: Option<&'a TensorIr>,
    gates: Vec<Gate<'a>>,
}

/// `input * weight + bias` and the same for the hidden state.
#[derive(Clone, Debug, PartialEq)]
struct Gate<'a> {
    input: Product<'a>,
    hidden: Product<'a>,
}

#[derive(Clone, Debug, PartialEq)]
struct Product<'a> {
    x: &'a TensorIr,
    weight: &'a TensorIr,
    bias: Option<&'a TensorIr>,
}

impl<'a> Steps<'a> {
    fn new(operations: &'a [OperationIr]) -> Self {
        let made = operations.iter().enumerate();
        let made = made.flat_map(|(i, op)| op.outputs().map(move |tensor| (tensor.id, i)));
        Self { operations, made_by: made.collect() }
    }

    fn maker(&self, tensor: &TensorIr) -> Option<&'a OperationIr> {
        self.made_by.get(&tensor.id).map(|&i| &self.operations[i])
    }

    /// The layer whose last step ends with the operation at `end`, and the operations it replaces.
    fn find(&self, end: usize, outputs: &[TensorId]) -> Option<(CustomOpIr, HashSet<usize>)> {
        // From the last step back to the first, then in the order they run.
        let mut assigns = vec![assign(&self.operations[end])?];
        while let Some(before) = self.maker(&assigns[assigns.len() - 1].tensor).and_then(assign) {
            assigns.push(before);
        }
        assigns.reverse();
        let all = &assigns[0].out;
        let [_, length, _] = all.shape[..] else { return None };
        // One step goes either way.
        let reverse = if length > 1 { Some(step_of(assigns[0])? > 0) } else { None };
        let mut steps = Vec::with_capacity(length);
        for (i, assign) in assigns.iter().enumerate() {
            let at = if reverse == Some(true) { length.checked_sub(i + 1)? } else { i };
            let (OperationIr::BaseFloat(Base::Reshape(lift)), true) =
                (self.maker(&assign.value)?, step_of(assign)? == at)
            else {
                return None;
            };
            let next = &lift.input;
            let cell = self.cell(next)?;
            let OperationIr::BaseFloat(Base::Reshape(flat)) = self.maker(cell.gates[0].input.x)?
            else {
                return None;
            };
            let OperationIr::BaseFloat(Base::Slice(slice)) = self.maker(&flat.input)? else {
                return None;
            };
            if slice.tensor.shape.len() != 3 || step(&slice.ranges, &slice.tensor)? != at {
                return None;
            }
            steps.push((next, cell, &slice.tensor));
        }
        if steps.len() != length {
            return None;
        }
        for pair in steps.windows(2) {
            let [(hidden, before, input), (_, after, same)] = pair else { return None };
            let weights = |cell: &Cell<'a>| {
                let ids = |gate: &Gate<'a>| {
                    tensors(gate).iter().map(|tensor| tensor.id).collect::<Vec<_>>()
                };
                cell.gates.iter().map(ids).collect::<Vec<_>>()
            };
            let continues = after.hidden.id == hidden.id
                && after.cell.map(|t| t.id) == before.next_cell.map(|t| t.id)
                && (before.kind, input.id) == (after.kind, same.id)
                && weights(before) == weights(after);
            if !continues {
                return None;
            }
        }
        self.replace(end, &assigns, &steps, reverse, outputs)
    }

    fn replace(
        &self,
        end: usize,
        assigns: &[&'a SliceAssignOpIr],
        steps: &[(&'a TensorIr, Cell<'a>, &'a TensorIr)],
        reverse: Option<bool>,
        outputs: &[TensorId],
    ) -> Option<(CustomOpIr, HashSet<usize>)> {
        let ((_, first, input), (hidden, last, _)) = (steps.first()?, steps.last()?);
        let states: Vec<&TensorIr> =
            [Some(first.hidden), first.cell].into_iter().flatten().collect();
        let zeros = states
            .iter()
            .all(|state| matches!(self.maker(state), Some(OperationIr::BaseFloat(Base::Zeros(_)))));
        let mut made: Vec<TensorIr> = vec![assigns[assigns.len() - 1].out.clone()];
        made.push((*hidden).clone());
        made.extend(last.next_cell.cloned());

        // Everything between what the layer reads and what it makes.
        let mut borders: HashSet<TensorId> = HashSet::from([input.id]);
        borders.extend(first.gates.iter().flat_map(tensors).map(|tensor| tensor.id));
        if !zeros {
            borders.extend(states.iter().map(|state| state.id));
        }
        let mut inside = HashSet::new();
        let mut open = vec![end];
        while let Some(i) = open.pop() {
            if inside.insert(i) {
                let reads = self.operations[i].inputs().filter(|t| !borders.contains(&t.id));
                open.extend(reads.filter_map(|t| self.made_by.get(&t.id).copied()));
            }
        }
        // Nothing else may read what is inside, nor what is made before it is there.
        let known = |id: &TensorId| made.iter().any(|tensor| tensor.id == *id);
        let hidden_inside =
            |id: &TensorId| self.made_by.get(id).is_some_and(|i| inside.contains(i)) && !known(id);
        let read_early = self.operations.iter().enumerate().any(|(i, operation)| {
            let reads =
                |tensor: &TensorIr| hidden_inside(&tensor.id) || (i < end && known(&tensor.id));
            !inside.contains(&i) && operation.inputs().any(reads)
        });
        if read_early || outputs.iter().any(hidden_inside) {
            return None;
        }

        let mut inputs = vec![(*input).clone()];
        if !zeros {
            inputs.extend(states.into_iter().cloned());
        }
        inputs.extend(first.gates.iter().flat_map(tensors).cloned());
        let (id, reset_after) = match first.kind {
            RecurrentKind::Lstm => (LSTM, false),
            RecurrentKind::Gru { reset_after } => (GRU, reset_after),
        };
        let reverse = reverse.map_or(EITHER, ScalarIr::Bool);
        let scalars = vec![reverse, ScalarIr::Bool(reset_after), ScalarIr::Bool(zeros)];
        Some((CustomOpIr::with_scalars(id, &inputs, &made, scalars), inside))
    }

    /// The cell that makes the hidden state `next`.
    fn cell(&self, next: &'a TensorIr) -> Option<Cell<'a>> {
        let cell = self.lstm(next).or_else(|| self.gru(next))?;
        // All gates read one input, and all have biases or none has.
        let (first, rest) = cell.gates.split_first()?;
        let biases = |gate: &Gate<'a>| (gate.input.bias.is_some(), gate.hidden.bias.is_some());
        let alike = rest
            .iter()
            .all(|gate| gate.input.x.id == first.input.x.id && biases(gate) == biases(first));
        let both = biases(first).0 == biases(first).1;
        (alike && both).then_some(cell)
    }

    /// `h = o * tanh(c)`, `c = f * c' + i * g`.
    fn lstm(&self, next: &'a TensorIr) -> Option<Cell<'a>> {
        let (output, squashed) = self.mul(next)?;
        let next_cell = self.tanh(squashed)?;
        let (kept, added) = self.add(next_cell)?;
        let ((forget, cell), (input, new)) = (self.mul(kept)?, self.mul(added)?);
        let gates = vec![
            self.gate(self.sigmoid(input)?)?,
            self.gate(self.sigmoid(output)?)?,
            self.gate(self.sigmoid(forget)?)?,
            self.gate(self.tanh(new)?)?,
        ];
        let hidden = gates[0].hidden.x;
        let same = gates.iter().all(|gate| gate.hidden.x.id == hidden.id);
        same.then(|| Cell {
            kind: RecurrentKind::Lstm,
            input: gates[0].input.x.id,
            hidden,
            cell: Some(cell),
            next_cell: Some(next_cell),
            gates,
        })
    }

    /// `h = n * (1 - z) + z * h'`.
    fn gru(&self, next: &'a TensorIr) -> Option<Cell<'a>> {
        let (left, right) = self.add(next)?;
        let ((new, rest), (update, hidden)) = (self.mul(left)?, self.mul(right)?);
        let Numeric::AddScalar(one) = self.numeric(rest)? else { return None };
        let Numeric::Neg(negative) = self.numeric(&one.lhs)? else { return None };
        let is_one = matches!(one.rhs, ScalarIr::Float(1.0) | ScalarIr::Int(1));
        if !is_one || negative.input.id != update.id {
            return None;
        }
        let squashed = self.tanh(new)?;
        let (input, other) = self.add(squashed)?;
        let (reset_after, reset, gate) = match self.mul(other) {
            // `r * (h' W + b)`.
            Some((reset, product)) => {
                let gate = Gate { input: self.product(input)?, hidden: self.product(product)? };
                (true, reset, gate)
            }
            // `(h' * r) W + b`.
            None => {
                let mut gate = self.gate(squashed)?;
                let (state, reset) = self.mul(gate.hidden.x)?;
                gate.hidden.x = state;
                (false, reset, gate)
            }
        };
        let gates = vec![self.gate(self.sigmoid(update)?)?, self.gate(self.sigmoid(reset)?)?, gate];
        gates.iter().all(|gate| gate.hidden.x.id == hidden.id).then(|| Cell {
            kind: RecurrentKind::Gru { reset_after },
            input: gates[0].input.x.id,
            hidden,
            cell: None,
            next_cell: None,
            gates,
        })
    }

    fn gate(&self, sum: &'a TensorIr) -> Option<Gate<'a>> {
        let (input, hidden) = self.add(sum)?;
        Some(Gate { input: self.product(input)?, hidden: self.product(hidden)? })
    }

    fn product(&self, out: &'a TensorIr) -> Option<Product<'a>> {
        match self.maker(out)? {
            OperationIr::Module(ModuleOperationIr::Linear(op)) => {
                Some(Product { x: &op.x, weight: &op.weight, bias: op.bias.as_ref() })
            }
            OperationIr::Float(_, FloatOperationIr::Matmul(op)) => {
                Some(Product { x: &op.lhs, weight: &op.rhs, bias: None })
            }
            _ => {
                let (product, lifted) = self.add(out)?;
                let OperationIr::BaseFloat(Base::Reshape(lift)) = self.maker(lifted)? else {
                    return None;
                };
                let product = self.product(product)?;
                let bias = (lift.input.shape.len() == 1).then_some(&lift.input);
                product.bias.is_none().then_some(Product { bias: Some(bias?), ..product })
            }
        }
    }

    fn numeric(&self, out: &TensorIr) -> Option<&'a Numeric> {
        match self.maker(out)? {
            OperationIr::NumericFloat(_, op) => Some(op),
            _ => None,
        }
    }

    fn add(&self, out: &TensorIr) -> Option<(&'a TensorIr, &'a TensorIr)> {
        match self.numeric(out)? {
            Numeric::Add(BinaryOpIr { lhs, rhs, .. }) => Some((lhs, rhs)),
            _ => None,
        }
    }

    fn mul(&self, out: &TensorIr) -> Option<(&'a TensorIr, &'a TensorIr)> {
        match self.numeric(out)? {
            Numeric::Mul(BinaryOpIr { lhs, rhs, .. }) => Some((lhs, rhs)),
            _ => None,
        }
    }

    fn sigmoid(&self, out: &TensorIr) -> Option<&'a TensorIr> {
        match self.maker(out)? {
            OperationIr::Activation(ActivationOperationIr::Sigmoid(op)) => Some(&op.input),
            _ => None,
        }
    }

    fn tanh(&self, out: &TensorIr) -> Option<&'a TensorIr> {
        match self.maker(out)? {
            OperationIr::Float(_, FloatOperationIr::Tanh(op)) => Some(&op.input),
            _ => None,
        }
    }
}

/// Weights of a gate: input, hidden, and the biases of both where there are any.
fn tensors<'a>(gate: &Gate<'a>) -> Vec<&'a TensorIr> {
    let weights = [Some(gate.input.weight), Some(gate.hidden.weight)];
    weights.into_iter().chain([gate.input.bias, gate.hidden.bias]).flatten().collect()
}

fn assign(operation: &OperationIr) -> Option<&SliceAssignOpIr> {
    match operation {
        OperationIr::BaseFloat(Base::SliceAssign(op)) => Some(op),
        _ => None,
    }
}

fn step_of(assign: &SliceAssignOpIr) -> Option<usize> {
    step(&assign.ranges, &assign.tensor)
}

/// The one place on axis 1 that the ranges take, whole on the other two axes.
fn step(ranges: &[::burn::tensor::Slice], tensor: &TensorIr) -> Option<usize> {
    let [batch, at, width] = ranges else { return None };
    let whole = |range: &::burn::tensor::Slice, axis: usize| {
        let size = tensor.shape[axis] as isize;
        range.step == 1 && range.start == 0 && range.end.is_none_or(|end| end == size)
    };
    let one = at.step == 1 && at.start >= 0 && at.end == Some(at.start + 1);
    (whole(batch, 0) && whole(width, 2) && one).then_some(at.start as usize)
}
