//! An activation before a product. TensorRT-RTX 1.6.1 computes another product: the product of a linear layer with bias, behind
//! its `Relu` or `Gelu`, comes out wrong by tens of percent. This was seen on an H200, in fp32 and fp16, whatever the other
//! factor is. The product is right without bias, with any other activation, and with a bound between activation and product.
//! A bound is written between the two.

use crate::error::Result;
use crate::export::graph::{Graph, Wiring, scalar};
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::{Pass, activation};
use crate::spec::DType;

/// Below all that the activations give: the least of `Gelu` is -0.17.
const LEAST: f64 = -1.0;

/// The operator set from which on `Clip` takes its bounds as inputs.
const BOUNDS_AS_INPUTS: i64 = 11;

/// Puts a bound between an activation and the product that reads it.
pub(in crate::export::passes) struct GatedActivation;

impl Pass for GatedActivation {
    fn name(&self) -> &'static str {
        "gated activation"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let found = products(graph);
        let (count, opset) = (found.len(), graph.opset());
        let mut found = found.into_iter().peekable();
        let nodes = std::mem::take(&mut graph.nodes);
        for (i, mut node) in nodes.into_iter().enumerate() {
            while let Some((_, factor, dtype)) = found.next_if(|(at, ..)| *at == i) {
                let bounded = graph.fresh(&format!("{factor}.bounded"));
                let mut clip = NodeProto {
                    name: Some(bounded.clone()),
                    op_type: Some("Clip".into()),
                    input: vec![factor.clone()],
                    output: vec![bounded.clone()],
                    ..Default::default()
                };
                if opset >= BOUNDS_AS_INPUTS {
                    clip.input.push(graph.add_constant("least", scalar(dtype, LEAST)?));
                } else {
                    clip.attribute.push(Attribute::Float(LEAST as f32).to_proto("min"));
                }
                if let Some(spec) = graph.spec(&factor) {
                    graph.set_spec(&bounded, spec.dtype, spec.shape);
                }
                graph.nodes.push(clip);
                for input in node.input.iter_mut().filter(|input| **input == factor) {
                    input.clone_from(&bounded);
                }
            }
            graph.nodes.push(node);
        }
        Ok(count)
    }
}

/// The products, each with a factor that needs a bound, and its type.
fn products(graph: &Graph) -> Vec<(usize, String, DType)> {
    let wiring = Wiring::of(graph);
    let mut found = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.is("Mul")) {
        for (place, factor) in node.input.iter().enumerate() {
            let twice = node.input[..place].contains(factor);
            if twice || !is_fused_activation(&wiring, factor) {
                continue;
            }
            match dtype(&wiring, factor) {
                Some(dtype) => found.push((i, factor.clone(), dtype)),
                None => tracing::warn!(
                    target: "accelerant::export",
                    "the type of `{factor}` is not known: TensorRT may compute the product `{}` wrongly",
                    node.name()
                ),
            }
        }
    }
    found
}

/// Whether a value is the activation of what may be a linear layer with bias.
fn is_fused_activation<'a>(wiring: &Wiring<'a>, name: &'a str) -> bool {
    let Some(activation) = activation::giving(wiring, behind(wiring, name)) else { return false };
    let source = wiring.producer(behind(wiring, activation.source));
    source.is_some_and(|at| matches!(wiring.node(at).op_type(), "Gemm" | "Add" | "Sub" | "Sum"))
}

/// What a value is that only passes through nodes that do nothing, which TensorRT leaves out.
fn behind<'a>(wiring: &Wiring<'a>, name: &'a str) -> &'a str {
    let mut name = name;
    while let Some(at) = wiring.producer(name) {
        let node = wiring.node(at);
        let nothing = node.is("Identity") || node.is("Dropout");
        let (true, Some(input)) = (nothing, node.input.first()) else { break };
        name = input;
    }
    name
}

/// The type of a value, or of what it is computed from, elementwise and by products, which keep it.
fn dtype<'a>(wiring: &Wiring<'a>, name: &'a str) -> Option<DType> {
    let mut next = vec![name];
    for _ in 0..64 {
        let name = next.pop()?;
        if let Some(spec) = wiring.graph.spec(name).filter(|spec| spec.dtype.is_float()) {
            return Some(spec.dtype);
        }
        let node = wiring.node(wiring.producer(name)?);
        next.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::export::{GraphBuilder, Target};
    use crate::spec::DType;
    use crate::tensor::HostTensor;

    fn operators(target: Target, biased: bool) -> Vec<String> {
        let graph = GraphBuilder::for_target("products", target);
        let x = graph.input("x", DType::F16, [2, 4]).unwrap();
        let weight = HostTensor::from_vec([4, 4], vec![half::f16::ONE; 16]).unwrap();
        let bias = HostTensor::from_vec([4], vec![half::f16::ONE; 4]).unwrap();
        let bias = biased.then(|| graph.constant("bias", bias));
        let weight = graph.constant("weight", weight);
        let y = x.matmul(&weight).unwrap();
        let y = bias.map_or(y.clone(), |bias| y.add(&bias).unwrap());
        let y = graph.node("Relu").input(&y).build().unwrap();
        graph.output("y", &graph.node("Mul").input(&y).input(&y).build().unwrap()).unwrap();
        let model = graph.finish().unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        nodes.iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[test]
    fn a_product_with_the_activation_of_a_biased_layer_is_kept_apart_for_tensorrt() {
        let apart = ["MatMul", "Add", "Relu", "Clip", "Mul", "Identity"];
        assert_eq!(operators(Target::tensorrt(), true), apart);
        let whole = ["MatMul", "Add", "Relu", "Mul", "Identity"];
        assert_eq!(operators(Target::portable(), true), whole);
        assert_eq!(operators(Target::tensorrt(), false), ["MatMul", "Relu", "Mul", "Identity"]);
    }
}
