//! What tract gets wrong of operators that it has, by operator, type and constants. The table beside lists the
//! operators and attributes.

use super::view::{View, attribute, has};
use crate::export::onnx::NodeProto;

/// Why tract does not compute a node right; `None` where it does.
pub(super) fn reason(node: &NodeProto, opset: i64, view: &View<'_>) -> Option<String> {
    let _ = (opset, attribute, has, view);
    match node.op_type() {
        "Pad" => view.ints(node, 1)?.iter().any(|&pad| pad < 0).then(|| "tract takes negative pads for huge ones".into()),
        _ => None,
    }
}
