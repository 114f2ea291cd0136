//! A softmax of what a `DequantizeLinear` gives. tract takes both and the `QuantizeLinear` behind them for a softmax of
//! integers, and gives other numbers. The integers are scaled by plain operators, of which tract knows no such form.

use std::collections::HashSet;

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

/// Scales what goes into a softmax by plain operators.
pub(in crate::export::passes) struct SoftmaxOfQuantized(pub(in crate::export::passes) Target);

/// Integers, and what they are scaled by.
struct Scaled {
    x: TensorSpec,
    scale: f32,
    zero: f32,
}

impl Pass for SoftmaxOfQuantized {
    fn name(&self) -> &'static str {
        "softmax of quantized values"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let read: HashSet<String> = graph
            .nodes
            .iter()
            .filter(|node| node.is("Softmax") && node.is_default())
            .filter_map(|node| node.input.first().cloned())
            .collect();
        let find = |graph: &Graph, node: &NodeProto| match &node.output[..] {
            [y] if read.contains(y) => Scaled::of(graph, node),
            _ => None,
        };
        replace(graph, self.0, find, |new, node, Scaled { x, scale, zero }| {
            let x = new.of(x).cast(DType::F32)?;
            let y = x.affine(1.0, -f64::from(*zero))?.affine(f64::from(*scale), 0.0)?;
            new.named(&y, &node.output[0]);
            Ok(())
        })
    }
}

impl Scaled {
    fn of(graph: &Graph, node: &NodeProto) -> Option<Self> {
        if !node.is("DequantizeLinear") || !node.is_default() {
            return None;
        }
        let x = graph.spec(node.input.first()?)?;
        let scale: Vec<f32> = graph.constant(node.input.get(1)?)?.to_vec().ok()?;
        let zero = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(zero) => whole(graph.constant(zero)?)?,
            None => vec![0.0],
        };
        // What has a scale for each place of an axis is never taken for integers.
        let ([scale], [zero]) = (&scale[..], &zero[..]) else { return None };
        Some(Self { x, scale: *scale, zero: *zero })
    }
}

fn whole(tensor: &HostTensor) -> Option<Vec<f32>> {
    Some(match tensor.dtype() {
        DType::U8 => tensor.to_vec::<u8>().ok()?.into_iter().map(f32::from).collect(),
        DType::I8 => tensor.to_vec::<i8>().ok()?.into_iter().map(f32::from).collect(),
        _ => return None,
    })
}
