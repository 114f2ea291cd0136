//! A group norm of one group. TensorRT's parser gives the number of groups to a layer that takes 1 for "each channel by
//! itself". Each channel is then normalized alone. An instance norm of all channels is written instead.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::TensorSpec;

/// Writes a group norm of one group in its parts.
pub(in crate::export::passes) struct GroupNormOfOneGroup(pub(in crate::export::passes) Target);

impl Pass for GroupNormOfOneGroup {
    fn name(&self) -> &'static str {
        "group norm of one group"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        replace(graph, self.0, inputs_of_one_group, |new, node, [x, scale, bias]| {
            let epsilon = node.stated("epsilon").map_or(1e-5, |epsilon| epsilon.f());
            let (x, scale, bias) = (new.of(x), new.of(scale), new.of(bias));
            let normed = x.group_norm_in_parts(&scale, &bias, 1, epsilon.into())?;
            new.named(&normed, &node.output[0]);
            Ok(())
        })
    }
}

/// What a group norm of one group reads: the tensor, scale and bias.
fn inputs_of_one_group(graph: &Graph, node: &NodeProto) -> Option<[TensorSpec; 3]> {
    let one = node.is("GroupNormalization") && node.int("num_groups", 1) == 1;
    let ([x, scale, bias], [_], true) = (&node.input[..], &node.output[..], one) else {
        return None;
    };
    let [x, scale, bias] = [x, scale, bias].map(|name| graph.spec(name));
    let known = x.zip(scale).zip(bias).map(|((x, scale), bias)| [x, scale, bias]);
    if known.is_none() {
        tracing::warn!(
            target: "accelerant::export",
            "the shape of what `{}` reads is not known: TensorRT computes it wrongly",
            node.name()
        );
    }
    known
}
