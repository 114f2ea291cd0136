//! What is computed just before an operator that needs the digits of what it reads: an angle, a position, a number that
//! becomes an integer. That the operator stays in 32 bits gains nothing where its argument was rounded before.

use std::collections::{HashMap, HashSet, VecDeque};

use super::operators;
use crate::export::onnx::{self, NodeProto};

/// Why such a node stays in 32 bits.
pub(super) const REASON: &str =
    "it gives an angle, a position or an integer, which need their digits";

/// The most nodes between a value and such an operator.
const MOST_BETWEEN: usize = 8;

/// A product stays too if a factor of this size comes after it: half precision keeps numbers near 1 to 1/2048, and the
/// factor makes an eighth of that.
const LARGE: f32 = 256.0;

/// The places of these nodes. `largest` gives the largest magnitude of a constant.
pub(super) fn before(nodes: &[NodeProto], largest: impl Fn(&str) -> Option<f32>) -> HashSet<usize> {
    let outputs = nodes
        .iter()
        .enumerate()
        .flat_map(|(at, node)| node.output.iter().map(move |name| (name.as_str(), at)));
    let makers: HashMap<&str, usize> = outputs.collect();
    let starts = nodes.iter().filter(|node| node.is_default()).flat_map(read_exactly);
    let mut names: VecDeque<(&str, usize, bool)> =
        starts.map(|name| (name.as_str(), 0, false)).collect();
    let mut found = HashSet::new();
    let mut seen = HashSet::new();
    while let Some((name, between, large)) = names.pop_front() {
        let Some(&at) = makers.get(name) else { continue };
        let node = &nodes[at];
        if large && node.is_default() && matches!(node.op_type(), "MatMul" | "Gemm" | "Conv") {
            found.insert(at);
        }
        if between == MOST_BETWEEN || !is_elementwise(node) || !seen.insert((at, large)) {
            continue;
        }
        found.insert(at);
        let large = large || enlarges(node, &largest);
        names.extend(node.input.iter().map(|name| (name.as_str(), between + 1, large)));
    }
    found
}

/// The inputs whose digits an operator needs.
fn read_exactly(node: &NodeProto) -> &[String] {
    let (from, count) = match node.op_type() {
        "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Cos" | "Cosh" | "Sin"
        | "Sinh" | "Tan" | "Ceil" | "Floor" | "Round" | "OneHot" | "AffineGrid" => (0, 1),
        "Cast" if becomes_integer(node) => (0, 1),
        "Mod" => (0, 2),
        "Range" => (0, 3),
        "GridSample" | "RoiAlign" | "MaxRoiPool" => (1, 1),
        _ => (0, 0),
    };
    node.input.get(from..from + count).unwrap_or_default()
}

fn becomes_integer(node: &NodeProto) -> bool {
    let to = node.stated("to").and_then(|to| i32::try_from(to.i()).ok());
    to.and_then(|to| onnx::from_onnx(to).ok()).is_some_and(|dtype| dtype.is_int())
}

fn is_elementwise(node: &NodeProto) -> bool {
    let operator = node.op_type();
    let computes = matches!(
        operator,
        "Abs"
            | "Add"
            | "Clip"
            | "Div"
            | "Max"
            | "Min"
            | "Mul"
            | "Neg"
            | "Pow"
            | "Reciprocal"
            | "Relu"
            | "Sigmoid"
            | "Sqrt"
            | "Sub"
            | "Tanh"
            | "Where"
    );
    node.is_default() && (computes || operators::passes_on(operator))
}

/// Whether a node multiplies by a large constant.
fn enlarges(node: &NodeProto, largest: impl Fn(&str) -> Option<f32>) -> bool {
    let mut constants =
        node.input.iter().enumerate().filter_map(|(i, name)| Some((i, largest(name)?)));
    constants.any(|(i, value)| match (node.op_type(), i) {
        ("Mul", _) => value >= LARGE,
        ("Div", 1) => value > 0.0 && value <= 1.0 / LARGE,
        _ => false,
    })
}
