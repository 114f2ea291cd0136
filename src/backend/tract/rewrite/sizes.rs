//! What follows from sizes, which tract computes with as expressions of symbols.

use super::Made;
use crate::backend::tract::gaps::view::{Sign, View, follows_c};
use crate::export::onnx::{GraphProto, NodeProto};
use crate::spec::DType;

/// Whether a node divides what sizes make less than 0. tract has the remainders of C for expressions, whatever `fmod` says,
/// and rounds quotients down where it takes a term out of a sum.
pub(super) fn divides_signed(node: &NodeProto, view: &View<'_>) -> bool {
    let sized = [0, 1].iter().all(|&input| view.is_sized(node, input));
    let sign = view.sign(node, 0).max(view.sign(node, 1));
    let remainder = node.op_type() == "Mod" && !follows_c(node);
    let enough = if remainder { Sign::Shortened } else { Sign::Negative };
    view.dtype(node, 0) == Some(DType::I64) && sized && sign >= Some(enough)
}

/// The ends of a range that follow from sizes, where the range goes backwards. tract counts such a range forwards.
pub(super) fn counted_backwards(node: &NodeProto, view: &View<'_>) -> Vec<usize> {
    let step = view.ints(node, 2).unwrap_or_default();
    if node.op_type() != "Range" || !step.iter().any(|&step| step < 0) {
        return Vec::new();
    }
    (0..2).filter(|&input| view.follows(&node.input[input])).collect()
}

/// Makes numbers of the outputs that follow from sizes. tract gives an expression as it is, without the sizes of the run.
pub(in crate::backend::tract) fn count_outputs(graph: &mut GraphProto, outer: &View<'_>) {
    let known = graph.clone();
    let view = outer.with(&known);
    let mut made = Made { prefix: String::new(), nodes: Vec::new() };
    for output in &mut graph.output {
        let name = output.name().to_owned();
        if view.follows(&name) && view.dtype_of(&name) == Some(DType::I64) {
            made.prefix = format!("{name}.counted");
            output.name = Some(made.counted(&name));
        }
    }
    graph.node.append(&mut made.nodes);
}

impl Made {
    /// Makes numbers of sizes that are computed with beside numbers of the inputs. tract takes all for expressions otherwise.
    pub(super) fn numbers(&mut self, node: &mut NodeProto, view: &View<'_>) {
        let places = match node.op_type() {
            "Add" | "Div" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual"
            | "Max" | "Min" | "Mod" | "Mul" | "Pow" | "Sub" => 0..node.input.len(),
            "Where" => 1..node.input.len(),
            _ => return,
        };
        let integers = view.dtype(node, places.start) == Some(DType::I64);
        if !integers || places.clone().all(|at| view.is_sized(node, at)) {
            return;
        }
        for at in places.filter(|&at| view.follows(&node.input[at])).collect::<Vec<_>>() {
            node.input[at] = self.counted(&node.input[at]);
        }
    }

    /// Whether sizes are the same, which tract answers before a run has the sizes.
    pub(super) fn equal_sizes(&mut self, node: &NodeProto, view: &View<'_>) -> Option<()> {
        let [a, b] = [node.input.first()?, node.input.get(1)?];
        let sized = [0, 1].iter().all(|&input| view.is_sized(node, input));
        if !sized || !(view.follows(a) || view.follows(b)) {
            return None;
        }
        // No size is below 0: files ask so for the sizes that a target leaves open.
        let below = |input| {
            let values = view.ints(node, input).unwrap_or_default();
            !values.is_empty() && values.iter().all(|&value| value < 0)
        };
        let never =
            |(constant, other)| below(constant) && view.sign(node, other) != Some(Sign::Shortened);
        if [(0, 1), (1, 0)].into_iter().any(never) {
            return None;
        }
        let no_less = self.op("GreaterOrEqual", &[a, b], &[]);
        let no_more = self.op("LessOrEqual", &[a, b], &[]);
        self.last(node, "And", &[&no_less, &no_more]);
        Some(())
    }

    /// The same node over numbers.
    pub(super) fn divided(&mut self, node: &NodeProto) {
        let [a, b] = [0, 1].map(|input| self.counted(&node.input[input]));
        let mut same = node.clone();
        same.input = vec![a, b];
        self.nodes.push(same);
    }
}
