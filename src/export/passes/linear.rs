//! Linear layers as a graph has them: `MatMul` and `Add`, or `Gemm`, of a weight and a bias that are known, with
//! the weight as it is or turned.

use std::sync::Arc;

use crate::export::graph::Wiring;
use crate::spec::TensorSpec;

/// A linear layer.
#[derive(Clone, Debug)]
pub(super) struct Linear {
    pub(super) x: TensorSpec,
    pub(super) weight: Arc<str>,
    pub(super) bias: Option<Arc<str>>,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Whether the weight is `[outputs, inputs]`.
    pub(super) transposed: bool,
    pub(super) y: Arc<str>,
    /// The node of its product.
    pub(super) product: usize,
    /// All its nodes, of which no other reads anything but `y`.
    pub(super) nodes: Vec<usize>,
}

impl Linear {
    /// All of a graph, in its order.
    pub(in crate::export::passes) fn all(wiring: &Wiring<'_>) -> Vec<Self> {
        (0..wiring.graph.nodes.len()).filter_map(|at| Self::at(wiring, at)).collect()
    }

    /// The layer whose product is at a node.
    fn at(wiring: &Wiring<'_>, at: usize) -> Option<Self> {
        let (node, graph) = (wiring.node(at), wiring.graph);
        let (x, weight) = (node.input.first()?, node.input.get(1)?);
        let mut nodes = vec![at];
        let (mut weight, mut transposed) = (weight.as_str(), false);
        let mut y = node.output.first()?.as_str();
        let mut bias = None;
        match node.op_type() {
            "Gemm" if node.is_default() => {
                let one = |name: &str| node.stated(name).is_none_or(|factor| factor.f() == 1.0);
                if node.int("transA", 0) != 0 || !one("alpha") || !one("beta") {
                    return None;
                }
                transposed = node.int("transB", 0) != 0;
                bias = node.input.get(2).map(String::as_str).filter(|name| !name.is_empty());
            }
            "MatMul" if node.is_default() => {
                if let Some(turn) = wiring.producer(weight) {
                    let turned = wiring.node(turn);
                    let order = turned.stated("perm").map(|perm| &perm.ints[..]);
                    if !turned.is("Transpose") || order.is_some_and(|order| order != [1, 0]) {
                        return None;
                    }
                    if wiring.only_reader(weight).is_some() {
                        nodes.insert(0, turn);
                    }
                    (weight, transposed) = (turned.input.first()?.as_str(), true);
                }
            }
            _ => return None,
        }
        let &[first, second] = graph.constant(weight)?.shape() else { return None };
        let (inputs, outputs) = if transposed { (second, first) } else { (first, second) };
        let known = |name: &str| graph.constant(name).is_some_and(|b| b.shape() == [outputs]);
        if node.op_type() == "MatMul"
            && let Some(sum) = wiring.only_reader(y)
            && let (true, [one, other]) = (wiring.node(sum).is("Add"), &wiring.node(sum).input[..])
        {
            let added = if one == y { other } else { one };
            if known(added) {
                bias = Some(added.as_str());
                nodes.push(sum);
                y = wiring.node(sum).output.first()?.as_str();
            }
        }
        let x = graph.spec(x).filter(|_| graph.constant(x).is_none())?;
        let whole = x.shape.rank() >= 2 && bias.is_none_or(known);
        whole.then(|| Self {
            x,
            weight: weight.into(),
            bias: bias.map(Into::into),
            inputs,
            outputs,
            transposed,
            y: y.into(),
            product: at,
            nodes,
        })
    }
}
