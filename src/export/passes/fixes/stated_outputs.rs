//! A transposed convolution that states the sizes of its output. TensorRT-RTX 1.6.1 places such an output wrongly (seen on an
//! H200). The pads that follow from the sizes are written instead, where all sizes are known.

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;

/// Writes pads in the place of the sizes of an output.
pub(in crate::export::passes) struct StatedOutputs;

impl Pass for StatedOutputs {
    fn name(&self) -> &'static str {
        "stated outputs"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let found: Vec<_> = graph.nodes.iter().map(|node| pads(graph, node)).collect();
        let mut count = 0;
        for (node, pads) in graph.nodes.iter_mut().zip(found) {
            let Some(pads) = pads else { continue };
            node.attribute.retain(|a| !["output_shape", "auto_pad", "pads"].contains(&a.name()));
            node.attribute.push(Attribute::Ints(pads).to_proto("pads"));
            count += 1;
        }
        Ok(count)
    }
}

/// The pads of a node with a stated output, as ONNX derives them.
fn pads(graph: &Graph, node: &NodeProto) -> Option<Vec<i64>> {
    let stated = node.stated("output_shape").filter(|sizes| !sizes.ints.is_empty())?;
    if !node.is("ConvTranspose") {
        return None;
    }
    let (x, weight) = (graph.spec(node.input.first()?)?, graph.spec(node.input.get(1)?)?);
    let (sizes, kernel) = (x.shape.dims().get(2..)?, weight.shape.dims().get(2..)?);
    let axes = kernel.len();
    if sizes.len() != axes || stated.ints.len() != axes {
        return None;
    }
    let list = |name: &str, usual: i64| match node.stated(name) {
        Some(list) if list.ints.len() == axes => list.ints.clone(),
        _ => vec![usual; axes],
    };
    let (strides, dilations) = (list("strides", 1), list("dilations", 1));
    let more = list("output_padding", 0);
    let behind = node.stated("auto_pad").is_some_and(|pad| pad.s() == b"SAME_UPPER");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for axis in 0..axes {
        let size = i64::try_from(sizes[axis].fixed()?).ok()?;
        let window = dilations[axis] * (i64::try_from(kernel[axis].fixed()?).ok()? - 1) + 1;
        let total = strides[axis] * (size - 1) + more[axis] + window - stated.ints[axis];
        if total < 0 {
            return None;
        }
        let less = total / 2;
        let (first, last) = if behind { (less, total - less) } else { (total - less, less) };
        before.push(first);
        after.push(last);
    }
    before.append(&mut after);
    Some(before)
}
