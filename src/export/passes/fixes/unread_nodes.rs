//! Nodes of which nothing reads a result. A reader that does not have such a node's operator would refuse a model that does not
//! need the node.

use std::collections::HashSet;

use crate::error::Result;
use crate::export::graph::{Graph, captured};
use crate::export::passes::Pass;

/// Leaves out what neither the outputs nor another node reads.
pub(in crate::export::passes) struct UnreadNodes;

impl Pass for UnreadNodes {
    fn name(&self) -> &'static str {
        "unread nodes"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut read: HashSet<&str> = graph.output_names().collect();
        let mut kept = vec![true; graph.nodes.len()];
        for (node, kept) in graph.nodes.iter().zip(&mut kept).rev() {
            *kept = node.output.iter().any(|name| read.contains(name.as_str()));
            if *kept {
                read.extend(node.input.iter().map(String::as_str).chain(captured(node)));
            }
        }
        let count = kept.iter().filter(|kept| !**kept).count();
        if count > 0 {
            let mut kept = kept.into_iter();
            graph.nodes.retain(|_| kept.next().unwrap_or(true));
        }
        Ok(count)
    }
}
