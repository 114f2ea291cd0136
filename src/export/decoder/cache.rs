//! Keys and values of a pass written into their cache: in place where the target can, else by choosing for each
//! position between what was there and what is new.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, GraphBuilder, Value};
use crate::tensor::HostTensor;

/// Where the tokens of one pass are written.
pub(super) enum Places {
    /// The first of them, `[b]`.
    First(Value),
    /// Which token, if any, each place of the cache gets.
    Chosen {
        /// Whether it gets one, `[b, 1, capacity, 1]`.
        any: Value,
        /// Which, as 0 and 1, `[b, 1, capacity, t]`; `None` where there is one token.
        which: Option<Value>,
    },
}

impl Places {
    /// Those of `positions`, `[b, t]`.
    pub(super) fn new(
        graph: &GraphBuilder,
        target: Target,
        positions: &Value,
        capacity: usize,
    ) -> Result<Self> {
        if target.writes_caches_in_place() {
            return Ok(Self::First(positions.slice(1, 0, Some(1))?.squeeze(&[1])?));
        }
        let all: Vec<i64> = (0..capacity as i64).collect();
        let all = graph.constant("places", HostTensor::from_vec([capacity, 1], all)?);
        let hits = all.equal(&positions.unsqueeze(&[1])?)?.unsqueeze(&[1])?;
        if positions.dims()[1].fixed() == Some(1) {
            return Ok(Self::Chosen { any: hits, which: None });
        }
        let which = hits.cast(crate::spec::DType::F32)?;
        let any = which.reduced("ReduceMax", &[3], true)?;
        let any = any.greater(&any.scalar_like(0.5)?)?;
        Ok(Self::Chosen { any, which: Some(which) })
    }

    /// The cache with `new`, `[b, heads, t, head size]`, in its places.
    pub(super) fn write(&self, cache: &Value, new: &Value) -> Result<Value> {
        match self {
            Self::First(first) => write_in_place(cache, new, first),
            Self::Chosen { any, which: None } => any.select(new, cache),
            Self::Chosen { any, which: Some(which) } => {
                // A sum of one number and zeros is that number.
                let spread = which.cast(new.dtype())?.matmul(new)?;
                any.select(&spread, cache)
            }
        }
    }
}

/// A cache with `new`, `[b, heads, t, head size]`, in the memory of the cache, from the places `first`, `[b]`, on.
pub(in crate::export) fn write_in_place(
    cache: &Value,
    new: &Value,
    first: &Value,
) -> Result<Value> {
    let node = cache.graph().node("TensorScatter").input(cache).input(new).input(first);
    let output = (cache.dtype(), cache.shape().clone());
    node.attr("axis", -2).outputs([output]).build()
}

/// Gives caches that are written in place to the graph's outputs without an `Identity` between: only what writes a
/// cache may be the output that shares the input's memory.
pub(in crate::export) fn give_directly(graph: &mut Graph) {
    let written: Vec<String> = graph
        .nodes
        .iter()
        .filter(|node| node.op_type() == "TensorScatter")
        .flat_map(|node| node.output.clone())
        .collect();
    for name in written {
        let Some(at) = graph
            .nodes
            .iter()
            .position(|node| node.op_type() == "Identity" && node.input.first() == Some(&name))
        else {
            continue;
        };
        let output = graph.nodes.remove(at).output.swap_remove(0);
        for node in &mut graph.nodes {
            for known in
                node.input.iter_mut().chain(&mut node.output).filter(|known| **known == name)
            {
                known.clone_from(&output);
            }
        }
    }
}
