//! The most bytes of values that are alive at a time, node after node, as far as sizes are known.

use std::collections::HashMap;

use super::Scope;
use super::fact::{Fact, Size};
use crate::export::model::{tensors, walk};
use crate::export::onnx::{GraphProto, NodeProto};

/// Where a run has the most bytes of values at a time. A size that is not known counts as 1.
#[cfg_attr(not(any(feature = "ort", feature = "tract")), allow(dead_code))]
#[derive(Clone, Debug, Default)]
pub(crate) struct Peak {
    pub(crate) bytes: u64,
    /// The node.
    pub(crate) operation: String,
    /// The largest value that the node makes.
    pub(crate) tensor: String,
}

/// The most of a graph. `inner` has what is alive within the bodies of each node.
pub(super) fn most(graph: &GraphProto, scope: &Scope<'_>, inner: &[Peak]) -> Peak {
    let mut last: HashMap<&str, usize> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        reads(node, &mut |name| {
            last.insert(name, i);
        });
    }
    for output in &graph.output {
        last.insert(output.name(), usize::MAX);
    }
    let size = |name: &str| scope.facts.get(name).map_or(0, bytes);
    // Whoever gives the inputs has them all the time.
    let given = graph.input.iter().map(|input| size(input.name()));
    let mut live: u64 = given.fold(0, u64::saturating_add);
    let (mut peak, mut at) = (live, None);
    let mut made: HashMap<&str, u64> = HashMap::new();
    for (i, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            let bytes = size(name);
            live = live.saturating_add(bytes);
            made.insert(name, bytes);
        }
        let within = inner.get(i).map_or(0, |peak| peak.bytes);
        if live.saturating_add(within) > peak {
            (peak, at) = (live.saturating_add(within), Some(i));
        }
        let mut done = |name: &str| {
            if last.get(name).is_none_or(|&last| last == i) {
                live -= made.remove(name).unwrap_or(0);
            }
        };
        node.output.iter().for_each(|name| done(name));
        reads(node, &mut done);
    }
    let Some(i) = at else { return Peak { bytes: peak, ..Peak::default() } };
    let node = &graph.node[i];
    match inner.get(i).filter(|within| within.bytes > peak / 2) {
        Some(within) => Peak { bytes: peak, ..within.clone() },
        None => Peak {
            bytes: peak,
            operation: walk::label(node),
            tensor: walk::short(
                node.output.iter().max_by_key(|name| size(name)).map_or("", String::as_str),
            ),
        },
    }
}

/// Calls `f` with each name that a node reads, in its bodies too.
fn reads<'g>(node: &'g NodeProto, f: &mut dyn FnMut(&'g str)) {
    node.input.iter().for_each(|name| f(name));
    for body in walk::bodies(node) {
        body.node.iter().for_each(|node| reads(node, f));
        body.output.iter().for_each(|output| f(output.name()));
    }
}

fn bytes(fact: &Fact) -> u64 {
    let Some(shape) = &fact.shape else { return 0 };
    let known = shape.iter().filter_map(Size::known).map(i64::unsigned_abs);
    let count = known.fold(1u64, u64::saturating_mul);
    count.saturating_mul(tensors::bits(fact.dtype).unwrap_or(8)) / 8
}
