//! tract loses a NaN in some operators, and far numbers where it quantizes. What such a node gets is searched, so that these
//! are an error and no other number.

use tract_onnx::prelude::{DatumType, IntoTValue as _, TValue, TVec, TypedModel, TypedNode};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::konst::Const;
use tract_onnx::tract_core::ops::logic::IfThenElse;
use tract_onnx::tract_core::ops::matmul::optimized::{OptMatMul, ProtoFusedSpec};
use tract_onnx::tract_core::ops::quant::{QuantizeLinearI8, QuantizeLinearU8};
use tract_onnx::tract_core::ops::scan::OptScan;
use tract_onnx::tract_core::tract_linalg::BinOp;

use super::gaps::view::View;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// In the names of operators of tract that lose a NaN.
const LOSE: [&str; 8] =
    ["Max", "Min", "Sigmoid", "Tanh", "Topk", "HardSwish", "Silu", "QuantizeLinear"];
/// tract adds a zero point in 32 bits, which wraps around behind this.
const FAR: f32 = (1 << 30) as f32;
/// The difference of two numbers that are no farther is finite.
const WIDEST: f32 = f32::MAX / 2.0;
/// tract multiplies by 6 first.
const HIGHEST: f32 = f32::MAX / 6.0;

/// Operators of ONNX that tract writes in such operators, or may.
const LOSE_NODES: [&str; 30] = [
    "ArgMax",
    "ArgMin",
    "Celu",
    "Clip",
    "DynamicQuantizeLinear",
    "Elu",
    "Gelu",
    "GlobalMaxPool",
    "GRU",
    "Hardmax",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "LSTM",
    "Max",
    "MaxPool",
    "Min",
    "Mish",
    "PRelu",
    "QuantizeLinear",
    "ReduceMax",
    "ReduceMin",
    "Relu",
    "RNN",
    "Selu",
    "Sigmoid",
    "Swish",
    "Tanh",
    "ThresholdedRelu",
    "TopK",
];
/// Operators of ONNX that tract computes in one with a limit of their results.
const PRODUCTS: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];

/// Which inputs of a node are searched; none of most nodes.
pub(super) type Searched = TVec<usize>;

/// Whether tract may lose a NaN in a node.
pub(super) fn loses_node(node: &NodeProto) -> bool {
    LOSE_NODES.contains(&node.op_type())
}

/// Which constant of a node, and how, tract would lose.
pub(super) fn lost_constant(node: &NodeProto, view: &View<'_>) -> Option<String> {
    if !loses_node(node) && !PRODUCTS.contains(&node.op_type()) {
        return None;
    }
    let most = most_of(node, view);
    let lost = |at: &usize| view.constant(node, *at).is_some_and(|value| holds(&value, most));
    let at = (0..node.input.len()).find(lost)?;
    Some(format!("the constant `{}` has {}, which tract would lose", node.input[at], what(most)))
}

/// Whether there is a NaN or a number farther than `most`.
fn holds(value: &HostTensor, most: f32) -> bool {
    // All bits of an exponent and another one.
    let narrow = |infinity: u16| {
        let mut all = value.bytes().chunks_exact(2);
        all.any(|two| u16::from_le_bytes([two[0], two[1]]) & 0x7fff > infinity)
    };
    match value.dtype() {
        DType::F32 => value.view::<f32>().is_ok_and(|values| match values.as_slice() {
            Some(values) => any_beyond(values, most),
            None => values.iter().any(|value| value.is_nan() || value.abs() > most),
        }),
        DType::F64 => value.view::<f64>().is_ok_and(|all| all.iter().any(|value| value.is_nan())),
        DType::F16 => narrow(0x7c00),
        DType::BF16 => narrow(0x7f80),
        _ => false,
    }
}

/// The largest number that a node of a graph does not lose.
pub(super) fn most_of(node: &NodeProto, view: &View<'_>) -> f32 {
    match node.op_type() {
        "QuantizeLinear" => {
            let zero = view.constant(node, 2);
            let scale = view.constant(node, 1).and_then(|scale| scale.to_vec::<f32>().ok());
            match (zero, scale.as_deref()) {
                (Some(zero), Some(&[scale])) if zero.bytes().iter().any(|&byte| byte != 0) => {
                    (FAR * scale).abs()
                }
                _ => f32::INFINITY,
            }
        }
        "DynamicQuantizeLinear" => WIDEST,
        "HardSwish" => HIGHEST,
        "Swish" => f32::MAX,
        _ => f32::INFINITY,
    }
}

fn what(most: f32) -> &'static str {
    if most.is_finite() { "a NaN or a far number" } else { "a NaN" }
}

/// The inputs that are searched, by the numbers of the nodes.
///
/// # Errors
/// [`ErrorKind::Build`] with the node that loses something of a constant.
pub(super) fn searched(model: &TypedModel) -> Result<Vec<Searched>> {
    let mut all = vec![Searched::new(); model.nodes.len()];
    let mut open: Vec<usize> =
        model.nodes.iter().filter(|node| loses(node)).map(|node| node.id).collect();
    while let Some(id) = open.pop() {
        for (slot, input) in model.nodes[id].inputs.iter().enumerate() {
            let maker = &model.nodes[input.node];
            if is_packed(maker) {
                // Nobody can read what this makes.
                open.push(maker.id);
            } else if let Some(constant) = maker.op_as::<Const>() {
                let (node, most) = (&model.nodes[id], most(&model.nodes[id]));
                let value = constant.val().clone().into_tvalue();
                if is_lost(&value, most) && !keeps_wide(node, &value) {
                    return Err(lost(most, &node.name));
                }
            } else if !all[id].contains(&slot) {
                all[id].push(slot);
            }
        }
    }
    Ok(all)
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
    if let Some(branch) = node.op_as::<IfThenElse>() {
        let bodies = [&branch.then_body, &branch.else_body];
        return bodies.into_iter().any(|body| body.nodes.iter().any(loses));
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
    let is_lost = |value: &TValue| is_lost(value, most) && !keeps_wide(node, value);
    if !searched.iter().filter_map(|&slot| inputs.get(slot)).any(is_lost) {
        return Ok(());
    }
    Err(lost(most, &node.name))
}

/// The sigmoid and the hyperbolic tangent of 64 bits keep a NaN.
fn keeps_wide(node: &TypedNode, value: &TValue) -> bool {
    value.datum_type() == DatumType::F64 && ["Sigmoid", "Tanh"].contains(&&*node.op.name())
}

/// Whether a value has a NaN or a number farther than `most`.
pub(super) fn is_lost(value: &TValue, most: f32) -> bool {
    let Ok(ram) = value.try_as_plain_ram() else { return false };
    match value.datum_type() {
        DatumType::F32 => ram.as_slice::<f32>().is_ok_and(|values| any_beyond(values, most)),
        DatumType::F64 => {
            ram.as_slice::<f64>().is_ok_and(|values| values.iter().any(|value| value.is_nan()))
        }
        _ => false,
    }
}

/// The error of a node that loses something.
pub(super) fn lost(most: f32, node: &str) -> Error {
    let text =
        format!("an input has {}, which tract would lose here; use ONNX Runtime", what(most));
    Error::new(ErrorKind::Execution, text).in_operation(format!("node `{node}`"))
}

/// The largest number that a node does not lose.
fn most(node: &TypedNode) -> f32 {
    let name = node.op.name();
    if name.contains("DynamicQuantizeLinear") {
        return WIDEST;
    }
    if name.contains("HardSwish") {
        return HIGHEST;
    }
    if name.contains("Silu") {
        return f32::MAX;
    }
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
