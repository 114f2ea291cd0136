//! Gives operations that Burn takes apart their whole form back.
//!
//! Burn records a linear layer as reshapes, a product and a sum, and chooses among several such
//! forms by the sizes at hand. Two captures of different sizes may therefore differ where the
//! model does not. A layer norm comes as the operations of its formula; backends have one for it.
//! Nothing here looks at names or values.

use std::collections::HashMap;

use ::burn::backend::capture::TensorId;
use ::burn::backend::ir::{
    BaseOperationIr, BinaryOpIr, FloatOperationIr, LayerNormOpIr, LinearOpIr, MatmulOpIr,
    ModuleOperationIr, NumericOperationIr as Op, OperationIr, ShapeOpIr, SwapDimsOpIr, TensorIr,
};

/// Rewrites a sequence of operations. `outputs` are read outside of it.
pub(super) fn canonicalize(operations: Vec<OperationIr>, outputs: &[TensorId]) -> Vec<OperationIr> {
    let mut uses: HashMap<TensorId, usize> = HashMap::new();
    for id in
        operations.iter().flat_map(OperationIr::inputs).map(|t| t.id).chain(outputs.iter().copied())
    {
        *uses.entry(id).or_default() += 1;
    }
    let operations = vector_products(operations, &uses);
    let mut rest = &operations[..];
    let mut result = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let found = [folded, batched, flat, layer_norm].iter().find_map(|form| form(rest));
        let (operation, count) = match found {
            Some((whole, count)) if stays_inside(&rest[..count], &uses) => {
                (OperationIr::Module(whole), count)
            }
            _ => (first.clone(), 1),
        };
        result.push(operation);
        rest = &rest[count..];
    }
    result
}

/// Burn swaps the axes of `[.., b, 1, k]` by `[.., 1, k, n]` to multiply all rows at once, and swaps
/// them back. With other sizes it records the product alone, which is the same.
fn vector_products(
    operations: Vec<OperationIr>,
    uses: &HashMap<TensorId, usize>,
) -> Vec<OperationIr> {
    let mut rest = &operations[..];
    let mut result = Vec::with_capacity(rest.len());
    while let Some(first) = rest.first() {
        let (operation, count) = match vector_product(rest) {
            Some(product) if stays_inside(&rest[..3], uses) => (product, 3),
            _ => (first.clone(), 1),
        };
        result.push(operation);
        rest = &rest[count..];
    }
    result
}

fn vector_product(operations: &[OperationIr]) -> Option<OperationIr> {
    let [there, product, back, ..] = operations else { return None };
    let OperationIr::Float(dtype, FloatOperationIr::Matmul(matmul)) = product else { return None };
    let (there, back) = (swap(there)?, swap(back)?);
    let rank = there.input.shape.len();
    let axes = [rank.checked_sub(3)?, rank - 2];
    let fits = [there.dim1, there.dim2] == axes
        && [back.dim1, back.dim2] == axes
        && matmul.lhs.id == there.out.id
        && back.input.id == matmul.out.id
        && there.input.shape[rank - 2] == 1
        && matmul.rhs.shape.len() == rank
        && matmul.rhs.shape[rank - 3] == 1;
    let (lhs, rhs, out) = (there.input.clone(), matmul.rhs.clone(), back.out.clone());
    let whole = FloatOperationIr::Matmul(MatmulOpIr { lhs, rhs, out });
    fits.then_some(OperationIr::Float(*dtype, whole))
}

fn swap(operation: &OperationIr) -> Option<&SwapDimsOpIr> {
    match operation {
        OperationIr::BaseFloat(BaseOperationIr::SwapDims(op)) => Some(op),
        _ => None,
    }
}

/// Whether nothing but the last result of these operations is read by others.
fn stays_inside(operations: &[OperationIr], uses: &HashMap<TensorId, usize>) -> bool {
    let reads = |id| operations.iter().flat_map(OperationIr::inputs).filter(|t| t.id == id).count();
    let inner = operations[..operations.len() - 1].iter().flat_map(OperationIr::outputs);
    inner.into_iter().all(|tensor| uses.get(&tensor.id) == Some(&reads(tensor.id)))
}

