//! Reading and writing at computed positions, also where several values may fall on one.
//!
//! TensorRT writes to computed positions only by replacing. Sums, products and extremes of what falls
//! on one position are therefore taken over a comparison of all positions with all indices.

use crate::error::Result;
use crate::export::Value;
use crate::spec::{DType, Dim, Shape};

/// Indices in a type that ONNX takes.
pub(in crate::export) fn as_indices(value: &Value) -> Result<Value> {
    match value.dtype() {
        DType::I32 | DType::I64 => Ok(value.clone()),
        _ => value.cast(DType::I64),
    }
}

/// What lies at an index along `axis`, for each cell of the indices.
pub(in crate::export) fn gather_elements(x: &Value, axis: usize, indices: &Value) -> Result<Value> {
    let output = (x.dtype(), indices.shape().clone());
    let node = x.graph().node("GatherElements").input(x).input(indices);
    node.attr("axis", axis as i64).outputs([output]).build()
}

/// `x` with values at the positions that the indices name along `axis`, in their place or added to what is there.
/// Only targets that [can](crate::export::Target::has_scatter_reduction) add.
pub(in crate::export) fn scatter_elements(
    x: &Value,
    axis: usize,
    [indices, values]: [&Value; 2],
    add: bool,
) -> Result<Value> {
    let node = x.graph().node("ScatterElements").input(x).input(indices).input(values);
    let node = node.attr("axis", axis as i64);
    let node = if add { node.attr("reduction", "add") } else { node };
    node.outputs([(x.dtype(), x.shape().clone())]).build()
}

/// What a cell and the values that fall on it become together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "burn"), allow(dead_code))]
pub(in crate::export) enum Combined {
    Sum,
    Product,
    Least,
    Largest,
}

/// Combines with each cell of `x` all values whose index along `axis` is the cell's. `cells` are the places
/// `0, 1, ..` of that axis, of the type that the indices have. An index of -1 is that of no cell.
pub(in crate::export) fn combine(
    x: &Value,
    axis: usize,
    [indices, values, cells]: [&Value; 3],
    combined: Combined,
) -> Result<Value> {
    // Cells lie along `axis`, indices along the axis behind it.
    let (before, behind) = (axis as i64, axis as i64 + 1);
    let rest: Vec<i64> = (1..=(x.rank() - axis) as i64).collect();
    let cells = cells.unsqueeze(&rest)?;
    let hit = indices.unsqueeze(&[before])?.equal(&cells)?;
    let values = values.unsqueeze(&[before])?;
    let same: Vec<Option<Dim>> = x.dims().iter().cloned().map(Some).collect();
    let fits = |result: Value| match result.shape() == &Shape::from(x.dims().to_vec()) {
        true => Ok(result),
        false => result.reshape(&same),
    };
    // Chosen, not multiplied: nothing of an infinite value goes to other cells.
    let chosen = |neutral: &Value| hit.select(&values, neutral);
    let over =
        |neutral: &Value, reduce| fits(chosen(neutral)?.reduced(reduce, &[behind], false)?);
    // A cell itself is neutral among extremes.
    let own = || x.unsqueeze(&[behind]);
    match combined {
        Combined::Sum => x.add(&fits(chosen(&x.scalar_like(0.0)?)?.sum(&[behind], false)?)?),
        Combined::Product => x.mul(&over(&x.scalar_like(1.0)?, "ReduceProd")?),
        Combined::Least => x.minimum(&over(&own()?, "ReduceMin")?),
        Combined::Largest => x.maximum(&over(&own()?, "ReduceMax")?),
    }
}
