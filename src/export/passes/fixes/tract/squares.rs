//! A product of an integer with itself. tract takes the product for a square, and has squares of floats alone. `-(x (-x))` is
//! written instead.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::{DType, TensorSpec};

/// Writes squares of signed integers as products of two values.
pub(in crate::export::passes) struct SquaresOfIntegers(pub(in crate::export::passes) Target);

impl Pass for SquaresOfIntegers {
    fn name(&self) -> &'static str {
        "squares of integers"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        replace(graph, self.0, squared, |new, node, x| {
            let x = new.of(x);
            let square = x.mul(&x.neg()?)?.neg()?;
            new.named(&square, &node.output[0]);
            Ok(())
        })
    }
}

/// The integer that a node multiplies with itself.
fn squared(graph: &Graph, node: &NodeProto) -> Option<TensorSpec> {
    let ([x, other], [_], true) = (&node.input[..], &node.output[..], node.is("Mul")) else {
        return None;
    };
    let x = if x == other { graph.spec(x)? } else { return None };
    matches!(x.dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64).then_some(x)
}
