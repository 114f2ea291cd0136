//! Activations as models have them: `Relu` and `Gelu` as operators, and a `Gelu` written out, in whatever order.
//! A written one is known by what it computes: its numbers are compared with those of the definitions
//! (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016).

use std::collections::BTreeSet;

use half::{bf16, f16};

use crate::export::graph::{Graph, Wiring};
use crate::spec::DType;

/// Which activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActivationKind {
    Relu,
    /// The exact one.
    Gelu,
    /// That of the hyperbolic tangent.
    TanhGelu,
}

/// An activation of one value.
#[derive(Debug)]
pub(super) struct Activation<'a> {
    pub(super) kind: ActivationKind,
    pub(super) source: &'a str,
    pub(super) result: &'a str,
    /// Its nodes.
    pub(super) nodes: Vec<usize>,
}

/// More nodes than any way of writing one takes.
const MOST_NODES: usize = 12;

/// Where the numbers are compared, and how near they are when constants have 8 bits of mantissa.
const SAMPLES: [f64; 7] = [-4.0, -2.0, -0.7, 0.3, 1.0, 2.0, 5.0];
const TOLERANCE: f64 = 4e-3;

/// The activation that gives a value.
pub(super) fn giving<'a>(wiring: &Wiring<'a>, result: &'a str) -> Option<Activation<'a>> {
    let at = wiring.producer(result)?;
    let node = wiring.node(at);
    let whole =
        |kind, source: &'a String| Some(Activation { kind, source, result, nodes: vec![at] });
    match (node.op_type(), &node.input[..]) {
        _ if !node.is_default() => None,
        ("Relu", [source]) => whole(ActivationKind::Relu, source),
        ("Gelu", [source]) => {
            let tanh = node.stated("approximate").is_some_and(|form| form.s() == b"tanh");
            whole(if tanh { ActivationKind::TanhGelu } else { ActivationKind::Gelu }, source)
        }
        // The last step of a written one.
        ("Mul" | "Div", [_, _]) => written(wiring, result),
        _ => None,
    }
}

/// The activation that a value goes into, if nothing else reads the value, nor anything within.
pub(super) fn of<'a>(wiring: &Wiring<'a>, source: &str) -> Option<Activation<'a>> {
    let mut next: BTreeSet<usize> = wiring.readers(source).iter().copied().collect();
    let mut seen = 0;
    while let Some(at) = next.pop_first() {
        let [result] = &wiring.node(at).output[..] else { return None };
        let found = giving(wiring, result).filter(|found| found.source == source);
        if let Some(found) = found {
            let inner = |name: &str| {
                let readers = wiring.readers(name);
                !wiring.is_output(name) && readers.iter().all(|at| found.nodes.contains(at))
            };
            let within = found.nodes.iter().filter_map(|&at| wiring.node(at).output.first());
            let alone = within.filter(|name| **name != *result).all(|name| inner(name));
            return (alone && inner(source)).then_some(found);
        }
        seen += 1;
        if seen > MOST_NODES {
            return None;
        }
        next.extend(wiring.readers(result));
    }
    None
}

/// A `Gelu` that is written out, whose last step gives `result`.
fn written<'a>(wiring: &Wiring<'a>, result: &'a str) -> Option<Activation<'a>> {
    // All that may be the value it is of: what its steps read, from the last one backwards.
    let mut sources: Vec<&str> = Vec::new();
    let mut steps = vec![wiring.producer(result)?];
    let mut kind = None;
    let mut next = 0;
    while let Some(&at) = steps.get(next) {
        next += 1;
        let node = wiring.node(at);
        match node.op_type() {
            "Erf" => kind = Some(ActivationKind::Gelu),
            "Tanh" => kind = Some(ActivationKind::TanhGelu),
            _ => {}
        }
        for name in &node.input {
            if number(wiring.graph, name).is_some() || sources.contains(&name.as_str()) {
                continue;
            }
            sources.push(name);
            let step = wiring.producer(name).filter(|&at| is_step(wiring.node(at).op_type()));
            steps.extend(step.filter(|at| !steps.contains(at)));
        }
        if steps.len() > 2 * MOST_NODES {
            break;
        }
    }
    let kind = kind?;
    sources.into_iter().find_map(|source| {
        let mut nodes = BTreeSet::new();
        for x in SAMPLES {
            let y = computed(wiring, result, source, x, &mut nodes, MOST_NODES)?;
            let expected = if kind == ActivationKind::Gelu { gelu(x) } else { tanh_gelu(x) };
            if (y - expected).abs() > TOLERANCE {
                return None;
            }
        }
        let nodes: Vec<usize> = nodes.into_iter().collect();
        (nodes.len() <= MOST_NODES).then_some(Activation { kind, source, result, nodes })
    })
}

/// The operators that a written `Gelu` is made of.
fn is_step(operator: &str) -> bool {
    matches!(operator, "Add" | "Div" | "Erf" | "Identity" | "Mul" | "Neg" | "Pow" | "Sub" | "Tanh")
}

