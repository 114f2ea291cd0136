//! Averages of windows that reach beyond an edge, with `ceil_mode` and `count_include_pad`. TensorRT-RTX 1.6.1 divides by all of
//! such a window (seen on an H200), and ONNX by what lies on the input and its pads. The pads become part of the input, and only
//! what lies there is counted.

use crate::error::Result;
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::export::passes::rewrite::replace;

/// The operator set from which on `Pad` takes its pads as an input.
const PADS_AS_INPUT: i64 = 11;

/// Counts what lies on the input and its pads.
pub(in crate::export::passes) struct EdgesOfAverages(pub(in crate::export::passes) Target);

impl Pass for EdgesOfAverages {
    fn name(&self) -> &'static str {
        "edges of averages"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        if graph.opset() < PADS_AS_INPUT {
            return Ok(0);
        }
        replace(graph, self.0, padded, |new, node, pads| {
            let x = new.known(&node.input[0]);
            let input = match pads.iter().any(|pad| *pad != (0, 0)) {
                true => x.pad(pads)?.name().to_owned(),
                false => node.input[0].clone(),
            };
            let mut pool = node.clone();
            pool.input[0] = input;
            pool.attribute.retain(|a| !["pads", "count_include_pad"].contains(&a.name()));
            pool.attribute.push(Attribute::Int(0).to_proto("count_include_pad"));
            new.keep(&pool);
            Ok(())
        })
    }
}

/// The pads of all axes of a node that comes out wrong.
fn padded(graph: &Graph, node: &NodeProto) -> Option<Vec<(usize, usize)>> {
    let automatic = node.stated("auto_pad").is_some_and(|pad| pad.s() != b"NOTSET");
    let beyond = node.int("ceil_mode", 0) == 1 && node.int("count_include_pad", 0) == 1;
    if !node.is("AveragePool") || automatic || !beyond {
        return None;
    }
    let x = graph.spec(node.input.first()?)?;
    let (dims, kernel) = (x.shape.dims(), &node.stated("kernel_shape")?.ints);
    let axes = kernel.len();
    if dims.len() != axes + 2 {
        return None;
    }
    let list = |name: &str, usual: i64, count: usize| match node.stated(name) {
        Some(list) if list.ints.len() == count => list.ints.clone(),
        _ => vec![usual; count],
    };
    let (pads, strides) = (list("pads", 0, 2 * axes), list("strides", 1, axes));
    let dilations = list("dilations", 1, axes);
    let mut all = vec![(0, 0); 2];
    for axis in 0..axes {
        let (before, after) = (pads[axis], pads[axis + axes]);
        all.push((usize::try_from(before).ok()?, usize::try_from(after).ok()?));
        if (before, after) == (0, 0) {
            continue;
        }
        // A window that begins on the pads behind the input is left out, and would not be where they are input.
        let size = i64::try_from(dims[axis + 2].fixed()?).ok()?;
        let (stride, window) = (strides[axis].max(1), dilations[axis] * (kernel[axis] - 1) + 1);
        let windows = (size + before + after - window + stride - 1).div_euclid(stride) + 1;
        if (windows - 1) * stride >= size + before {
            return None;
        }
    }
    Some(all)
}
