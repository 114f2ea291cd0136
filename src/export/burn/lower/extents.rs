//! Sizes over all captures: fixed sizes, sizes of the inputs, and sizes that follow from a size of the inputs by a formula. A
//! formula of two captures must hold in the others.

use ::burn::backend::ir::TensorIr;

use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::sizes::{Column, Formula};
use crate::spec::Dim;

/// The one name for a size: that of an input, or of the formula by which it follows from inputs.
pub(super) fn named(extent: &Column, known: &[(Dim, Column)]) -> Option<Dim> {
    let input = known.iter().find(|(_, known)| known == extent).map(|(dim, _)| dim.clone());
    input.or_else(|| Formula::find(extent, known).map(|formula| formula.dim()))
}

impl Lowering<'_> {
    /// The sizes of an axis in all captures.
    pub(super) fn extent(&self, tensor: &TensorIr, axis: usize) -> Column {
        let first = tensor.shape[axis];
        let others = self.others.iter().map(|sizes| match sizes.get(&tensor.id) {
            Some(sizes) => sizes[axis],
            None => first,
        });
        std::iter::once(first).chain(others).collect()
    }

    /// The dimensions of `out` in terms of those of `source`; `None` where a size differs between
    /// the captures and is none of the source's.
    pub(super) fn dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Option<Dim>>> {
        let value = self.value(source)?;
        let dim = |axis| {
            let extent = self.extent(out, axis);
            if let Some(size) = extent.fixed() {
                return Some(Dim::Fixed(size));
            }
            let found = (0..source.shape.len()).find(|&i| self.extent(source, i) == extent);
            found.map(|i| value.dims()[i].clone())
        };
        Ok((0..out.shape.len()).map(dim).collect())
    }

    /// As [`dims`](Self::dims), looking also among the inputs of the model.
    pub(super) fn all_dims(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Vec<Dim>> {
        // An output that is made from nothing is no source of its own sizes.
        let near = match source.id == out.id {
            true => vec![None; out.shape.len()],
            false => self.dims(out, source)?,
        };
        let mut dims = Vec::with_capacity(near.len());
        for (axis, near) in near.into_iter().enumerate() {
            let extent = self.extent(out, axis);
            let fixed = extent.fixed().map(Dim::Fixed);
            let dim = match near.or(fixed) {
                Some(dim) => Some(dim),
                None => self.size_of(&extent)?,
            };
            dims.push(dim.ok_or_else(|| {
                unsupported(format!("the sizes {extent} follow from no input")).at_axis(axis)
            })?);
        }
        Ok(dims)
    }

    /// A tensor under other sizes, in row-major order.
    pub(super) fn reshaped(&mut self, out: &TensorIr, source: &TensorIr) -> Result<Value> {
        let value = self.value(source)?;
        let near = self.dims(out, source)?;
        let reshaped = value.reshape(&near);
        if reshaped.is_ok() {
            return reshaped;
        }
        // Sizes that are not the source's own, such as an axis taken apart again.
        let dims = self.all_dims(out, source)?;
        let inputs = self.input_values();
        let sources: Vec<&Value> = std::iter::once(&value).chain(&inputs).collect();
        let shape = self.graph.shape_tensor(&dims, &sources)?;
        let node = self.graph.node("Reshape").input(&value).input(&shape);
        node.outputs([(value.dtype(), dims.into())]).build()
    }

    /// The dimension of an input with these sizes, or one that follows from the inputs by a formula.
    pub(super) fn size_of(&mut self, extent: &Column) -> Result<Option<Dim>> {
        let known = self.input_extents();
        if let Some((dim, _)) = known.iter().find(|(_, known)| known == extent) {
            return Ok(Some(dim.clone()));
        }
        Formula::find(extent, &known).map(|formula| self.define(&formula)).transpose()
    }

    /// The dynamic dimensions of the inputs, each once.
    pub(super) fn input_extents(&self) -> Vec<(Dim, Column)> {
        let mut found: Vec<(Dim, Column)> = Vec::new();
        for (id, first) in self.trace.inputs.iter().zip(&self.trace.sizes) {
            let Some(value) = self.values.get(id) else { continue };
            for (axis, dim) in value.dims().iter().enumerate() {
                if dim.fixed().is_some() || found.iter().any(|(known, _)| known == dim) {
                    continue;
                }
                let others = self.others.iter().filter_map(|sizes| Some(sizes.get(id)?[axis]));
                found.push((dim.clone(), std::iter::once(first[axis]).chain(others).collect()));
            }
        }
        found
    }

    pub(super) fn input_values(&self) -> Vec<Value> {
        self.trace.inputs.iter().filter_map(|id| self.values.get(id).cloned()).collect()
    }

    /// A dimension that is computed when the model runs.
    fn define(&mut self, formula: &Formula) -> Result<Dim> {
        let dim = formula.dim();
        if dim.fixed().is_some() || self.graph.is_defined(&dim) {
            return Ok(dim);
        }
        let inputs = self.input_values();
        let sources: Vec<&Value> = inputs.iter().collect();
        let size = |dim: &Dim| self.graph.shape_tensor(std::slice::from_ref(dim), &sources);
        let value = formula.value(self.graph, size)?;
        self.graph.define(&dim, &value);
        Ok(dim)
    }
}
