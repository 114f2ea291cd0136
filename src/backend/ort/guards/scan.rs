//! What a `Scan` needs. ONNX Runtime turns the axis that a `Scan` goes along to the front, and the axis of what it gives from
//! the front. It divides by sizes there, and only where the axis is not the first. A `Scan` of operator set 8 goes through a
//! batch, and reads the first of the batch before it looks whether there is one.

use super::needs::{Axes, END, Need};
use crate::export::onnx::{AttributeProto, NodeProto};

/// The operator set in which the axes of a `Scan` became free, and the batch went.
const HAS_AXES: i64 = 9;

pub(super) fn needs(
    node: &NodeProto,
    opset: i64,
    rank: &dyn Fn(usize) -> Option<usize>,
) -> Vec<Need> {
    let find = |name: &str| node.attribute.iter().find(|attribute| attribute.name() == name);
    let scanned = find("num_scan_inputs").map_or(0, AttributeProto::i);
    let states = node.input.len().saturating_sub(usize::try_from(scanned).unwrap_or(0));
    let sizes = |input, axes| Need::Sizes { input, axes, least: 1 };
    if opset < HAS_AXES {
        // The first input is the lengths of the sequences.
        let each = (1..node.input.len()).map(|i| match i < states {
            true => sizes(i, Axes::Each(vec![0])),
            false => sizes(i, Axes::Each(vec![0, 1])),
        });
        return each.collect();
    }
    let mut needs = Vec::new();
    for (i, axis) in axes(find("scan_input_axes"), node.input.len() - states) {
        let is_first = axis < 0 && rank(states + i) == Some(axis.unsigned_abs() as usize);
        if !is_first {
            needs.push(sizes(states + i, Axes::Span(axis, END)));
        }
    }
    let body = find("body").and_then(|body| body.g.as_ref());
    let given = body.map_or(0, |body| body.output.len()).saturating_sub(states);
    let turned = axes(find("scan_output_axes"), given);
    // What no turn gives has a size of 0 there.
    if !turned.is_empty() && states < node.input.len() {
        let along = find("scan_input_axes").and_then(|axes| axes.ints.first()).copied();
        needs.push(sizes(states, Axes::Each(vec![along.unwrap_or(0)])));
    }
    needs.extend(turned.into_iter().map(|(i, _)| Need::Given { output: states + i }));
    needs
}

/// The axes that are not the first, each with its place. The attribute of a function may be known where it is called: any
/// axis may be meant then.
fn axes(stated: Option<&AttributeProto>, count: usize) -> Vec<(usize, i64)> {
    let Some(stated) = stated else { return Vec::new() };
    if !stated.ref_attr_name().is_empty() {
        return (0..count).map(|i| (i, 0)).collect();
    }
    let all = stated.ints.iter().copied().enumerate().take(count);
    all.filter(|&(_, axis)| axis != 0).collect()
}
