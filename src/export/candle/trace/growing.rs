//! Tensors that a forward makes from values, such as a causal mask or positions from a `Vec`, under
//! a symbolic size: where that of each size is the begin of the largest, the largest is a weight
//! that is cut.

use super::{Run, Step};
use crate::error::{Error, ErrorKind};
use crate::export::candle::tape::{Constant, Op, Recorded};
use crate::export::sizes::Column;

/// The run whose constant at a step begins with those of all others.
pub(super) fn largest(runs: &[Run], step: usize) -> Option<usize> {
    let constants: Vec<&Constant> = runs
        .iter()
        .map(|run| match &run.steps.get(step)?.op {
            Op::Constant(constant) => Some(constant),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let largest = (0..constants.len()).max_by_key(|&run| constants[run].tensor.elem_count())?;
    let begins = |constant: &&Constant| begin(constants[largest], constant.tensor.dims());
    let all = constants.iter().all(|constant| begins(constant).is_some_and(|b| b == **constant));
    all.then_some(largest)
}

fn begin(constant: &Constant, dims: &[usize]) -> Option<Constant> {
    if constant.tensor.rank() != dims.len() {
        return None;
    }
    let mut tensor = constant.tensor.clone();
    for (axis, &size) in dims.iter().enumerate() {
        tensor = tensor.narrow(axis, 0, size).ok()?;
    }
    Some(Constant { tensor: tensor.contiguous().ok()?, ..constant.clone() })
}

/// Adds the constant of the largest run, cut to the sizes of a step.
pub(super) fn cut(steps: &mut Vec<Step>, step: Step, largest: &Recorded) {
    let runs = step.dims.first().map_or(0, |size| size.len());
    let fixed = |size: usize| -> Column { std::iter::repeat_n(size, runs).collect() };
    let mut dims: Vec<Column> = largest.dims.iter().map(|&size| fixed(size)).collect();
    let Step { dims: wanted, dtype, scope, .. } = step;
    let whole = Step {
        op: largest.op.clone(),
        inputs: Vec::new(),
        dtype,
        dims: dims.clone(),
        sizes: Vec::new(),
        scope: scope.clone(),
    };
    steps.push(whole);
    for (axis, size) in wanted.into_iter().enumerate() {
        if size == dims[axis] {
            continue;
        }
        dims[axis] = size.clone();
        steps.push(Step {
            op: Op::Narrow { dim: axis },
            inputs: vec![steps.len() - 1],
            dtype,
            dims: dims.clone(),
            sizes: vec![fixed(0), size],
            scope: scope.clone(),
        });
    }
}

/// The error for values that follow a size in another way.
pub(super) fn refused(text: String) -> Error {
    let text = format!(
        "the forward makes a tensor from values that follow a size, and that of a smaller size is \
         not the begin of that of a larger one: make it with operations (`arange`, `tril2`, \
         comparisons), or give it to the forward as an input: {text}"
    );
    Error::new(ErrorKind::UnsupportedOperation, text)
}
