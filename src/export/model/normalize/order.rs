//! Nodes in an order in which each reads what came before, and node names that differ.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use super::names::{self, Names};
use crate::error::{Error, ErrorKind, Result};
use crate::export::model::walk;
use crate::export::onnx::GraphProto;

/// Sorts the nodes of a graph and of its bodies; what is in order stays as it is.
///
/// # Errors
/// [`ErrorKind::InvalidModel`] for nodes that need each other.
pub(in crate::export::model) fn sort(graph: &mut GraphProto) -> Result<()> {
    for node in &mut graph.node {
        let place = walk::label(node);
        walk::bodies_mut(node).try_for_each(sort).map_err(|e| e.in_operation(place))?;
    }
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            makers.entry(name).or_insert(i);
        }
    }
    let needs: Vec<HashSet<usize>> = graph
        .node
        .iter()
        .map(|node| {
            names::reads(node).iter().filter_map(|name| makers.get(name).copied()).collect()
        })
        .collect();
    if needs.iter().enumerate().all(|(i, needs)| needs.iter().all(|&need| need < i)) {
        return Ok(());
    }
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (i, needs) in needs.iter().enumerate() {
        needs.iter().for_each(|&need| readers[need].push(i));
    }
    let mut missing: Vec<usize> = needs.iter().map(HashSet::len).collect();
    let ready = missing.iter().enumerate().filter(|(_, missing)| **missing == 0);
    let mut ready: BinaryHeap<_> = ready.map(|(i, _)| Reverse(i)).collect();
    let mut order = Vec::with_capacity(needs.len());
    while let Some(Reverse(i)) = ready.pop() {
        order.push(i);
        for &reader in &readers[i] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if let Some(stuck) = missing.iter().position(|&missing| missing > 0) {
        let node = &graph.node[stuck];
        let name = node.output.first().map_or("", String::as_str);
        let text = "the node needs its own result, by way of others or itself";
        return Err(Error::new(ErrorKind::InvalidModel, text)
            .in_operation(walk::label(node))
            .on_tensor(walk::short(name)));
    }
    let mut nodes: Vec<_> = std::mem::take(&mut graph.node).into_iter().map(Some).collect();
    graph.node = order.into_iter().filter_map(|i| nodes[i].take()).collect();
    Ok(())
}

/// Gives nodes of one graph that share a name another; ONNX Runtime refuses such graphs.
pub(in crate::export) fn name_nodes_apart(graph: &mut GraphProto) {
    let names: HashSet<String> = graph.node.iter().map(|node| node.name().to_owned()).collect();
    let mut names = Names::from(names);
    let mut seen = HashSet::new();
    for node in &mut graph.node {
        walk::bodies_mut(node).for_each(name_nodes_apart);
        if !node.name().is_empty() && !seen.insert(node.name().to_owned()) {
            node.name = Some(names.unique(node.name()));
        }
    }
}
