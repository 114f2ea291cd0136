//! A graph of an older operator set in a newer one, from 13 on: what is written in another way there is written so, and
//! what means something else and cannot be written is refused by name.
//!
//! Source: ONNX's `docs/Changelog.md`, versions 13 to 22. All other changes add types, and attributes and inputs whose
//! absence means what was before.

use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The oldest operator set that is read here: before it, the sums, the squeezes and `Softmax` mean something else.
const OLDEST: i64 = 13;

const WHAT: &str = "newer operator set";

/// Writes a graph in an operator set, or in its own where that is newer.
pub(super) fn to(graph: &mut Graph, version: i64) -> Result<()> {
    let own = graph.opset();
    if own >= version {
        return Ok(());
    }
    if own < OLDEST {
        let text = format!(
            "the precision takes operator set {version} or newer, and the model is of {own}; models of {OLDEST} and newer are rewritten"
        );
        return Err(Error::new(ErrorKind::InvalidArgument, text).in_operation(WHAT));
    }
    body(graph, own, version)?;
    graph.at_least_opset(version);
    graph.at_least_ir(Target::tensorrt().with_opset(version).ir_version());
    Ok(())
}

/// Writes the nodes of a graph, and of all bodies within it. How many were changed comes back.
fn body(graph: &mut Graph, own: i64, version: i64) -> Result<usize> {
    let mut changed = graph.change_bodies(&mut |inner| body(inner, own, version))?;
    let mut nodes = std::mem::take(&mut graph.nodes);
    for node in nodes.iter_mut().filter(|node| node.is_default()) {
        let done = one(graph, node, own, version);
        changed += usize::from(done.map_err(|e| e.in_operation(WHAT))?);
    }
    graph.nodes = nodes;
    Ok(changed)
}

fn one(graph: &mut Graph, node: &mut NodeProto, own: i64, version: i64) -> Result<bool> {
    let crosses = |change: i64| own < change && change <= version;
    match node.op_type() {
        "BatchNormalization" if crosses(14) && node.output.len() > 1 => Err(refused(
            node,
            "gives statistics of training in another way from operator set 14 on",
        )),
        "RoiAlign" if crosses(16) => {
            let mode = "coordinate_transformation_mode";
            let unstated = node.stated(mode).is_none();
            if unstated {
                let usual = Attribute::String("output_half_pixel".into());
                node.attribute.push(usual.to_proto(mode));
            }
            Ok(unstated)
        }
        "Split" if crosses(18) && node.input.get(1).is_none_or(String::is_empty) => {
            let parts = Attribute::Int(node.output.len() as i64);
            node.attribute.push(parts.to_proto("num_outputs"));
            Ok(true)
        }
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSumSquare"
            if crosses(18) =>
        {
            let Some(axes) = node.stated("axes").map(|axes| axes.ints.clone()) else {
                return Ok(false);
            };
            node.attribute.retain(|attribute| attribute.name() != "axes");
            if axes.is_empty() {
                return Ok(true);
            }
            node.input.truncate(1);
            let hint = format!("{}.axes", node.output[0]);
            node.input.push(graph.add_constant(&hint, HostTensor::from_vec([axes.len()], axes)?));
            Ok(true)
        }
        "GridSample" if crosses(20) => {
            let mode = node.attribute.iter_mut().find(|attribute| attribute.name() == "mode");
            let Some(mode) = mode else { return Ok(false) };
            let renamed = match mode.s() {
                b"bilinear" => "linear",
                b"bicubic" => "cubic",
                _ => return Ok(false),
            };
            *mode = Attribute::String(renamed.into()).to_proto("mode");
            Ok(true)
        }
        "DFT" if crosses(20) => {
            let axis = node.int("axis", 1);
            node.attribute.retain(|attribute| attribute.name() != "axis");
            node.input.resize(2, String::new());
            let hint = format!("{}.axis", node.output[0]);
            let axis = HostTensor::from_vec(Vec::<usize>::new(), vec![axis])?;
            node.input.push(graph.add_constant(&hint, axis));
            Ok(true)
        }
        "GroupNormalization" if crosses(21) => {
            for place in [1, 2] {
                let each = by_channels(graph, node, place)?;
                let hint = format!("{}.channels", node.input[place]);
                node.input[place] = graph.add_constant(&hint, each);
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// A factor or a term of each group, as one of each channel.
fn by_channels(graph: &Graph, node: &NodeProto, place: usize) -> Result<HostTensor> {
    let why = "takes a factor and a term of each channel from operator set 21 on, and here they are no constants of known sizes";
    let channels = graph.spec(&node.input[0]).and_then(|spec| spec.shape.dims().get(1)?.fixed());
    let (Some(tensor), Some(channels)) = (graph.constant(&node.input[place]), channels) else {
        return Err(refused(node, why));
    };
    let groups = tensor.shape().iter().product::<usize>();
    if groups == 0 || !channels.is_multiple_of(groups) || tensor.dtype() != DType::F32 {
        return Err(refused(node, why));
    }
    let each = channels / groups;
    let values = tensor.to_vec::<f32>()?;
    let repeated = values.into_iter().flat_map(|value| std::iter::repeat_n(value, each));
    HostTensor::from_vec([channels], repeated.collect::<Vec<_>>())
}

fn refused(node: &NodeProto, why: &str) -> Error {
    let text = format!("{} {why}", node.op_type());
    let name = node.output.first().map_or("", String::as_str);
    Error::new(ErrorKind::InvalidArgument, text)
        .in_operation(super::half::label(node))
        .on_tensor(name)
}
