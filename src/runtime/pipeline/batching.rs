//! Batches of items: which models take them, how many items go in one, and the way in and out of it.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Shape, Signature, Symbol, TensorSpec};
use crate::tensor::{HostTensor, memory_for_rows};

/// The items of a chunk for a model of whose batch nobody stated the largest size.
const UNSTATED: usize = 64;

/// How many items a model takes at a time, and what one is.
#[derive(Clone, Debug)]
pub(super) struct Batching {
    least: usize,
    most: usize,
    /// The model's inputs without their first axis.
    item: Signature,
    /// The names of the outputs.
    outputs: Vec<String>,
}

impl Batching {
    /// That of a model whose first axis is a batch; [`Pipeline`](super::Pipeline) has the rule.
    pub(super) fn of(signature: &Signature) -> Option<Self> {
        let Signature { inputs, outputs } = signature;
        let batch = inputs.first()?.shape.dims().first()?;
        let begins = |spec: &TensorSpec| match (spec.shape.dims().first(), batch) {
            (Some(Dim::Symbol(first)), Dim::Symbol(batch)) => first.name() == batch.name(),
            (first, batch) => first == Some(batch),
        };
        // A symbol that has nothing to do with the inputs'; the sizes are compared after a run.
        let unknown = |spec: &TensorSpec| {
            let first = spec.shape.dims().first().and_then(Dim::symbol);
            let mut known =
                inputs.iter().flat_map(|input| input.shape.dims()).filter_map(Dim::symbol);
            first.is_some_and(|first| !known.any(|symbol| first.depends_on(symbol.name())))
        };
        let elsewhere = |spec: &TensorSpec| {
            let batch = batch.symbol().map(Symbol::name);
            let mut others = spec.shape.dims().iter().skip(1).filter_map(Dim::symbol);
            batch.is_some_and(|batch| others.any(|symbol| symbol.depends_on(batch)))
        };
        let has_batch = inputs.iter().all(begins)
            && outputs.iter().all(|spec| begins(spec) || unknown(spec))
            && !inputs.iter().chain(outputs).any(elsewhere);
        let most = if batch.max() == Symbol::UNBOUNDED { UNSTATED } else { batch.max() };
        let item = |spec: &TensorSpec| {
            let dims = spec.shape.dims().iter().skip(1).cloned();
            TensorSpec { shape: Shape::from(dims), ..spec.clone() }
        };
        (has_batch && most > 0).then(|| Self {
            least: batch.min(),
            most: most.max(batch.min()),
            item: Signature { inputs: inputs.iter().map(item).collect(), outputs: Vec::new() },
            outputs: outputs.iter().map(|spec| spec.name.clone()).collect(),
        })
    }

