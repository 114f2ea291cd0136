//! Reading and writing at computed positions: gather and scatter.

use ::burn::backend::ir::{
    GatherNdOpIr, GatherOpIr, ScatterNdOpIr, ScatterOpIr, SelectAssignOpIr, TensorIr,
};
use ::burn::tensor::IndexingUpdateOp as Update;

use super::{Lowering, unsupported};
use crate::error::Result;
use crate::export::Value;
use crate::export::lower::{Combined, as_indices, combine, gather_elements, scatter_elements};
use crate::spec::{DType, Dim};
use crate::tensor::HostTensor;

impl Lowering<'_> {
    /// Indices in a type that ONNX takes.
    pub(super) fn indices(&mut self, indices: &TensorIr) -> Result<Value> {
        as_indices(&self.value(indices)?)
    }

    pub(super) fn gather(&mut self, op: &GatherOpIr) -> Result<Value> {
        let (x, indices) = (self.value(&op.tensor)?, self.indices(&op.indices)?);
        gather_elements(&x, op.dim, &indices)
    }

    pub(super) fn gather_nd(&mut self, op: &GatherNdOpIr) -> Result<Value> {
        let x = self.value(&op.data)?;
        // ONNX takes these in 64 bits only.
        let indices = self.value(&op.indices)?.cast(DType::I64)?;
        let dims = self.indexed(&x, &indices)?;
        let node = self.graph.node("GatherND").input(&x).input(&indices);
        node.outputs([(x.dtype(), dims.into())]).build()
    }

    /// The leading axes of the indices, then those of `x` that they do not reach.
    fn indexed(&self, x: &Value, indices: &Value) -> Result<Vec<Dim>> {
        let last = indices.rank() - 1;
        let Some(depth) = indices.dims()[last].fixed() else {
            return Err(unsupported("the depth of the indices is dynamic").at_axis(last));
        };
        Ok(indices.dims()[..last].iter().chain(&x.dims()[depth..]).cloned().collect())
    }

    pub(super) fn scatter(&mut self, op: &ScatterOpIr) -> Result<Value> {
        let (x, value) = (self.value(&op.tensor)?, self.value(&op.value)?);
        let indices = self.indices(&op.indices)?;
        if matches!(op.update, Update::Assign) {
            return scatter_elements(&x, op.dim, [&indices, &value], false);
        }
        self.accumulate(&x, op.dim, &indices, &value, &op.update)
    }

    /// One index for each slice along the axis.
    pub(super) fn select_assign(&mut self, op: &SelectAssignOpIr) -> Result<Value> {
        let (x, value) = (self.value(&op.tensor)?, self.value(&op.value)?);
        let indices = self.indices(&op.indices)?;
        let mut axes: Vec<i64> = (0..x.rank() as i64).collect();
        axes.remove(op.dim);
        let indices = if axes.is_empty() { indices } else { indices.unsqueeze(&axes)? };
        if matches!(op.update, Update::Assign) {
            let indices = indices.expand(value.dims(), &[&value])?;
            return scatter_elements(&x, op.dim, [&indices, &value], false);
        }
        self.accumulate(&x, op.dim, &indices, &value, &op.update)
    }

    pub(super) fn scatter_nd(&mut self, op: &ScatterNdOpIr) -> Result<Value> {
        let (x, value) = (self.value(&op.data)?, self.value(&op.values)?);
        let indices = self.value(&op.indices)?.cast(DType::I64)?;
        if matches!(op.reduction, Update::Assign) {
            let node = self.graph.node("ScatterND").input(&x).input(&indices).input(&value);
            return node.outputs([(x.dtype(), x.shape().clone())]).build();
        }
        // The axes that are indexed become one, and so do the rows of indices.
        let sizes = x.dims().iter().map(Dim::fixed).collect::<Option<Vec<_>>>();
        let (Some(sizes), Some(depth)) = (sizes, indices.dims()[indices.rank() - 1].fixed()) else {
            return Err(unsupported("scattering into dynamic sizes has no ONNX form yet"));
        };
        let mut strides = vec![1i64; depth];
        for axis in (1..depth).rev() {
            strides[axis - 1] = strides[axis] * sizes[axis] as i64;
        }
        let strides = self.graph.constant("strides", HostTensor::from_vec([depth], strides)?);
        let flat = indices.mul(&strides)?.reduced("ReduceSum", &[-1], false)?;
        let rest: Vec<Option<Dim>> = sizes[depth..].iter().map(|&n| Some(Dim::Fixed(n))).collect();
        let joined = |first: Option<Dim>| [vec![first], rest.clone()].concat();
        let cells = sizes[..depth].iter().product();
        let ones = vec![Some(Dim::Fixed(1)); rest.len()];
        let result = self.accumulate(
            &x.reshape(&joined(Some(Dim::Fixed(cells))))?,
            0,
            &flat.reshape(&[vec![None], ones].concat())?,
            &value.reshape(&joined(None))?,
            &op.reduction,
        )?;
        result.reshape(&x.dims().iter().cloned().map(Some).collect::<Vec<_>>())
    }

    /// Combines with each cell of `x` all values whose index along `axis` is the cell's.
    fn accumulate(
        &mut self,
        x: &Value,
        axis: usize,
        indices: &Value,
        value: &Value,
        update: &Update,
    ) -> Result<Value> {
        let combined = match update {
            Update::Add => Combined::Sum,
            Update::Mul => Combined::Product,
            Update::Min => Combined::Least,
            Update::Max => Combined::Largest,
            Update::Assign => return Err(unsupported("values that replace are not combined")),
        };
        let cells = self.range_of(&x.dims()[axis], x)?;
        combine(x, axis, [&indices.cast(DType::I64)?, value, &cells], combined)
    }
}