/// A layer, and how many operations it takes the place of.
type Found = Option<(ModuleOperationIr, usize)>;

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
        let (lift, sum) = (reshape(rest.first()?)?, add_of(rest.get(1)?)?);
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

fn linear(
    x: &TensorIr,
    weight: &TensorIr,
    bias: Option<&TensorIr>,
    out: &TensorIr,
) -> ModuleOperationIr {
    let (x, weight, bias, out) = (x.clone(), weight.clone(), bias.cloned(), out.clone());
    ModuleOperationIr::Linear(LinearOpIr { x, weight, bias, out })
}

/// `(x - mean) / sqrt(mean((x - mean)²) + epsilon) * gamma + beta` along the last axis.
fn layer_norm(operations: &[OperationIr]) -> Found {
    let [mean, sub, square, variance, add, sqrt, div, lift, scale, ..] = operations else {
        return None;
    };
    let (Op::MeanDim(mean), Op::Sub(sub), Op::Mul(square)) =
        (numeric(mean)?, numeric(sub)?, numeric(square)?)
    else {
        return None;
    };
    let (Op::MeanDim(variance), Op::AddScalar(add)) = (numeric(variance)?, numeric(add)?) else {
        return None;
    };
    let OperationIr::Float(_, FloatOperationIr::Sqrt(sqrt)) = sqrt else { return None };
    let (Op::Div(div), Op::Mul(scale)) = (numeric(div)?, numeric(scale)?) else { return None };
    let lift = reshape(lift)?;

    let (x, centered) = (&mean.input, sub.out.id);
    let last = x.shape.len().checked_sub(1)?;
    let links = [
        (sub.lhs.id, x.id),
        (sub.rhs.id, mean.out.id),
        (square.lhs.id, centered),
        (square.rhs.id, centered),
        (variance.input.id, square.out.id),
        (add.lhs.id, variance.out.id),
        (sqrt.input.id, add.out.id),
        (div.lhs.id, centered),
        (div.rhs.id, sqrt.out.id),
        (scale.lhs.id, div.out.id),
        (scale.rhs.id, lift.out.id),
    ];
    let linked = links.iter().all(|(reads, made)| reads == made);
    if !linked || mean.axis != last || variance.axis != last || !along(lift, x) {
        return None;
    }
    let (mut beta, mut out, mut count) = (None, &scale.out, 9);
    if let [lift, sum, ..] = &operations[9..]
        && let (Some(lift), Some(sum)) = (reshape(lift), add_of(sum))
        && sum.lhs.id == scale.out.id
        && sum.rhs.id == lift.out.id
        && along(lift, x)
    {
        (beta, out, count) = (Some(lift.input.clone()), &sum.out, 11);
    }
    let layer = LayerNormOpIr {
        input: x.clone(),
        gamma: lift.input.clone(),
        beta,
        epsilon: add.rhs,
        out: out.clone(),
    };
    Some((ModuleOperationIr::LayerNorm(layer), count))
}

/// Whether a vector is laid along the last axis of `x`.
fn along(lift: &ShapeOpIr, x: &TensorIr) -> bool {
    let (rank, width) = (x.shape.len(), x.shape[x.shape.len() - 1]);
    let ones = lift.out.shape.iter().take(rank - 1).all(|&size| size == 1);
    lift.input.shape[..] == [width] && lift.out.shape.len() == rank && ones
}

fn numeric(operation: &OperationIr) -> Option<&Op> {
    match operation {
        OperationIr::NumericFloat(_, op) => Some(op),
        _ => None,
    }
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

fn add_of(operation: &OperationIr) -> Option<&BinaryOpIr> {
    match numeric(operation)? {
        Op::Add(op) => Some(op),
        _ => None,
    }
}
