//! Activations that Burn keeps whole.

use ::burn::backend::ir::ActivationOperationIr as Op;

use super::{Lowering, number};
use crate::error::Result;

impl Lowering<'_> {
    pub(super) fn activation(&mut self, operation: &Op) -> Result<()> {
        let (out, value) = match operation {
            Op::Relu(op) => (&op.out, self.value(&op.input)?.relu()?),
            Op::LeakyRelu(op) => (&op.out, self.value(&op.lhs)?.leaky_relu(number(&op.rhs)?)?),
            Op::Gelu(op) => (&op.out, self.value(&op.input)?.gelu()?),
            Op::PRelu(op) => {
                // One slope a channel, along axis 1.
                let (x, mut slope) = (self.value(&op.lhs)?, self.value(&op.rhs)?);
                if slope.rank() == 1 && x.rank() > 2 {
                    let axes: Vec<i64> = (1..x.rank() as i64 - 1).collect();
                    slope = slope.unsqueeze(&axes)?;
                }
                (&op.out, x.graph().node("PRelu").input(&x).input(&slope).build()?)
            }
            Op::Sigmoid(op) => (&op.out, self.value(&op.input)?.sigmoid()?),
            Op::Softmax(op) => (&op.out, self.value(&op.input)?.softmax(op.axis as i64)?),
            Op::LogSoftmax(op) => (&op.out, self.value(&op.input)?.log_softmax(op.axis as i64)?),
            Op::Softmin(op) => (&op.out, self.value(&op.input)?.neg()?.softmax(op.axis as i64)?),
            Op::LogSigmoid(op) => {
                // log(sigmoid(x)) = -softplus(-x), without overflow.
                (&op.out, self.value(&op.input)?.neg()?.softplus()?.neg()?)
            }
            Op::HardSigmoid(op) => {
                let x = self.value(&op.tensor)?;
                let node = x.graph().node("HardSigmoid").input(&x);
                let (alpha, beta) = (number(&op.alpha)? as f32, number(&op.beta)? as f32);
                (&op.out, node.attr("alpha", alpha).attr("beta", beta).build()?)
            }
            Op::ReluBackward(_)
            | Op::GeluBackward(_)
            | Op::SigmoidBackward(_)
            | Op::LogSigmoidBackward(_) => return Err(super::gradient()),
        };
        self.bind(out, value)
    }
}
