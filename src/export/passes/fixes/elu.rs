//! An `Elu` in a graph with a recurrent layer. The builder of TensorRT-RTX 1.6.1 fails at the first `Elu` that
//! comes after an LSTM and a convolution: "There are 2 inputs. Expected 1". The function is written in its parts.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::{Graph, Value};
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;
use crate::spec::TensorSpec;

const RECURRENT: [&str; 3] = ["GRU", "LSTM", "RNN"];

/// Writes each `Elu` in its parts where there is a recurrent layer.
pub(in crate::export::passes) struct EluWithRecurrent(pub(in crate::export::passes) Target);

impl Pass for EluWithRecurrent {
    fn name(&self) -> &'static str {
        "elu with a recurrent layer"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if !graph.nodes.iter().any(|node| RECURRENT.contains(&node.op_type())) {
            return Ok(0);
        }
        replace(graph, self.0, source, |new, node, x| {
            let alpha = f64::from(node.stated("alpha").map_or(1.0, |alpha| alpha.f()));
            let x = new.of(x);
            let unary = |name: &'static str, x: &Value| new.graph.node(name).input(x).build();
            // Both are right at infinity too, where a difference of the two would not be.
            let above = unary("Relu", &x)?;
            let below = unary("Neg", &unary("Relu", &unary("Neg", &x)?)?)?;
            let below = unary("Exp", &below)?.affine(alpha, -alpha)?;
            new.named(&new.graph.node("Add").input(&above).input(&below).build()?, &node.output[0]);
            Ok(())
        })
    }
}

/// What an `Elu` reads.
fn source(graph: &Graph, node: &NodeProto) -> Option<TensorSpec> {
    let ([x], true) = (&node.input[..], node.is("Elu")) else { return None };
    let spec = graph.spec(x);
    if spec.is_none() {
        tracing::warn!(
            target: "accelerant::export",
            "the shape of what `{}` reads is not known: TensorRT-RTX may not build it",
            node.name()
        );
    }
    spec
}

#[cfg(test)]
mod tests {
    use crate::export::{GraphBuilder, Target};
    use crate::spec::{DType, Shape};
    use crate::tensor::HostTensor;

    fn operators(target: Target, recurrent: bool) -> Vec<String> {
        let graph = GraphBuilder::for_target("sounds", target);
        let mut x = graph.input("x", DType::F32, [3, 1, 2]).unwrap();
        if recurrent {
            let weight = |name, dims: [usize; 3]| {
                let values = vec![0.5f32; dims.iter().product()];
                graph.constant(name, HostTensor::from_vec(dims, values).unwrap())
            };
            let (w, r) = (weight("w", [1, 8, 2]), weight("r", [1, 8, 2]));
            let node = graph.node("LSTM").input(&x).input(&w).input(&r).attr("hidden_size", 2i64);
            let hidden = (DType::F32, Shape::from([3, 1, 1, 2]));
            x = node.outputs([hidden]).build().unwrap();
        }
        graph.output("y", &graph.node("Elu").input(&x).build().unwrap()).unwrap();
        let model = graph.finish().unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        nodes.iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[test]
    fn elu_is_written_in_parts_for_tensorrt_beside_a_recurrent_layer() {
        let parts = operators(Target::tensorrt(), true);
        assert!(parts.contains(&"Exp".into()) && !parts.contains(&"Elu".into()), "{parts:?}");
        assert!(operators(Target::portable(), true).contains(&"Elu".into()));
        assert!(operators(Target::tensorrt(), false).contains(&"Elu".into()));
    }
}
