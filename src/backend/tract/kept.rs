//! An operator of tract that keeps tensors unchanged. tract forgets that a factor of a product was expanded, and sums up
//! what was there once. This operator stands right before the product, where tract looks.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{
    DynSlice, DynTile, MultiBroadcastTo, Slice, StridedSlice, Tile,
};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cast::Cast;
use tract_onnx::tract_core::ops::cnn::{Conv, Deconv};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::logic::Iff;
use tract_onnx::tract_core::ops::scan::Scan;

use super::checked::Checked;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kept;

impl Op for Kept {
    fn name(&self) -> StaticName {
        "Kept".into()
    }

    tract_onnx::tract_core::op_as_typed_op!();
}

impl EvalOp for Kept {
    tract_onnx::tract_core::op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        Ok(inputs)
    }

    fn forwards_input(&self) -> Option<usize> {
        Some(0)
    }
}

impl TypedOp for Kept {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(inputs.iter().map(|&fact| fact.clone()).collect())
    }

    tract_onnx::tract_core::as_op!();
}

/// Keeps apart the inputs of products that may come from an expansion or a repetition.
pub(super) fn keep_expanded(model: &mut TypedModel) -> TractResult<()> {
    let order = model.eval_order()?;
    let mut expanded = vec![false; model.nodes().len()];
    for node in order.into_iter().map(|id| &model.nodes()[id]) {
        expanded[node.id] = expands(model, node)
            || passes_on(node) && node.inputs.iter().any(|outlet| expanded[outlet.node]);
    }
    let products = model.nodes().iter().filter(|node| is_product(node));
    let found: Vec<(InletId, OutletId)> = products
        .flat_map(|node| {
            let inputs = node.inputs.iter().enumerate();
            inputs.map(|(slot, &outlet)| (InletId::new(node.id, slot), outlet))
        })
        .filter(|(_, outlet)| expanded[outlet.node])
        .collect();
    for (inlet, outlet) in found {
        let name = format!("{}.kept.{}", model.node(inlet.node).name, inlet.slot);
        let kept = model.wire_node(name, Kept, &[outlet])?[0];
        model.add_edge(kept, inlet)?;
    }
    Ok(())
}

/// What tract computes as sums of products, or moves one out of.
fn is_product(node: &TypedNode) -> bool {
    node.op_is::<EinSum>() || node.op_is::<Conv>() || node.op_is::<Deconv>() || node.op_is::<Scan>()
}

/// Whether a node expands its input, or is an expansion to tract, as a product with zeros is.
fn expands(model: &TypedModel, node: &TypedNode) -> bool {
    let zeros = |outlet: &OutletId| {
        let fact = model.outlet_fact(*outlet).ok();
        let value = fact.and_then(|fact| fact.uniform.as_ref().or(fact.konst.as_ref()));
        value.is_some_and(|value| value.is_zero().unwrap_or(false))
    };
    node.op_is::<MultiBroadcastTo>()
        || node.op_is::<Tile>()
        || node.op_is::<DynTile>()
        || node.op_is::<TypedBinOp>() && node.inputs.iter().any(zeros)
}

/// Whether tract moves an expansion from before a node to behind it.
fn passes_on(node: &TypedNode) -> bool {
    node.op_is::<AxisOp>()
        || node.op_is::<ElementWiseOp>()
        || node.op_is::<TypedBinOp>()
        || node.op_is::<Cast>()
        || node.op_is::<Iff>()
        || node.op_is::<Slice>()
        || node.op_is::<DynSlice>()
        || node.op_is::<StridedSlice>()
        || node.op_is::<Checked>()
}
