//! `Identity` nodes are left out: readers of such a node read the node's input. Torch's exporter names equal weights through
//! `Identity` nodes.

use std::collections::HashMap;

use super::captured_names;
use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::passes::Pass;

/// Leaves `Identity` nodes out.
pub(in crate::export::passes) struct Identities;

impl Pass for Identities {
    fn name(&self) -> &'static str {
        "identities"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        // Outputs keep their names, and bodies read by the name that they have.
        let mut kept = captured_names(graph);
        kept.extend(graph.output_names().map(str::to_owned));
        let mut sources: HashMap<String, String> = HashMap::new();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for mut node in std::mem::take(&mut graph.nodes) {
            for name in &mut node.input {
                if let Some(source) = sources.get(name) {
                    *name = source.clone();
                }
            }
            match (&node.input[..], &node.output[..]) {
                ([x], [y]) if node.is("Identity") && !x.is_empty() && !kept.contains(y) => {
                    sources.insert(y.clone(), x.clone());
                }
                _ => nodes.push(node),
            }
        }
        graph.nodes = nodes;
        Ok(sources.len())
    }
}
