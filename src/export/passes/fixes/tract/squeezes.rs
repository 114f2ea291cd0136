//! A `Squeeze` that names no axes takes all of size 1. tract wants them named.

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::spec::Dim;
use crate::tensor::HostTensor;

/// Names the axes that are squeezed, where the sizes are known.
pub(in crate::export::passes) struct SqueezedAxes;

/// The operator set since which the axes are an input.
const AXES_ARE_AN_INPUT: i64 = 13;

impl Pass for SqueezedAxes {
    fn name(&self) -> &'static str {
        "squeezed axes"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let axes: Vec<_> = graph.nodes.iter().map(|node| squeezed(graph, node)).collect();
        let count = axes.iter().flatten().count();
        let mut nodes = std::mem::take(&mut graph.nodes);
        for (node, axes) in nodes.iter_mut().zip(axes) {
            match axes {
                None => {}
                Some(axes) if axes.is_empty() => node.op_type = Some("Identity".into()),
                Some(axes) if graph.opset() < AXES_ARE_AN_INPUT => {
                    node.attribute.push(Attribute::Ints(axes).to_proto("axes"));
                }
                Some(axes) => {
                    let axes = HostTensor::from_vec([axes.len()], axes)?;
                    node.input.truncate(1);
                    node.input.push(graph.add_constant("axes", axes));
                }
            }
        }
        graph.nodes = nodes;
        Ok(count)
    }
}

/// The axes of size 1 that a node leaves out. An axis of a size that may be 1 or not leaves them open.
fn squeezed(graph: &Graph, node: &NodeProto) -> Option<Vec<i64>> {
    let named = node.stated("axes").is_some() || node.input.get(1).is_some_and(|n| !n.is_empty());
    if !node.is("Squeeze") || !node.is_default() || named {
        return None;
    }
    let shape = graph.spec(node.input.first()?)?.shape;
    let dims = shape.dims().iter();
    if dims.clone().any(|dim| matches!(dim, Dim::Symbol(_)) && dim.min() <= 1) {
        return None;
    }
    let ones = dims.enumerate().filter(|(_, dim)| dim.fixed() == Some(1));
    Some(ones.map(|(axis, _)| axis as i64).collect())
}
