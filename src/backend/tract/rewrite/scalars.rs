//! Numbers in tensors of one element, where ONNX Runtime takes these for scalars and tract does not.

use std::ops::Range;

use super::Made;
use crate::backend::tract::gaps::view::View;
use crate::export::onnx::NodeProto;

/// The inputs of a node that have to be scalars.
pub(super) fn taken(node: &NodeProto) -> Range<usize> {
    match node.op_type() {
        "Range" => 0..3,
        "Pad" => 2..3,
        "Trilu" => 1..2,
        _ => 0..0,
    }
}

impl Made {
    /// Makes scalars of the inputs that have one axis.
    pub(super) fn scalars(&mut self, node: &mut NodeProto, view: &View<'_>) {
        for input in taken(node) {
            let constant = view.constant(node, input);
            let rank = constant.as_ref().map(|value| value.shape().len());
            if rank.or_else(|| Some(view.sizes(node, input)?.len())) != Some(1) {
                continue;
            }
            let scalar = match constant.and_then(|value| value.reshape(Vec::new()).ok()) {
                Some(value) => self.constant(value),
                None => {
                    let no_axes = self.vector(&[]);
                    self.op("Reshape", &[&node.input[input], &no_axes], &[])
                }
            };
            node.input[input] = scalar;
        }
    }
}
