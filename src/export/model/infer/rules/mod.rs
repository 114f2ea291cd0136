//! Shapes of results by operator, a file a family. Where a rule finds what no consumer can compute, it
//! says which input or attribute is wrong.

mod elementwise;
mod indexing;
mod layout;
mod making;
mod norms;
mod parts;
mod products;
mod reductions;
mod windows;

use super::call::{Call, Dims};
use super::fact::Size;
use crate::error::Result;
pub(super) use parts::cuts;

/// The shape of each output; `None` where it is not known.
pub(super) type Shapes = Vec<Option<Dims>>;

/// The shapes of what a node gives.
///
/// # Errors
/// [`InvalidModel`](crate::ErrorKind::InvalidModel).
pub(super) fn shapes(call: &Call<'_>) -> Result<Shapes> {
    let families = [
        elementwise::shapes,
        layout::shapes,
        parts::shapes,
        indexing::shapes,
        reductions::shapes,
        products::shapes,
        windows::shapes,
        norms::shapes,
        making::shapes,
    ];
    for family in families {
        if let Some(shapes) = family(call)? {
            return Ok(shapes);
        }
    }
    Ok(Vec::new())
}

/// One output of this shape.
fn one(shape: Option<Dims>) -> Result<Option<Shapes>> {
    Ok(Some(vec![shape]))
}

/// One output of the shape of the first input.
fn same(call: &Call<'_>) -> Result<Option<Shapes>> {
    one(call.shape(0).map(<[Size]>::to_vec))
}

/// Some outputs of unknown sizes.
fn unknown(rank: usize) -> Dims {
    vec![Size::Unknown; rank]
}
