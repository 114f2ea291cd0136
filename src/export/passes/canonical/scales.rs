//! Attention with queries and keys that are each multiplied by the root of the scale, as torch's exporter writes attention: the
//! queries alone are multiplied, by the scale.

use half::f16;

use crate::error::Result;
use crate::export::graph::{Graph, Wiring};
use crate::export::passes::Pass;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// One factor for a product of two scaled values.
pub(in crate::export::passes) struct OneScale;

/// A product, whose factors become one.
struct Scaled {
    product: usize,
    /// The node that scales the keys, and the keys.
    scaled: usize,
    keys: String,
    /// The node that scales the queries, and which of its inputs is the factor.
    queries: (usize, usize),
    factor: HostTensor,
}

impl Pass for OneScale {
    fn name(&self) -> &'static str {
        "one scale"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let wiring = Wiring::of(graph);
        let found: Vec<Scaled> =
            (0..graph.nodes.len()).filter_map(|at| scaled(&wiring, at)).collect();
        for scaled in &found {
            let factor = graph.add_constant("scale", scaled.factor.clone());
            let (node, input) = scaled.queries;
            graph.nodes[node].input[input] = factor;
            graph.nodes[scaled.product].input[1] = scaled.keys.clone();
        }
        let left: Vec<usize> = found.iter().map(|scaled| scaled.scaled).collect();
        let mut at = 0;
        graph.nodes.retain(|_| {
            at += 1;
            !left.contains(&(at - 1))
        });
        Ok(found.len())
    }
}

fn scaled(wiring: &Wiring<'_>, product: usize) -> Option<Scaled> {
    let node = wiring.node(product);
    let (true, [queries, keys]) = (node.is("MatMul"), &node.input[..]) else { return None };
    let (queries, _, by, at) = factor(wiring, queries)?;
    let (scaled, keys, also_by, _) = factor(wiring, keys)?;
    let small = |factor: f32| factor > 0.0 && factor <= 1.0;
    // A factor over 1 could overflow in the queries alone.
    let fits = queries != scaled && small(by.1) && small(also_by.1) && by.0 == also_by.0;
    let factor = match by.0 {
        DType::F16 => HostTensor::scalar(f16::from_f32(by.1 * also_by.1)),
        _ => HostTensor::scalar(by.1 * also_by.1),
    };
    fits.then(|| Scaled { product, scaled, keys: keys.to_owned(), queries: (queries, at), factor })
}

/// The node that multiplies a value by one number, which its reader alone reads: with what it multiplies, the number,
/// and which input the number is.
fn factor<'a>(wiring: &Wiring<'a>, value: &str) -> Option<(usize, &'a str, (DType, f32), usize)> {
    wiring.only_reader(value)?;
    let at = wiring.producer(value)?;
    let node = wiring.node(at);
    let (true, [a, b]) = (node.is("Mul"), &node.input[..]) else { return None };
    let number = |name: &str| {
        let tensor = wiring.graph.constant(name).filter(|tensor| tensor.len() == 1)?;
        let number = match tensor.dtype() {
            DType::F32 => tensor.to_vec::<f32>().ok()?[0],
            DType::F16 => tensor.to_vec::<f16>().ok()?[0].to_f32(),
            _ => return None,
        };
        (tensor.shape().len() <= 1).then_some((tensor.dtype(), number))
    };
    match (number(a), number(b)) {
        (None, Some(by)) => Some((at, a, by, 1)),
        (Some(by), None) => Some((at, b, by, 0)),
        _ => None,
    }
}
