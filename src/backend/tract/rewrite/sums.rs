//! Sums and products of wide integers. tract sums in 32 bits, and multiplies matrices of 32-bit integers at most.

use super::Made;
use crate::backend::tract::gaps::view::{View, attribute};
use crate::export::onnx::{Attribute, NodeProto};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Products of more numbers than this take too much memory one by one.
const MOST_TERMS: usize = 1 << 26;

/// Whether a sum of 64-bit integers, which tract does in 32 bits, can be written as cumulative sums.
pub(in crate::backend::tract) fn sums_integers(node: &NodeProto, view: &View<'_>) -> bool {
    axes_of(node, view).is_some_and(|axes| !axes.is_empty())
}

pub(super) fn axes_of(node: &NodeProto, view: &View<'_>) -> Option<Vec<i64>> {
    match attribute(node, "axes") {
        Some(axes) => Some(axes.ints.clone()),
        None => view.ints(node, 1),
    }
}

/// Whether a node adds up what lies along axes.
pub(super) fn is_sum(node: &NodeProto) -> bool {
    const SUMS: [&str; 7] = [
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceMean",
        "ReduceSum",
        "ReduceSumSquare",
    ];
    SUMS.contains(&node.op_type())
}

/// Whether a sum is known to be over an axis without elements, whose size tract divides by.
pub(in crate::backend::tract) fn sums_nothing(node: &NodeProto, view: &View<'_>) -> bool {
    let sizes = view.sizes(node, 0).filter(|_| is_sum(node));
    let Some((sizes, axes)) = sizes.and_then(|sizes| Some((sizes, reduced(node, sizes, view)?)))
    else {
        return false;
    };
    let types = [DType::F32, DType::F64, DType::I32, DType::I64];
    view.dtype(node, 0).is_some_and(|dtype| types.contains(&dtype))
        && axes.iter().any(|&axis| sizes.get(axis as usize) == Some(&Some(0)))
}

/// Operators that give as many elements as they get, and that tract ends in for none.
pub(super) const GIVE_THE_SIZES: [&str; 3] = ["Hardmax", "LogSoftmax", "LpNormalization"];

/// Whether a node is known to get no elements, and to give as many.
pub(in crate::backend::tract) fn gives_nothing(node: &NodeProto, view: &View<'_>) -> bool {
    GIVE_THE_SIZES.contains(&node.op_type())
        && view.sizes(node, 0).is_some_and(|sizes| sizes.contains(&Some(0)))
}

/// The axes along which a node reduces; `None` where they are not known.
fn reduced(node: &NodeProto, sizes: &[Option<usize>], view: &View<'_>) -> Option<Vec<i64>> {
    let rank = sizes.len() as i64;
    let named =
        attribute(node, "axes").is_some() || node.input.get(1).is_some_and(|n| !n.is_empty());
    let axes = if named { axes_of(node, view)? } else { Vec::new() };
    let keeps = attribute(node, "noop_with_empty_axes").is_some_and(|noop| noop.i() == 1);
    match axes.is_empty() {
        true if keeps => None,
        true => Some((0..rank).collect()),
        false => Some(axes.into_iter().map(|a| if a < 0 { a + rank } else { a }).collect()),
    }
}

/// Whether a matrix product is of integers that tract multiplies no matrices of.
pub(in crate::backend::tract) fn is_wide_product(node: &NodeProto, view: &View<'_>) -> bool {
    node.op_type() == "MatMul"
        && matches!(view.dtype(node, 0), Some(DType::I64 | DType::U32 | DType::U64))
}

/// Whether such a product can be written as a sum of the products of its numbers. The ranks have to be known.
pub(in crate::backend::tract) fn multiplies_integers(node: &NodeProto, view: &View<'_>) -> bool {
    let (Some(a), Some(b)) = (view.sizes(node, 0), view.sizes(node, 1)) else { return false };
    let matrices = a.len() >= 2 && b.len() >= 2;
    let batch = |sizes: &[Option<usize>]| sizes[..sizes.len() - 2].to_vec();
    let terms = || {
        let (rows, columns) = (&a[a.len() - 2..], &b[b.len() - 1..]);
        let batch = std::cmp::max(batch(a), batch(b));
        let known = batch.iter().chain(rows).chain(columns).flatten();
        known.fold(1usize, |all, &size| all.saturating_mul(size))
    };
    matrices && terms() <= MOST_TERMS
}