/// What the steps to a value compute where `source` is `x`; `None` where they read anything else.
fn computed(
    wiring: &Wiring<'_>,
    name: &str,
    source: &str,
    x: f64,
    nodes: &mut BTreeSet<usize>,
    depth: usize,
) -> Option<f64> {
    if name == source {
        return Some(x);
    }
    if let Some(number) = number(wiring.graph, name) {
        return Some(number);
    }
    let depth = depth.checked_sub(1)?;
    let at = wiring.producer(name)?;
    let node = wiring.node(at);
    if !node.is_default() {
        return None;
    }
    nodes.insert(at);
    let mut input = |i: usize| computed(wiring, node.input.get(i)?, source, x, nodes, depth);
    Some(match node.op_type() {
        "Add" => input(0)? + input(1)?,
        "Sub" => input(0)? - input(1)?,
        "Mul" => input(0)? * input(1)?,
        "Div" => input(0)? / input(1)?,
        "Pow" => input(0)?.powf(input(1)?),
        "Erf" => erf(input(0)?),
        "Tanh" => input(0)?.tanh(),
        "Neg" => -input(0)?,
        "Identity" => input(0)?,
        _ => return None,
    })
}

/// The number that a constant of one element is.
/// The value of a constant float.
pub(super) fn number(graph: &Graph, name: &str) -> Option<f64> {
    let tensor = graph.constant(name).filter(|tensor| tensor.len() == 1)?;
    Some(match tensor.dtype() {
        DType::F32 => f64::from(tensor.to_vec::<f32>().ok()?[0]),
        DType::F64 => tensor.to_vec::<f64>().ok()?[0],
        DType::F16 => tensor.to_vec::<f16>().ok()?[0].to_f64(),
        DType::BF16 => tensor.to_vec::<bf16>().ok()?[0].to_f64(),
        _ => return None,
    })
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

fn tanh_gelu(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
    0.5 * x * (1.0 + inner.tanh())
}

/// The error function within 2e-7: Abramowitz and Stegun, "Handbook of Mathematical Functions", 7.1.26.
fn erf(x: f64) -> f64 {
    const A: [f64; 5] =
        [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let t = 1.0 / (1.0 + 0.327_591_1 * x.abs());
    let sum = A.iter().rev().fold(0.0, |sum, a| (sum + a) * t);
    (1.0 - sum * (-x * x).exp()).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Result;
    use crate::export::graph::{GraphBuilder, Value};

    fn found(body: impl Fn(&Value) -> Result<Value>) -> Option<(ActivationKind, String, usize)> {
        let graph = GraphBuilder::new("activation");
        let x = graph.input("x", DType::F32, [2, 4]).unwrap();
        let y = body(&x.affine(1.0, 3.0).unwrap()).unwrap();
        let built = graph.graph();
        let wiring = Wiring::of(&built);
        let found = giving(&wiring, y.name())?;
        let source = wiring.node(wiring.producer(found.source)?).op_type().to_owned();
        Some((found.kind, source, found.nodes.len()))
    }

    #[test]
    fn a_gelu_is_known_however_it_is_written() {
        let half = |x: &Value| x.affine(0.5, 0.0);
        let gate = |x: &Value| x.affine(1.0 / 2f64.sqrt(), 0.0)?.erf()?.affine(1.0, 1.0);
        // x (1 + erf(x / √2)) / 2, in the orders that exporters have.
        let exact = |nodes| Some((ActivationKind::Gelu, "Add".to_owned(), nodes));
        assert_eq!(found(|x| half(&x.mul(&gate(x)?)?)), exact(5));
        assert_eq!(found(|x| half(x)?.mul(&gate(x)?)), exact(5));
        assert_eq!(found(|x| gate(x)?.mul(&half(x)?)), exact(5));
        assert_eq!(found(|x| x.mul(&half(&gate(x)?)?)), exact(5));
        let divided = |x: &Value| x.div(&x.scalar_like(2f64.sqrt())?)?.erf()?.affine(0.5, 0.5);
        assert_eq!(found(|x| x.mul(&divided(x)?)), exact(5));
        assert_eq!(found(|x| x.gelu_tanh()), Some((ActivationKind::TanhGelu, "Add".to_owned(), 9)));
        assert_eq!(found(Value::relu), Some((ActivationKind::Relu, "Add".to_owned(), 1)));
    }

    #[test]
    fn what_is_no_gelu_is_none() {
        let gate = |x: &Value, by: f64| x.affine(by, 0.0)?.erf()?.affine(1.0, 1.0);
        let root = 1.0 / 2f64.sqrt();
        assert_eq!(found(|x| x.mul(&gate(x, 0.75)?)?.affine(0.5, 0.0)), None, "another scale");
        assert_eq!(found(|x| x.mul(&gate(x, root)?)), None, "twice as much");
        assert_eq!(found(|x| x.exp()?.mul(&gate(x, root)?)?.affine(0.5, 0.0)), None, "two values");
        assert_eq!(found(Value::silu), None);
        assert_eq!(found(Value::tanh), None);
        assert_eq!(found(|x| x.mul(x)), None);
    }

    #[test]
    fn the_error_function_is_right() {
        for (x, y) in
            [(0.0, 0.0), (0.5, 0.520_499_877_8), (-1.0, -0.842_700_792_9), (2.0, 0.995_322_265)]
        {
            assert!((erf(x) - y).abs() < 3e-7, "{x}: {}", erf(x));
        }
    }
}
