//! Sizes that have to fit each other, where only a run knows the sizes: values decide them, or inputs of the model do.
//! tract takes the size of one tensor for both, and its kernels read beyond the end of the other. Each of these
//! conditions is looked at as soon as the run has the sizes, which is before the kernel.

mod branches;
mod conditions;
mod places;

use tract_onnx::prelude::{Datum as _, SymbolValues, TDim, TValue, TypedFact, TypedNode};
use tract_onnx::tract_core::ops::array::{Range, Topk};

use crate::error::{Error, ErrorKind, Result};
pub(super) use branches::Branches;
pub(super) use conditions::Conditions;

/// One condition.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) node: String,
    what: &'static str,
    size: TDim,
    needs: Needs,
}

#[derive(Debug, PartialEq)]
enum Needs {
    Equal(TDim),
    AtLeast(i64),
}

/// The conditions of a run that were not looked at yet.
pub(super) struct Open<'f>(Vec<&'f Fit>);

impl<'f> Open<'f> {
    pub(super) fn new(all: &'f [Fit]) -> Self {
        Self(all.iter().collect())
    }

    /// Looks at the conditions whose sizes are known by now.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] with the node, and both sizes.
    pub(super) fn expect(&mut self, sizes: &SymbolValues) -> Result<()> {
        let mut wrong = None;
        self.0.retain(|fit| {
            let Ok(size) = fit.size.eval_to_i64(sizes) else { return true };
            let other = match &fit.needs {
                Needs::Equal(other) => match other.eval_to_i64(sizes) {
                    Ok(other) => (size != other).then(|| format!("{size} and {other} elements")),
                    Err(_) => return true,
                },
                Needs::AtLeast(least) => {
                    (size < *least).then(|| format!("{size} elements, fewer than {least}"))
                }
            };
            if let Some(text) = other {
                wrong.get_or_insert((*fit, text));
            }
            false
        });
        let Some((fit, text)) = wrong else { return Ok(()) };
        let text = format!("the sizes of this run do not fit: {} has {text}", fit.what);
        Err(Error::new(ErrorKind::Execution, text).in_operation(format!("node `{}`", fit.node)))
    }
}

/// Refuses what the values of a run decide wrongly: places that an axis does not have, and divisions by 0. tract takes a
/// range of sizes that ends before it begins for one in the other direction, and gives fewer of the largest than were asked
/// for.
///
/// # Errors
/// [`ErrorKind::Execution`] with the node.
pub(super) fn expect_values(
    node: &TypedNode,
    sizes: &SymbolValues,
    inputs: &[TValue],
) -> Result<()> {
    if let (Some(op), [x, k, ..]) = (node.op_as::<Topk>(), inputs) {
        let size = x.shape().get(op.axis).copied().unwrap_or_default();
        return match number(k, sizes) {
            Some(k) if k > size as i64 => Err(wrong(node, format!("the {k} largest of {size}"))),
            _ => Ok(()),
        };
    }
    if let Some(text) = places::wrong(node, inputs) {
        return Err(wrong(node, text));
    }
    if let ([start, limit, step], true) = (inputs, node.op_is::<Range>())
        && start.datum_type() == TDim::datum_type()
        && let Some(step) = number(step, sizes)
        && let (Some(start), Some(limit)) = (number(start, sizes), number(limit, sizes))
        && limit != start
        && (limit > start) != (step > 0)
    {
        let text = format!(
            "tract gives something for the empty range from {start} to {limit} by {step}; use ONNX Runtime"
        );
        return Err(wrong(node, text));
    }
    Ok(())
}

/// An error of a run, with the node.
fn wrong(node: &TypedNode, text: String) -> Error {
    Error::new(ErrorKind::Execution, text).in_operation(format!("node `{}`", node.name))
}

fn number(value: &TValue, sizes: &SymbolValues) -> Option<i64> {
    if value.datum_type() == TDim::datum_type() {
        let values = value.try_as_plain_ram().ok()?;
        return values.as_slice::<TDim>().ok()?.first()?.eval_to_i64(sizes).ok();
    }
    value.cast_to_scalar::<i64>().ok()
}

/// Refuses results of other sizes than tract has planned with.
///
/// # Errors
/// [`ErrorKind::Execution`] with the node.
pub(super) fn expect_planned(
    node: &TypedNode,
    sizes: &SymbolValues,
    outputs: &[TValue],
) -> Result<()> {
    let differs = |fact: &TypedFact, value: &TValue| {
        let shape = value.shape();
        let pairs = fact.shape.iter().zip(shape);
        fact.shape.len() != shape.len()
            || pairs.into_iter().any(|(planned, &size)| {
                planned.eval_to_i64(sizes).is_ok_and(|planned| planned != size as i64)
            })
    };
    let read = node.outputs.iter().zip(outputs).filter(|(made, _)| !made.successors.is_empty());
    for (made, value) in read {
        if differs(&made.fact, value) {
            let text = format!(
                "the sizes of this run do not fit: tract planned with {:?}, and the value has {:?}",
                made.fact.shape,
                value.shape()
            );
            return Err(wrong(node, text));
        }
    }
    Ok(())
}
