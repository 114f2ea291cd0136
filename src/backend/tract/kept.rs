//! An operator of tract that keeps tensors as they are: tract forgets that a factor of a product was expanded, and sums up
//! what was there once. It looks at the operator right before the product, which this one then is.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::{MultiBroadcastTo, Tile};
use tract_onnx::tract_core::ops::einsum::EinSum;

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

/// Keeps what is expanded or repeated on the way to a product.
pub(super) fn keep_expanded(model: &mut TypedModel) -> TractResult<()> {
    let expanded = |node: &&TypedNode| node.op_is::<MultiBroadcastTo>() || node.op_is::<Tile>();
    let found: Vec<OutletId> = model
        .nodes()
        .iter()
        .filter(expanded)
        .map(|node| OutletId::new(node.id, 0))
        .filter(|&outlet| reaches_product(model, outlet))
        .collect();
    for outlet in found {
        let fact = model.outlet_fact(outlet)?.clone();
        let name = format!("{}.kept", model.node(outlet.node).name);
        TypedModelPatch::intercept(model, outlet, name, Kept, fact)?.apply(model)?;
    }
    Ok(())
}

/// Whether a product reads a value, perhaps with its axes in another order or number.
fn reaches_product(model: &TypedModel, outlet: OutletId) -> bool {
    let successors = &model.node(outlet.node).outputs[outlet.slot].successors;
    successors.iter().any(|inlet| {
        let node = model.node(inlet.node);
        node.op_is::<EinSum>()
            || node.op_is::<AxisOp>() && reaches_product(model, OutletId::new(node.id, 0))
    })
}