impl Made {
    /// The last of cumulative sums, which tract computes in 64 bits, along each axis.
    pub(super) fn sum(&mut self, node: &NodeProto, axes: &[i64], opset: i64) {
        let vector = |values: &[i64]| HostTensor::from_vec([values.len()], values.to_vec());
        let last = vector(&[-1]).unwrap_or_else(|_| HostTensor::scalar(-1i64));
        let last = self.constant(last);
        let mut x = node.input[0].clone();
        for &axis in axes {
            let along = self.constant(HostTensor::scalar(axis));
            let sums = self.op("CumSum", &[&x, &along], &[]);
            x = self.op("Gather", &[&sums, &last], &[("axis", axis.into())]);
        }
        if attribute(node, "keepdims").map_or(1, |keeps| keeps.i()) == 0 {
            x = match opset {
                ..13 => self.op("Squeeze", &[&x], &[("axes", axes.into())]),
                _ => {
                    let axes =
                        self.constant(vector(axes).unwrap_or_else(|_| HostTensor::scalar(0i64)));
                    self.op("Squeeze", &[&x, &axes], &[])
                }
            };
        }
        self.last(node, "Identity", &[&x]);
    }

    /// The sum of nothing, in the shape that a reduction gives.
    pub(super) fn nothing(
        &mut self,
        node: &NodeProto,
        dtype: DType,
        opset: i64,
        view: &View<'_>,
    ) -> Option<()> {
        let x = node.input[0].as_str();
        let axes = reduced(node, view.sizes(node, 0)?, view)?;
        let keeps = attribute(node, "keepdims").map_or(1, |keeps| keeps.i());
        let mut attributes: Vec<(&str, Attribute)> = vec![("keepdims", keeps.into())];
        let shaped = if opset >= 18 {
            let axes = self.vector(&axes);
            self.op("ReduceMax", &[x, &axes], &attributes)
        } else {
            attributes.push(("axes", axes.into()));
            self.op("ReduceMax", &[x], &attributes)
        };
        let logarithm = node.op_type().starts_with("ReduceLog");
        let sum = if logarithm && dtype.is_float() { f64::NEG_INFINITY } else { 0.0 };
        let (sum, largest) = (self.number(sum, dtype), self.number(f64::INFINITY, dtype));
        // Never, and in the shape of the result.
        let above = self.op("Greater", &[&shaped, &largest], &[]);
        self.last(node, "Where", &[&above, &largest, &sum]);
        Some(())
    }

    /// Each row times each column, and the sums of these. In two's complement the lowest bits are the same in any width.
    pub(super) fn product(&mut self, node: &NodeProto, dtype: DType, opset: i64) {
        let [a, b] = [0, 1].map(|i| match dtype {
            DType::I64 => node.input[i].clone(),
            _ => self.counted(&node.input[i]),
        });
        let (a, b) = (self.unsqueezed(&a, -1, opset), self.unsqueezed(&b, -3, opset));
        let products = self.op("Mul", &[&a, &b], &[]);
        let along = self.constant(HostTensor::scalar(-2i64));
        let sums = self.op("CumSum", &[&products, &along], &[]);
        let last = self.constant(HostTensor::scalar(-1i64));
        let attributes = [("axis", (-2i64).into())];
        match dtype {
            DType::I64 => self.last_with(node, "Gather", &[&sums, &last], &attributes),
            _ => {
                let sum = self.op("Gather", &[&sums, &last], &attributes);
                self.last_cast(node, &sum, dtype);
            }
        }
    }

    fn unsqueezed(&mut self, x: &str, axis: i64, opset: i64) -> String {
        match opset {
            ..13 => self.op("Unsqueeze", &[x], &[("axes", vec![axis].into())]),
            _ => {
                let axes = self.vector(&[axis]);
                self.op("Unsqueeze", &[x, &axes], &[])
            }
        }
    }
}
