//! Operators with sizes as arguments, from the steps of a trace to ONNX.

use super::Lowering;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Value;
use crate::export::candle::trace::Step;
use crate::export::graph::factor;
use crate::export::sizes::{Column, Formula};
use crate::spec::{Dim, Shape};
use crate::tensor::HostTensor;

/// One entry of a target shape.
pub(super) enum Part {
    /// A number, or ONNX's 0 and -1.
    Number(i64),
    /// The size of an axis of an earlier step, read when the model runs.
    Read { step: usize, axis: usize },
    /// Computed from sizes of the inputs.
    Computed(Formula),
}

impl Lowering<'_> {
    fn known_dim(&self, size: &Column) -> Option<&(Column, Dim, (usize, usize))> {
        self.known.iter().find(|(known, _, _)| known == size)
    }

    /// How a size is known when the model runs, which an operation wants for an axis of a step.
    pub(super) fn part(
        &self,
        step: &Step,
        axis: usize,
        size: &Column,
        what: &str,
        operation: &str,
    ) -> Result<Part> {
        if let Some(size) = size.fixed() {
            return Ok(Part::Number(size as i64));
        }
        if let Some(&(_, _, (step, axis))) = self.known_dim(size) {
            return Ok(Part::Read { step, axis });
        }
        let unresolved = || self.unresolved(step, what).in_operation(operation).at_axis(axis);
        self.formula(size).map(Part::Computed).ok_or_else(unresolved)
    }

    fn formula(&self, size: &Column) -> Option<Formula> {
        Formula::find(size, &self.trace.cases.columns())
    }

    /// The dimension that a size is: fixed, one already known, or a new one named by what it is of
    /// a known one.
    fn dim(&self, size: &Column, fallback: &str) -> Result<Dim> {
        if let Some(size) = size.fixed() {
            return Ok(Dim::Fixed(size));
        }
        if let Some((_, dim, _)) = self.known_dim(size) {
            return Ok(dim.clone());
        }
        let name = self.known.iter().find_map(|(known, dim, _)| {
            let times = factor(known, size).map(|factor| format!("{dim}*{factor}"));
            times.or_else(|| factor(size, known).map(|factor| format!("{dim}/{factor}")))
        });
        let name = name.or_else(|| Some(self.formula(size)?.dim().to_string()));
        size.dim(name.unwrap_or_else(|| fallback.to_owned()), size[0])
    }

    /// The dimensions of a step; those of no known origin are named for a value.
    pub(super) fn shape(&self, step: &Step, value: &str) -> Result<Shape> {
        let name = |axis: usize| format!("{value}[{axis}]");
        let dims = step.dims.iter().enumerate().map(|(axis, size)| self.dim(size, &name(axis)));
        Ok(Shape::from(dims.collect::<Result<Vec<_>>>()?))
    }

    /// A 1-D i64 tensor: a constant where all is known.
    pub(super) fn operand(&self, parts: Vec<Part>) -> Result<Value> {
        let one = |value: i64| HostTensor::from_vec([1], vec![value]);
        let numbers = parts.iter().map(|part| match part {
            Part::Number(number) => Some(*number),
            Part::Read { .. } | Part::Computed(_) => None,
        });
        if let Some(numbers) = numbers.collect::<Option<Vec<_>>>() {
            return Ok(self
                .graph
                .constant("shape", HostTensor::from_vec([numbers.len()], numbers)?));
        }
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(match part {
                Part::Number(number) => self.graph.constant("size", one(number)?),
                Part::Read { step, axis } => self.read(step, axis)?,
                Part::Computed(formula) => formula.value(&self.graph, |dim| {
                    let known = self.known.iter().find(|(_, known, _)| known == dim);
                    let &(_, _, (step, axis)) = known.expect("an input has it, and comes first");
                    self.read(step, axis)
                })?,
            });
        }
        self.graph.concat(&values.iter().collect::<Vec<_>>(), 0)
    }

    pub(super) fn reshape(&self, step: &Step, x: &Value) -> Result<Value> {
        let from = self.dims_of(step.inputs[0]);
        if step.dims == from {
            return Ok(x.clone());
        }
        if step.dims.iter().any(|size| size.contains(&0)) {
            let text = "tensors without elements cannot be reshaped";
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("Reshape"));
        }
        // One size may be left to ONNX: one that is read from nowhere, else the first that moved.
        let stays = |axis: usize| from.get(axis) == Some(&step.dims[axis]);
        let moved: Vec<usize> = (0..step.dims.len())
            .filter(|&axis| step.dims[axis].fixed().is_none() && !stays(axis))
            .collect();
        let unread = moved.iter().find(|&&axis| self.known_dim(&step.dims[axis]).is_none());
        let open = unread.or(moved.first()).copied();
        let mut parts = Vec::with_capacity(step.dims.len());
        for (axis, size) in step.dims.iter().enumerate() {
            parts.push(match size.fixed() {
                Some(size) => Part::Number(size as i64),
                None if stays(axis) => Part::Number(0),
                None if open == Some(axis) => Part::Number(-1),
                None => self.part(step, axis, size, "the target", "Reshape")?,
            });
        }
        let (operand, output) = (self.operand(parts)?, (x.dtype(), self.shape(step, x.name())?));
        self.graph.node("Reshape").input(x).input(&operand).outputs([output]).build()
    }

    pub(super) fn broadcast(&self, step: &Step, x: &Value) -> Result<Value> {
        let from = self.dims_of(step.inputs[0]);
        if step.dims == from {
            return Ok(x.clone());
        }
        let new = step.dims.len() - from.len();
        let mut parts = Vec::with_capacity(step.dims.len());
        for (axis, size) in step.dims.iter().enumerate() {
            let stays = axis >= new && from[axis - new] == *size;
            parts.push(match stays {
                // Expand keeps a size where the target says 1.
                true => Part::Number(1),
                false => self.part(step, axis, size, "the target", "Expand")?,
            });
        }
        let (operand, output) = (self.operand(parts)?, (x.dtype(), self.shape(step, x.name())?));
        self.graph.node("Expand").input(x).input(&operand).outputs([output]).build()
    }

    pub(super) fn narrow(&self, step: &Step, x: &Value, dim: usize) -> Result<Value> {
        let whole = &self.dims_of(step.inputs[0])[dim];
        let (start, len) = (&step.sizes[0], &step.sizes[1]);
        if len == whole {
            return Ok(x.clone());
        }
        let end: Column = start.iter().zip(len).map(|(start, len)| start + len).collect();
        let dims = self.shape(step, x.name())?;
        let to_end = end == *whole;
        let numbers = (start.place(whole, 0), end.place(whole, 0));
        if let (Some(from), to) = numbers
            && (to_end || to.is_some())
        {
            let to = to.filter(|_| !to_end);
            return Ok(x.slice(dim as i64, from, to)?.with_shape(dims));
        }
        // At a size that is known elsewhere, as a table is cut to the length of an input.
        let place = |number: Option<i64>, at: &Column| {
            self.operand(vec![match number {
                Some(number) => Part::Number(number),
                None => self.part(step, dim, at, "the narrowed part", "Slice")?,
            }])
        };
        let (from, to) = (place(numbers.0, start)?, place(numbers.1, &end)?);
        let axis = self.graph.constant("slice", HostTensor::from_vec([1], vec![dim as i64])?);
        let node = self.graph.node("Slice").input(x).input(&from).input(&to).input(&axis);
        node.outputs([(x.dtype(), dims)]).build()
    }

    pub(super) fn repeat(&self, step: &Step, x: &Value) -> Result<Value> {
        let mut parts = Vec::with_capacity(step.sizes.len());
        for (axis, times) in step.sizes.iter().enumerate() {
            parts.push(self.part(step, axis, times, "the repetition", "Tile")?);
        }
        let (operand, output) = (self.operand(parts)?, (x.dtype(), self.shape(step, x.name())?));
        self.graph.node("Tile").input(x).input(&operand).outputs([output]).build()
    }

    /// The size of an axis of a step, as a 1-D i64 tensor.
    pub(super) fn read(&self, step: usize, axis: usize) -> Result<Value> {
        let shape = self.graph.node("Shape").input(self.value(step)).build()?;
        let axis = HostTensor::from_vec([1], vec![axis as i64])?;
        let axis = self.graph.constant("axis", axis);
        self.graph.node("Gather").input(&shape).input(&axis).attr("axis", 0).build()
    }

    /// The sizes of a step that has no inputs, as a 1-D i64 tensor.
    pub(super) fn sizes(&self, step: &Step, op: &'static str) -> Result<Value> {
        let mut parts = Vec::with_capacity(step.dims.len());
        for (axis, size) in step.dims.iter().enumerate() {
            parts.push(self.part(step, axis, size, "the size", op)?);
        }
        self.operand(parts)
    }
}
