//! Chains of nodes that need the range or the digits of 32 bits, found by what their values are: sums that are not
//! divided yet, numbers that will divide, masks of huge constants, counts. A [`Need`] goes from a value to what is
//! computed of it, until a node bounds it. No types and no casts here.

use std::collections::{HashMap, HashSet};

use super::operators;
use crate::export::onnx::NodeProto;

/// Why a value cannot be narrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It may lie beyond the range: a sum, a square, an exponential, a huge constant.
    Range,
    /// It may be tiny, and something is divided by it.
    Divisor,
    /// One over such a number.
    Factor,
    /// All of it may be tiny.
    Small,
    /// It counts.
    Count,
    /// The model states that it is of 32 bits, where it has fewer elsewhere.
    Stated,
}

impl Need {
    /// For people.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Range => "may lie beyond the range",
            Self::Divisor => "divides, and may be tiny",
            Self::Factor => "is one over a number that may be tiny",
            Self::Small => "may vanish",
            Self::Count => "counts, and needs its digits",
            Self::Stated => "is of 32 bits by the model's own cast",
        }
    }
}

/// What a node makes of the needs of its inputs: that of what it gives. Constants have none here.
///
/// `scaled` says that all its other inputs are constants, of which none is huge.
pub(super) fn after(node: &NodeProto, needs: &[Option<Need>], scaled: bool) -> Option<Need> {
    let operator = node.op_type();
    let strongest = needs.iter().flatten().copied();
    let need = strongest.min_by_key(|need| match need {
        Need::Stated => 0,
        Need::Range => 1,
        Need::Divisor => 2,
        Need::Factor => 3,
        Need::Small => 4,
        Need::Count => 5,
    })?;
    let divisor = needs.get(1).copied().flatten();
    match (need, operator) {
        (Need::Stated, _) => Some(Need::Stated),
        (Need::Small, _) if operators::keeps_size(operator) => Some(Need::Small),
        _ if operators::bounds(operator) => None,
        // A quotient of a sum and its length or another sum.
        (_, "Div") if divisor.is_some() && needs[0].is_none() && scaled => Some(Need::Factor),
        (_, "Div") if divisor.is_some() => None,
        (Need::Range, "Sqrt") => Some(Need::Divisor),
        (Need::Range, "Reciprocal") => Some(Need::Factor),
        (Need::Range, _) => Some(Need::Range),
        (Need::Divisor, "Reciprocal") => Some(Need::Factor),
        (Need::Divisor, "Pow") => Some(Need::Factor),
        (Need::Divisor, "Add" | "Max" | "Clip" | "Where" | "Sqrt" | "Abs") => Some(Need::Divisor),
        (Need::Divisor, _) if operators::passes_on(operator) => Some(Need::Divisor),
        (Need::Divisor, "Mul" | "Div" | "Sub") if scaled => Some(Need::Divisor),
        (Need::Divisor, _) => None,
        (Need::Factor, "Mul" | "Div") if scaled => Some(Need::Factor),
        (Need::Factor, _) if operators::passes_on(operator) => Some(Need::Factor),
        (Need::Factor, _) => None,
        (Need::Small, "MatMul" | "Gemm" | "Conv") if scaled && node.input.len() == 2 => {
            Some(Need::Small)
        }
        (Need::Small, "Reciprocal") => Some(Need::Factor),
        (Need::Small, "Mul" | "Div") if scaled => Some(Need::Small),
        (Need::Small, _) => None,
        (Need::Count, _) if scaled || operators::passes_on(operator) => Some(Need::Count),
        (Need::Count, _) => {
            let all = needs.iter().all(|need| *need == Some(Need::Count));
            all.then_some(Need::Count)
        }
    }
}

/// Nodes that stay in 32 bits for what comes after them, by their place in the list.
pub(super) fn before(nodes: &[NodeProto]) -> HashMap<usize, &'static str> {
    let search = Search::of(nodes);
    let mut found = HashMap::new();
    for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_default()) {
        match node.op_type() {
            "Softmax" => search.scores(at, &mut found),
            "ReduceSum" | "ReduceMean" | "GlobalAveragePool" => search.squares(at, &mut found),
            _ => {}
        }
    }
    found
}

/// The most nodes between a square and its sum, or a product and its softmax.
const MOST_BETWEEN: usize = 8;

