//! Constants that vanish in the narrow type: where this matters, and what the results need then.

use super::half::Writer;
use super::islands::Need;
use super::narrow::{self, Fit};
use crate::error::Result;
use crate::export::onnx::NodeProto;
use crate::tensor::HostTensor;

/// What a node gives that reads such a constant.
#[derive(Clone, Debug)]
pub(super) struct Vanishing {
    /// Why the node stays in 32 bits.
    pub(super) reason: String,
    pub(super) need: Option<Need>,
}

impl Writer<'_> {
    /// What an input that is a constant does, by how it fits; none where what is lost of it makes no difference.
    pub(super) fn vanishing(&self, node: &NodeProto, input: usize, fit: Fit) -> Option<Vanishing> {
        let one = fit == Fit::Tiny;
        let mut weights = false;
        let need = match (node.op_type(), input) {
            ("MatMul" | "Einsum", _) | ("Gemm" | "Conv" | "ConvTranspose", 1) => {
                weights = true;
                Some(Need::Small)
            }
            ("Mul", _) => Some(Need::Small),
            ("Div", 1) => Some(Need::Range),
            ("Add" | "Sub" | "Max" | "Clip" | "Where", _) if one => Some(Need::Divisor),
            ("Div" | "Min" | "Pow" | "Less" | "LessOrEqual", _) if one => None,
            ("Greater" | "GreaterOrEqual" | "Equal", _) if one => None,
            _ => return None,
        };
        let name = &node.input[input];
        let reason = match weights {
            true => format!("the weights `{name}` vanish in {}", self.low),
            false => format!("the constant `{name}` vanishes in {}", self.low),
        };
        Some(Vanishing { reason, need })
    }

    /// The same of the bounds of a `Clip` before operator set 11, which are attributes.
    pub(super) fn vanishing_bound(&self, node: &NodeProto) -> Result<Option<Vanishing>> {
        for name in ["min", "max"] {
            let Some(bound) = node.stated(name).filter(|_| node.is("Clip")) else { continue };
            if narrow::fit(&HostTensor::scalar(bound.f()), self.low)? == Fit::Tiny {
                let reason = format!("its bound `{name}` vanishes in {}", self.low);
                return Ok(Some(Vanishing { reason, need: Some(Need::Divisor) }));
            }
        }
        Ok(None)
    }
}