    /// The most items at a time.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    pub(super) fn at_most(mut self, items: usize) -> Self {
        self.most = self.most.min(items.max(1));
        self
    }

    /// Checks the inputs of one item.
    ///
    /// # Errors
    /// As [`Signature::check_inputs`], with axes counted in the item.
    pub(super) fn check(&self, signature: &Signature, inputs: &[HostTensor]) -> Result<()> {
        let with_batch =
            |(spec, input): &(&TensorSpec, &HostTensor)| input.shape().len() == spec.shape.rank();
        if let Some((spec, input)) = signature.inputs.iter().zip(inputs).find(with_batch) {
            let (shape, item) = (&spec.shape, input.shape());
            let text = format!("an item comes without the batch axis of {shape}, got {item:?}");
            return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor(&spec.name));
        }
        // Axis 0 of an item is none of the model's, and no option of an export leaves the axis open.
        for (spec, input) in self.item.inputs.iter().zip(inputs) {
            let sizes = spec.shape.dims().iter().map(Dim::fixed).zip(input.shape()).enumerate();
            let other = |(axis, (fixed, &got)): (usize, (Option<usize>, &usize))| {
                fixed.filter(|&fixed| fixed != got).map(|fixed| (axis, fixed, got))
            };
            let fits = input.dtype() == spec.dtype && input.shape().len() == spec.shape.rank();
            if let Some((axis, fixed, got)) = sizes.filter_map(other).next().filter(|_| fits) {
                let text =
                    format!("expected {fixed}, got {got}: an item has the shape {}", spec.shape);
                let error = Error::new(ErrorKind::ShapeMismatch, text);
                return Err(error.on_tensor(&spec.name).at_axis(axis));
            }
        }
        self.item.check_inputs(inputs.iter().map(|x| (x.dtype(), x.shape())))
    }

    /// Turns the inputs of each item into its outputs, those of equal shapes together. Errors stay where
    /// they are; a batch that fails is an error of each of its items.
    pub(super) fn run(
        &self,
        mut items: Vec<Result<Vec<HostTensor>>>,
        run: impl Fn(&[HostTensor]) -> Result<Vec<HostTensor>>,
    ) -> Vec<Result<Vec<HostTensor>>> {
        let mut groups = BTreeMap::<Vec<Vec<usize>>, Vec<usize>>::new();
        for (i, item) in items.iter().enumerate() {
            if let Ok(inputs) = item {
                let shapes = inputs.iter().map(|input| input.shape().to_vec()).collect();
                groups.entry(shapes).or_default().push(i);
            }
        }
        for places in groups.into_values() {
            let group: Vec<_> = places.iter().filter_map(|&i| items[i].as_deref().ok()).collect();
            let rows = group.len().max(self.least);
            let outputs = stack(&group, rows).and_then(|inputs| run(&inputs));
            let parts = outputs.and_then(|outputs| self.take_apart(&outputs, rows, places.len()));
            match parts {
                Ok(parts) => places.iter().zip(parts).for_each(|(&i, part)| items[i] = Ok(part)),
                Err(e) => places.iter().for_each(|&i| items[i] = Err(e.clone())),
            }
        }
        items
    }

    /// The inputs of one item as a batch that the model takes.
    pub(super) fn alone(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        stack(&[inputs], self.least.max(1))
    }

    /// The outputs of the item that was [alone](Self::alone).
    pub(super) fn outputs_alone(&self, outputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let mut parts = self.take_apart(outputs, self.least.max(1), 1)?;
        Ok(parts.pop().unwrap_or_default())
    }

    /// The first `count` of the `rows` of all outputs, which go on sharing their memory.
    fn take_apart(
        &self,
        outputs: &[HostTensor],
        rows: usize,
        count: usize,
    ) -> Result<Vec<Vec<HostTensor>>> {
        for (name, output) in self.outputs.iter().zip(outputs) {
            let got = output.shape().first().copied().unwrap_or(0);
            if got != rows {
                let text = format!(
                    "the output of {rows} items has {got} rows; if the first axis is no batch, see `unbatched`"
                );
                return Err(Error::new(ErrorKind::Execution, text)
                    .in_operation("run")
                    .on_tensor(name)
                    .at_axis(0));
            }
        }
        let row = |output: &HostTensor, i: usize| {
            let size = output.bytes().len() / rows;
            let bytes = output.bytes().slice(size * i..size * (i + 1));
            HostTensor::from_bytes(output.dtype(), &output.shape()[1..], bytes)
        };
        let item = |i: usize| outputs.iter().map(|output| row(output, i)).collect();
        (0..count).map(item).collect()
    }
}

/// The inputs of items of equal shapes along a new first axis, and copies of the last item up to so many rows.
fn stack(items: &[&[HostTensor]], rows: usize) -> Result<Vec<HostTensor>> {
    let (Some(first), Some(last)) = (items.first(), items.last()) else { return Ok(Vec::new()) };
    let stack = |i: usize| {
        let of = &first[i];
        let shape = [&[rows], of.shape()].concat();
        if rows == 1 {
            return of.reshape(shape);
        }
        let row = of.bytes().len();
        let mut bytes = memory_for_rows(row, rows, row * items.len())?;
        items.iter().for_each(|item| bytes.extend_from_slice(item[i].bytes()));
        if row > 0 {
            (items.len()..rows).for_each(|_| bytes.extend_from_slice(last[i].bytes()));
        }
        HostTensor::from_bytes(of.dtype(), shape, bytes)
    };
    (0..first.len()).map(stack).collect()
}