pub(super) struct Search<'a> {
    nodes: &'a [NodeProto],
    makers: HashMap<&'a str, usize>,
    readers: HashMap<&'a str, usize>,
}

impl<'a> Search<'a> {
    pub(super) fn of(nodes: &'a [NodeProto]) -> Self {
        let mut makers = HashMap::new();
        let mut readers = HashMap::new();
        for (at, node) in nodes.iter().enumerate() {
            makers.extend(node.output.iter().map(|name| (name.as_str(), at)));
            for name in &node.input {
                *readers.entry(name.as_str()).or_insert(0) += 1;
            }
        }
        Self { nodes, makers, readers }
    }

    fn maker(&self, name: &str) -> Option<usize> {
        self.makers.get(name).copied()
    }

    /// What changes the scores before a softmax, in the same 32 bits: TensorRT-RTX writes all of it into one kernel
    /// with the products, in whatever type these are.
    fn scores(&self, softmax: usize, found: &mut HashMap<usize, &'static str>) {
        for at in self.changes(softmax) {
            found.insert(at, "it changes the scores of a softmax");
        }
    }

    /// The nodes between a product of matrices and the softmax of it; none where there is no such product.
    fn changes(&self, softmax: usize) -> Vec<usize> {
        let mut changes = Vec::new();
        self.product(softmax, &mut changes).map(|_| changes).unwrap_or_default()
    }

    /// The product of which a softmax is, through what changes it.
    pub(super) fn product(&self, softmax: usize, changes: &mut Vec<usize>) -> Option<usize> {
        let mut name = self.nodes[softmax].input.first()?.as_str();
        for _ in 0..MOST_BETWEEN {
            let at = self.maker(name)?;
            let node = &self.nodes[at];
            if node.is("MatMul") {
                return Some(at);
            }
            let changing = matches!(
                node.op_type(),
                "Add" | "Sub" | "Mul" | "Div" | "Where" | "Reshape" | "Unsqueeze" | "Squeeze"
            );
            if !changing || self.readers.get(name) != Some(&1) {
                return None;
            }
            changes.push(at);
            let from_product = |name: &&String| self.leads_to_product(name, MOST_BETWEEN);
            name = node.input.iter().find(from_product)?;
        }
        None
    }

    fn leads_to_product(&self, name: &str, depth: usize) -> bool {
        let Some(node) = self.maker(name).map(|at| &self.nodes[at]) else { return false };
        let changing = matches!(
            node.op_type(),
            "Add" | "Sub" | "Mul" | "Div" | "Where" | "Reshape" | "Unsqueeze" | "Squeeze"
        );
        node.is("MatMul")
            || depth > 0
                && changing
                && node.input.iter().any(|input| self.leads_to_product(input, depth - 1))
    }

    /// Squares that a reduction adds up, and the difference to a mean that is squared.
    fn squares(&self, reduction: usize, found: &mut HashMap<usize, &'static str>) {
        let mut names: Vec<&str> =
            self.nodes[reduction].input.first().map(|n| &**n).into_iter().collect();
        let mut seen = HashSet::new();
        while let Some(name) = names.pop() {
            let Some(at) = self.maker(name).filter(|at| seen.insert(*at)) else { continue };
            let node = &self.nodes[at];
            let power = node.is("Pow") || node.is("Mul") && node.input[0] == node.input[1];
            if power {
                found.insert(at, "it is squared and then added up");
                found.entry(reduction).or_insert("it adds up squares");
                self.difference(&node.input[0], found);
            } else if seen.len() < MOST_BETWEEN
                && (operators::passes_on(node.op_type()) || matches!(node.op_type(), "Mul" | "Add"))
            {
                names.extend(node.input.iter().map(String::as_str));
            }
        }
    }

    fn difference(&self, squared: &str, found: &mut HashMap<usize, &'static str>) {
        let Some(at) = self.maker(squared).filter(|at| self.nodes[*at].is("Sub")) else { return };
        let mean = self.maker(&self.nodes[at].input[1]);
        if let Some(mean) = mean.filter(|mean| self.nodes[*mean].is("ReduceMean")) {
            found.insert(at, "it is a difference to a mean, whose squares are added up");
            found.insert(mean, "its differences are squared and added up");
        }
    }
}
