//! A group norm of one group. TensorRT's parser gives the number of groups to a layer that takes 1 for "each
//! channel by itself", and so normalizes each channel alone. One group is written as an instance norm of all
//! channels.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::Rewriter;

/// Writes a group norm of one group in its parts.
pub(in crate::export::passes) struct GroupNormOfOneGroup(pub(in crate::export::passes) Target);

impl Pass for GroupNormOfOneGroup {
    fn name(&self) -> &'static str {
        "group norm of one group"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let known = |node: &NodeProto| node.input.iter().all(|name| graph.spec(name).is_some());
        let is_wrong = |node: &NodeProto| {
            let one = node.is("GroupNormalization") && node.int("num_groups", 1) == 1;
            if one && !known(node) {
                tracing::warn!(
                    target: "accelerant::export",
                    "the shape of what `{}` reads is not known: TensorRT computes it wrongly",
                    node.name()
                );
            }
            one && known(node) && node.input.len() == 3
        };
        let wrong: Vec<bool> = graph.nodes.iter().map(is_wrong).collect();
        let count = wrong.iter().filter(|wrong| **wrong).count();
        if count == 0 {
            return Ok(0);
        }
        let new = Rewriter::new(graph, self.0);
        for (node, wrong) in graph.nodes.iter().zip(wrong) {
            let ([x, scale, bias], [y], true) = (&node.input[..], &node.output[..], wrong) else {
                new.keep(node);
                continue;
            };
            let epsilon = node.stated("epsilon").map_or(1e-5, |epsilon| epsilon.f());
            new.graph.enter(format!("{y}.parts"));
            let x = new.known(x);
            let normed =
                x.group_norm_in_parts(&new.known(scale), &new.known(bias), 1, epsilon.into())?;
            new.graph.leave();
            new.named(&normed, y);
        }
        *graph = new.finish();
        Ok(count)
    }
}
