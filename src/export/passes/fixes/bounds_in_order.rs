//! A `Clip` whose least value is above its largest. ONNX gives the largest then, and TensorRT-RTX 1.6.1 gives the least (seen on
//! an H200). `Max` and `Min` are written instead, unless constants show that the bounds are in order.

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::export::passes::activation::number;

/// Writes a `Clip` by bounds that may be in the wrong order as `Max` and `Min`.
pub(in crate::export::passes) struct BoundsInOrder;

impl Pass for BoundsInOrder {
    fn name(&self) -> &'static str {
        "bounds in order"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let mut count = 0;
        let nodes = std::mem::take(&mut graph.nodes);
        for mut node in nodes {
            if may_be_in_the_wrong_order(graph, &node) {
                let above = graph.fresh(&format!("{}.above", node.output[0]));
                if let Some(spec) = graph.spec(&node.input[0]) {
                    graph.set_spec(&above, spec.dtype, spec.shape);
                }
                graph.nodes.push(NodeProto {
                    name: Some(above.clone()),
                    op_type: Some("Max".into()),
                    input: node.input[..2].to_vec(),
                    output: vec![above.clone()],
                    ..Default::default()
                });
                node.op_type = Some("Min".into());
                node.input = vec![above, node.input[2].clone()];
                count += 1;
            }
            graph.nodes.push(node);
        }
        Ok(count)
    }
}

fn may_be_in_the_wrong_order(graph: &Graph, node: &NodeProto) -> bool {
    let [_, least, most] = &node.input[..] else { return false };
    if !node.is("Clip") || least.is_empty() || most.is_empty() {
        return false;
    }
    match (number(graph, least), number(graph, most)) {
        (Some(least), Some(most)) => least > most,
        // Integers that are constant, which `number` does not read, and what is computed.
        _ => true,
    }
}
