//! Pads and extremes of bools, which tract has of numbers alone.

use super::Made;
use crate::export::onnx::NodeProto;
use crate::spec::DType;

impl Made {
    /// The same node over bytes.
    pub(super) fn as_bytes(&mut self, node: &NodeProto) {
        let mut bytes = node.clone();
        let value = if node.op_type() == "Pad" { Some(2) } else { None };
        for place in [Some(0), value].into_iter().flatten() {
            if let Some(name) = bytes.input.get_mut(place).filter(|name| !name.is_empty()) {
                *name = self.cast_to(name, DType::U8);
            }
        }
        let made = format!("{}.bytes", self.prefix);
        bytes.output = vec![made.clone()];
        bytes.name = None;
        self.nodes.push(bytes);
        self.last_cast(node, &made, DType::Bool);
    }
}
