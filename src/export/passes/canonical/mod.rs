//! Roundabout forms of a graph, written plainly before other passes look for layers. Exporters name equal weights through an
//! `Identity`, compute sizes that are known, and turn axes back and forth. The plain forms compute the same. A graph in which no
//! other pass finds anything stays unchanged.

mod constants;
mod evaluate;
mod identity;
mod linear;
mod scales;
mod view;

pub(super) use constants::KnownValues;
pub(super) use evaluate::evaluate;
pub(super) use identity::Identities;
pub(super) use linear::RowsInOrder;
pub(super) use scales::OneScale;

use std::collections::HashSet;

use crate::export::graph::{Graph, captured};

/// Leaves out nodes whose results nothing reads.
fn prune(graph: &mut Graph) {
    let mut read: HashSet<String> = graph.output_names().map(str::to_owned).collect();
    let mut kept = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes).into_iter().rev() {
        if !node.output.is_empty() && !node.output.iter().any(|name| read.contains(name)) {
            continue;
        }
        read.extend(node.input.iter().cloned());
        read.extend(captured(&node).into_iter().map(str::to_owned));
        kept.push(node);
    }
    kept.reverse();
    graph.nodes = kept;
}

/// The names that bodies of branches and loops read from around them.
fn captured_names(graph: &Graph) -> HashSet<String> {
    graph.nodes.iter().flat_map(captured).map(str::to_owned).collect()
}
