//! Gives operations that Burn takes apart their whole form back.
//!
//! Burn records a linear layer as reshapes, a product and a sum, and chooses among several such
//! forms by the sizes at hand. Two captures of different sizes may therefore differ where the
//! model does not. Nothing here looks at names or values.

use std::collections::HashMap;

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{
    BaseOperationIr, BinaryOpIr, FloatOperationIr, LinearOpIr, MatmulOpIr, ModuleOperationIr,
    NumericOperationIr, OperationIr, ShapeOpIr, TensorIr,
};

/// Rewrites a sequence of operations. `outputs` are read outside of it.
pub(super) fn canonicalize(operations: Vec<OperationIr>, outputs: &[TensorId]) -> Vec<OperationIr> {
    let mut uses: HashMap<TensorId, usize> = HashMap::new();
    for id in
        operations.iter().flat_map(OperationIr::inputs).map(|t| t.id).chain(outputs.iter().copied())
    {
        *uses.entry(id).or_default() += 1;
    }
    let mut rest = &operations[..];
    let mut result = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let found = [folded, batched, flat].iter().find_map(|form| form(rest));
        let inner_only = |count: usize| {
            let inner = rest[..count - 1].iter().flat_map(OperationIr::outputs);
            inner.into_iter().all(|tensor| uses.get(&tensor.id) == Some(&1))
        };
        let (operation, count) = match found {
            Some((linear, count)) if inner_only(count) => {
                (OperationIr::Module(ModuleOperationIr::Linear(linear)), count)
            }
            _ => (first.clone(), 1),
        };
        result.push(operation);
        rest = &rest[count..];
    }
    result
}

/// A linear layer, and how many operations it takes the place of.
type Found = Option<(LinearOpIr, usize)>;

/// `[.., k]` to `[rows, k]`, product, sum, and back to `[.., n]`.
fn folded(operations: &[OperationIr]) -> Found {
    let (fold, product) = (reshape(operations.first()?)?, matmul(operations.get(1)?)?);
    let rank = fold.input.shape.len();
    let fits =
        product.lhs.id == fold.out.id && fold.out.shape.len() == 2 && product.rhs.shape.len() == 2;
    if !fits || rank < 3 || fold.out.shape[1] != fold.input.shape[rank - 1] {
        return None;
    }
    let (bias, sum, count) = bias(product, &operations[2..]);
    let unfold = reshape(operations.get(2 + count)?)?;
    let (rows, last) = (&fold.input.shape[..rank - 1], sum.shape[1]);
    let back = unfold.out.shape.len() == rank
        && unfold.out.shape[..rank - 1] == *rows
        && unfold.out.shape[rank - 1] == last;
    (unfold.input.id == sum.id && back)
        .then(|| (linear(&fold.input, &product.rhs, bias, &unfold.out), 3 + count))
}

/// The weight `[k, n]` to `[1, .., k, n]`, product, and sum.
fn batched(operations: &[OperationIr]) -> Found {
    let (lift, product) = (reshape(operations.first()?)?, matmul(operations.get(1)?)?);
    let rank = lift.out.shape.len();
    let fits = product.rhs.id == lift.out.id
        && lift.input.shape.len() == 2
        && product.lhs.shape.len() == rank;
    if !fits || rank < 3 || lift.out.shape[rank - 2..] != lift.input.shape[..] {
        return None;
    }
    let (bias, sum, count) = bias(product, &operations[2..]);
    Some((linear(&product.lhs, &lift.input, bias, sum), 2 + count))
}

/// A product of two matrices, and a sum with a vector.
fn flat(operations: &[OperationIr]) -> Found {
    let product = matmul(operations.first()?)?;
    if product.lhs.shape.len() != 2 || product.rhs.shape.len() != 2 {
        return None;
    }
    let (bias, sum, count) = bias(product, &operations[1..]);
    bias.is_some().then(|| (linear(&product.lhs, &product.rhs, bias, sum), 1 + count))
}

/// The bias added to a product, if there is one: the vector, the sum, and the operations it takes.
fn bias<'a>(
    product: &'a MatmulOpIr,
    rest: &'a [OperationIr],
) -> (Option<&'a TensorIr>, &'a TensorIr, usize) {
    let found = || {
        let (lift, sum) = (reshape(rest.first()?)?, add(rest.get(1)?)?);
        let rank = lift.out.shape.len();
        let fits = sum.lhs.id == product.out.id
            && sum.rhs.id == lift.out.id
            && lift.input.shape.len() == 1;
        // The vector lies along the last axis, and the sum has the shape of the product.
        let last = rank > 0 && lift.out.shape[rank - 1] == lift.input.shape[0];
        (fits && last && sum.out.shape == product.out.shape).then_some((
            Some(&lift.input),
            &sum.out,
            2,
        ))
    };
    found().unwrap_or((None, &product.out, 0))
}

fn linear(x: &TensorIr, weight: &TensorIr, bias: Option<&TensorIr>, out: &TensorIr) -> LinearOpIr {
    LinearOpIr { x: x.clone(), weight: weight.clone(), bias: bias.cloned(), out: out.clone() }
}

fn reshape(operation: &OperationIr) -> Option<&ShapeOpIr> {
    match operation {
        OperationIr::BaseFloat(BaseOperationIr::Reshape(op)) => Some(op),
        _ => None,
    }
}

fn matmul(operation: &OperationIr) -> Option<&MatmulOpIr> {
    match operation {
        OperationIr::Float(_, FloatOperationIr::Matmul(op)) => Some(op),
        _ => None,
    }
}

fn add(operation: &OperationIr) -> Option<&BinaryOpIr> {
    match operation {
        OperationIr::NumericFloat(_, NumericOperationIr::Add(op)) => Some(op),
        _ => None,
    }
}
