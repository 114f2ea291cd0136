//! `softmax(q kᵗ, changed) v` on a list of nodes: the two products that are one kernel in half precision, and their
//! softmax. TensorRT-RTX writes one for products in half with everything between them in 32 bits, and none for
//! products in 32 bits.

use std::collections::{HashMap, HashSet};

use super::islands::Search;
use super::operators::{self, Narrowing};
use crate::export::onnx::NodeProto;

/// Both products, by their place in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attention {
    pub(super) scores: usize,
    pub(super) weighted: usize,
}

/// All in a list of nodes.
pub(super) fn all(nodes: &[NodeProto]) -> Vec<Attention> {
    let search = Search::of(nodes);
    let softmaxes = nodes.iter().enumerate().filter(|(_, node)| node.is("Softmax"));
    let found = softmaxes.filter_map(|(at, node)| {
        let scores = search.product(at, &mut Vec::new())?;
        let weighted = weighted(nodes, at, &node.output[0])?;
        Some(Attention { scores, weighted })
    });
    found.collect()
}

/// The product of the softmax with values, through what does nothing.
fn weighted(nodes: &[NodeProto], softmax: usize, name: &str) -> Option<usize> {
    let mut name = name;
    let mut from = softmax;
    loop {
        let later = nodes.iter().enumerate().skip(from + 1);
        let mut readers = later.filter(|(_, node)| node.input.iter().any(|input| input == name));
        let (at, node) = readers.next()?;
        if readers.next().is_some() {
            return None;
        }
        match node.op_type() {
            "MatMul" if node.input[0] == name => return Some(at),
            "Identity" | "Dropout" => (name, from) = (&node.output[0], at),
            _ => return None,
        }
    }
}

/// Products with what a softmax became in another way than by a cast, such as `Where(IsNaN(weights), 0, weights)`, as
/// torch writes it for rows without a key. TensorRT-RTX 1.6 fails to build them in half precision: it takes them for
/// attention (`mha_fusion.cpp: CHECK(is_softmax(…)) failed`).
pub(super) fn changed(nodes: &[NodeProto]) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, softmax) in nodes.iter().enumerate().filter(|(_, node)| node.is("Softmax")) {
        let mut names = vec![softmax.output[0].as_str()];
        let mut altered = HashSet::new();
        for (place, node) in nodes.iter().enumerate().skip(at + 1) {
            let read = node.input.iter().find(|input| names.contains(&input.as_str()));
            let Some(read) = read.map(String::as_str) else { continue };
            if node.is("MatMul") {
                found.extend((node.input[0] == read && altered.contains(read)).then_some(place));
            } else if node.is("Where") || node.is("Identity") || node.is("Dropout") {
                if node.is("Where") || altered.contains(read) {
                    altered.insert(node.output[0].as_str());
                }
                names.push(&node.output[0]);
            }
        }
    }
    found
}

/// The products with weights that give an attention its queries, keys and values, with what cuts heads from them: what
/// reads a normalization, whose values half precision holds, and is read by attention alone.
pub(super) fn fed(
    nodes: &[NodeProto],
    all: &[Attention],
    is_constant: impl Fn(&str) -> bool,
) -> HashSet<usize> {
    let makers: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)))
        .collect();
    let maker = |name: &str| makers.get(name).copied();
    let constant =
        |name: &str| is_constant(name) || maker(name).is_some_and(|at| nodes[at].is("Constant"));
    let operands = all.iter().flat_map(|Attention { scores, weighted }| {
        [&nodes[*scores].input[0], &nodes[*scores].input[1], &nodes[*weighted].input[1]]
    });
    let chain = |operand: &String| {
        let mut chain = Vec::new();
        let mut name = operand.as_str();
        loop {
            let at = maker(name)?;
            let node = &nodes[at];
            chain.push(at);
            let [first, second] = [0, 1].map(|i| node.input.get(i).map_or("", String::as_str));
            let product = matches!(node.op_type(), "MatMul" | "Gemm") && constant(second);
            if product {
                let normalizes = |at: usize| operators::kind(&nodes[at]) == Narrowing::Normalizes;
                return maker(first).is_some_and(normalizes).then_some(chain);
            }
            name = match node.op_type() {
                "Reshape" | "Transpose" | "Slice" | "Split" | "Squeeze" | "Unsqueeze"
                | "Identity" => first,
                "Add" | "Mul" if constant(first) => second,
                "Add" | "Mul" | "Div" if constant(second) => first,
                _ => return None,
            };
        }
    };
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        node.input.iter().for_each(|name| readers.entry(name).or_default().push(at));
    }
    let mut chains: Vec<Vec<usize>> = operands.filter_map(chain).collect();
    let products: HashSet<usize> = all.iter().flat_map(|own| [own.scores, own.weighted]).collect();
    loop {
        let within: HashSet<usize> = chains.iter().flatten().copied().collect();
        let reads = |name: &String| {
            let readers = readers.get(name.as_str()).map(Vec::as_slice).unwrap_or_default();
            readers.iter().all(|at| within.contains(at) || products.contains(at))
        };
        let before = chains.len();
        chains.retain(|chain| chain.iter().all(|at| nodes[*at].output.iter().all(reads)));
        if chains.len() == before {
            return within;
        }
    }
}
