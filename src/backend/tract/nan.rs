//! tract loses a NaN in some operators, and far numbers where it quantizes. What such a node gets is searched, so that these
//! are an error and no other number.

use tract_onnx::prelude::{DatumType, TValue, TVec, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::matmul::optimized::{OptMatMul, ProtoFusedSpec};
use tract_onnx::tract_core::ops::quant::{QuantizeLinearI8, QuantizeLinearU8};
use tract_onnx::tract_core::ops::scan::OptScan;
use tract_onnx::tract_core::tract_linalg::BinOp;

use crate::error::{Error, ErrorKind, Result};

/// In the names of operators of tract that lose a NaN.
const LOSE: [&str; 8] =
    ["Max", "Min", "Sigmoid", "Tanh", "Topk", "HardSwish", "Silu", "QuantizeLinear"];
/// tract adds a zero point in 32 bits, which wraps around behind this.
const FAR: f32 = (1 << 30) as f32;

/// Which inputs of a node are searched; none of most nodes.
pub(super) type Searched = TVec<usize>;

/// The inputs that are searched, by the numbers of the nodes.
pub(super) fn searched(model: &TypedModel) -> Vec<Searched> {
    let mut all = vec![Searched::new(); model.nodes.len()];
    let mut open: Vec<usize> =
        model.nodes.iter().filter(|node| loses(node)).map(|node| node.id).collect();
    while let Some(id) = open.pop() {
        for (slot, input) in model.nodes[id].inputs.iter().enumerate() {
            let maker = &model.nodes[input.node];
            if is_packed(maker) {
                // Nobody can read what this makes.
                open.push(maker.id);
            } else if !maker.op_is::<Const>() && !all[id].contains(&slot) {
                all[id].push(slot);
            }
        }
    }
    all
}

fn is_packed(node: &TypedNode) -> bool {
    let name = node.op.name();
    name.contains("Pack") || name == "Im2col"
}

fn loses(node: &TypedNode) -> bool {
    if let Some(product) = node.op_as::<OptMatMul>() {
        let is_limit = |op: &BinOp| matches!(op, BinOp::Min | BinOp::Max);
        return product.micro_ops.iter().any(|step| match step {
            ProtoFusedSpec::BinScalar(_, op)
            | ProtoFusedSpec::BinPerRow(_, op, _)
            | ProtoFusedSpec::BinPerCol(_, op, _) => is_limit(op),
            _ => false,
        });
    }
    if let Some(scan) = node.op_as::<OptScan>() {
        return scan.plan.model().nodes.iter().any(loses);
    }
    let name = node.op.name();
    let integers = || node.outputs.iter().all(|made| made.fact.datum_type.is_integer());
    LOSE.iter().any(|part| name.contains(part)) || (name == "Cast" && integers())
}

/// Looks for a NaN in what a node gets.
///
/// # Errors
/// [`ErrorKind::Execution`] with the node.
pub(super) fn expect_none(node: &TypedNode, searched: &Searched, inputs: &[TValue]) -> Result<()> {
    let most = most(node);
    let is_lost = |value: &TValue| {
        let Ok(ram) = value.try_as_plain_ram() else { return false };
        match value.datum_type() {
            DatumType::F32 => ram.as_slice::<f32>().is_ok_and(|values| any_beyond(values, most)),
            // The sigmoid and the hyperbolic tangent of 64 bits keep one.
            DatumType::F64 if !["Sigmoid", "Tanh"].contains(&&*node.op.name()) => {
                ram.as_slice::<f64>().is_ok_and(|values| values.iter().any(|value| value.is_nan()))
            }
            _ => false,
        }
    };
    if !searched.iter().filter_map(|&slot| inputs.get(slot)).any(is_lost) {
        return Ok(());
    }
    let text = match most.is_finite() {
        true => "an input has a NaN or a far number, which tract would lose here; use ONNX Runtime",
        false => "an input has a NaN, which tract would lose here; use ONNX Runtime",
    };
    Err(Error::new(ErrorKind::Execution, text).in_operation(format!("node `{}`", node.name)))
}

/// The largest number that a node does not lose.
fn most(node: &TypedNode) -> f32 {
    let Some(op) = node.op_as::<ElementWiseOp>() else { return f32::INFINITY };
    // The scale is what tract multiplies by.
    let (scale, zero_point) = match op.0.downcast_ref::<QuantizeLinearU8>() {
        Some(op) => (op.scale, i32::from(op.zero_point)),
        None => match op.0.downcast_ref::<QuantizeLinearI8>() {
            Some(op) => (op.scale, i32::from(op.zero_point)),
            None => return f32::INFINITY,
        },
    };
    if zero_point == 0 { f32::INFINITY } else { (FAR / scale).abs() }
}

/// Whether there is a NaN or a number farther than `most`, by parts that a processor looks at many numbers of at once.
fn any_beyond(values: &[f32], most: f32) -> bool {
    let beyond = |found: bool, value: &f32| found | value.is_nan() | (value.abs() > most);
    values.chunks(1024).any(|part| part.iter().fold(false, beyond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nan_is_found_wherever_it_stands() {
        let mut values = vec![f32::INFINITY; 3000];
        let any_nan = |values: &[f32]| any_beyond(values, f32::INFINITY);
        assert!(!any_nan(&values) && !any_nan(&[]) && any_beyond(&values, f32::MAX));
        for i in [0, 1, 1023, 1024, 2999] {
            values[i] = f32::NAN;
            assert!(any_nan(&values), "{i}");
            values[i] = -0.0;
        }
    }
}
