//! Values that follow from constants and from sizes that are known: they become constants. Then the shapes of what
//! is reshaped by them are known as well.

use super::captured_names;
use super::evaluate::evaluate;
use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::passes::Pass;

/// Computes what is known.
pub(in crate::export::passes) struct KnownValues;

impl Pass for KnownValues {
    fn name(&self) -> &'static str {
        "known values"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut kept = captured_names(graph);
        kept.extend(graph.output_names().map(str::to_owned));
        let before = std::mem::take(&mut graph.nodes);
        let mut count = 0;
        for node in before {
            if let [y] = &node.output[..]
                && !kept.contains(y)
                && let Some(value) = evaluate(graph, &node)
            {
                graph.set_constant(y, value);
                count += 1;
                continue;
            }
            graph.find_specs_of(&node);
            graph.nodes.push(node);
        }
        Ok(count)
    }
}
