//! Automatic pads beside dilations. ONNX Runtime 1.24 to 1.29 derives the pads of a pool as if each dilation were 1, and gives
//! fewer windows than ONNX has. It refuses such a convolution, and a `MaxPool` whose strides are longer than its windows.
//! The pads are written where they follow from the sizes.

use crate::error::{Error, ErrorKind, Result};
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, GraphProto, ModelProto, NodeProto};
use crate::export::passes::Pass;
use crate::spec::Shape;

/// Writes pads in the place of `auto_pad`.
pub(in crate::export::passes) struct AutomaticPads;

impl AutomaticPads {
    /// Whether a model has a node that comes out wrong.
    pub(in crate::export::passes) fn are_in(model: &ModelProto) -> bool {
        fn are_in(graph: &GraphProto) -> bool {
            let bodies = |node: &NodeProto| {
                let mut all = node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs));
                all.any(are_in)
            };
            graph.node.iter().any(|node| is_wrong(node, None) || bodies(node))
        }
        model.graph.as_ref().is_some_and(are_in)
    }
}

impl Pass for AutomaticPads {
    fn name(&self) -> &'static str {
        "automatic pads"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let found = graph.nodes.iter().map(|node| pads(graph, node));
        let found = found.collect::<Result<Vec<_>>>()?;
        let mut count = 0;
        for (node, pads) in graph.nodes.iter_mut().zip(found) {
            let Some(pads) = pads else { continue };
            // The last window ends with the pads, or before.
            node.attribute.retain(|a| !["auto_pad", "pads", "ceil_mode"].contains(&a.name()));
            node.attribute.push(Attribute::Ints(pads).to_proto("pads"));
            count += 1;
        }
        Ok(count)
    }
}

/// Whether a node has automatic pads that ONNX Runtime does not derive as ONNX does. Without a kernel it may be so.
fn is_wrong(node: &NodeProto, kernel: Option<&[i64]>) -> bool {
    let automatic = node.stated("auto_pad").is_some_and(|pad| pad.s().starts_with(b"SAME"));
    let list = |name: &str| node.stated(name).map_or(&[][..], |list| &list.ints);
    let dilated = list("dilations").iter().any(|&dilation| dilation > 1);
    let kernel = kernel.unwrap_or_else(|| list("kernel_shape"));
    let far = list("strides").iter().enumerate().any(|(axis, &stride)| {
        let dilation = list("dilations").get(axis).copied().unwrap_or(1);
        kernel.get(axis).is_none_or(|&kernel| stride > extent(kernel, dilation))
    });
    automatic
        && match node.op_type() {
            "AveragePool" | "Conv" | "LpPool" => node.is_default() && dilated,
            "MaxPool" => node.is_default() && (dilated || far),
            _ => false,
        }
}

/// From the first to the last element of a window.
fn extent(kernel: i64, dilation: i64) -> i64 {
    dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1)
}

/// The pads of a node that comes out wrong, as ONNX derives them.
///
/// # Errors
/// [`ErrorKind::UnsupportedOperation`] where they depend on a size that is open.
fn pads(graph: &Graph, node: &NodeProto) -> Result<Option<Vec<i64>>> {
    let sizes = |input: usize| node.input.get(input).and_then(|name| graph.spec(name));
    let spaces = |shape: &Shape| -> Vec<Option<i64>> {
        let fixed = |size: usize| i64::try_from(size).ok();
        shape.dims().iter().skip(2).map(|dim| dim.fixed().and_then(fixed)).collect()
    };
    let stated = node.stated("kernel_shape").map(|kernel| kernel.ints.clone());
    let weight = || sizes(1).and_then(|weight| spaces(&weight.shape).into_iter().collect());
    let kernel: Option<Vec<i64>> = stated.filter(|kernel| !kernel.is_empty()).or_else(weight);
    if !is_wrong(node, kernel.as_deref()) {
        return Ok(None);
    }
    let refused = |what: &str| {
        let text = format!(
            "ONNX Runtime derives other automatic pads; {what} must be known to write them"
        );
        let made = node.output.first().map_or("", String::as_str);
        let error = Error::new(ErrorKind::UnsupportedOperation, text);
        let error = error.in_operation(format!("{} `{made}`", node.op_type()));
        error.on_tensor(node.input.first().map_or("", String::as_str))
    };
    let kernel = kernel.ok_or_else(|| refused("the sizes of the weight"))?;
    let list = |name: &str| match node.stated(name) {
        Some(list) if list.ints.len() == kernel.len() => list.ints.clone(),
        _ => vec![1; kernel.len()],
    };
    let (strides, dilations) = (list("strides"), list("dilations"));
    let sizes = sizes(0).map(|x| spaces(&x.shape)).unwrap_or_default();
    let behind = node.stated("auto_pad").is_some_and(|pad| pad.s() == b"SAME_UPPER");
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (axis, &kernel) in kernel.iter().enumerate() {
        let (stride, extent) = (strides[axis].max(1), extent(kernel, dilations[axis]));
        let total = match sizes.get(axis).copied().flatten() {
            // Each element has a window.
            _ if stride == 1 => extent - 1,
            Some(size) => {
                let last = (size - 1).max(0) / stride * stride;
                last.saturating_add(extent).saturating_sub(size).max(0)
            }
            None => {
                return Err(refused(&format!("the size of axis {}", axis + 2)).at_axis(axis + 2));
            }
        };
        let less = total / 2;
        let (first, last) = if behind { (less, total - less) } else { (total - less, less) };
        before.push(first);
        after.push(last);
    }
    before.append(&mut after);
    Ok(Some(before))
}
