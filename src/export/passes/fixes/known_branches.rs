//! A branch that is known to be taken stands in the place of its `If`. An exporter that follows a framework's branch on a rank
//! or a size writes both sides, and the sides give values of different ranks. tract refuses such an `If`, and TensorRT-RTX 1.6.1
//! ends its build with an assertion about scopes. Where the sizes are known, the condition is known too.

use std::collections::VecDeque;

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{GraphProto, NodeProto};
use crate::export::passes::{Pass, canonical};

/// Takes branches whose condition is known.
pub(in crate::export::passes) struct KnownBranches;

impl Pass for KnownBranches {
    fn name(&self) -> &'static str {
        "known branches"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if !graph.nodes.iter().any(|node| node.is("If")) {
            return Ok(0);
        }
        // Knows more than the graph, which keeps what it computes.
        let mut known = graph.without_nodes();
        let mut rest = VecDeque::from(graph.nodes.clone());
        let (mut nodes, mut count) = (Vec::with_capacity(rest.len()), 0);
        while let Some(node) = rest.pop_front() {
            if let Some(branch) = taken(&known, &node)
                && let Some(inner) = graph.inline(&node, branch)
            {
                known.take_weights_of(graph);
                inner.into_iter().rev().for_each(|node| rest.push_front(node));
                count += 1;
                continue;
            }
            match (canonical::evaluate(&known, &node), &node.output[..]) {
                (Some(value), [name]) => known.set_constant(name, value),
                _ => known.find_specs_of(&node),
            }
            nodes.push(node);
        }
        if count > 0 {
            for name in nodes.iter().flat_map(|node| &node.output) {
                if let Some(spec) = known.spec(name) {
                    graph.set_spec(name, spec.dtype, spec.shape);
                }
            }
            graph.nodes = nodes;
        }
        Ok(count)
    }
}

/// The branch that an `If` takes, where its condition is known.
fn taken<'n>(known: &Graph, node: &'n NodeProto) -> Option<&'n GraphProto> {
    if !node.is("If") {
        return None;
    }
    let condition: Vec<bool> = known.constant(node.input.first()?)?.to_vec().ok()?;
    let [condition] = condition[..] else { return None };
    let branch = if condition { "then_branch" } else { "else_branch" };
    node.stated(branch)?.g.as_ref()
}
