//! A weight of 32-bit integers that is scaled, as quantizers write biases. TensorRT's parser scales integers of 8 bits alone.
//! The weight is known, and a weight of floats is written instead.

use std::collections::HashSet;

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::export::passes::Pass;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Scales weights of 32-bit integers.
pub(in crate::export::passes) struct KnownIntegers;

impl Pass for KnownIntegers {
    fn name(&self) -> &'static str {
        "known integers"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let outputs: HashSet<String> = graph.output_names().map(str::to_owned).collect();
        let before = graph.nodes.len();
        for node in std::mem::take(&mut graph.nodes) {
            match (scaled(graph, &node), &node.output[..]) {
                (Some(value), [name]) if !outputs.contains(name) => graph.set_constant(name, value),
                _ => graph.nodes.push(node),
            }
        }
        Ok(before - graph.nodes.len())
    }
}

/// The floats.
fn scaled(graph: &Graph, node: &NodeProto) -> Option<HostTensor> {
    if !node.is("DequantizeLinear") || !node.is_default() || node.int("block_size", 0) != 0 {
        return None;
    }
    let x = graph.constant(node.input.first()?).filter(|x| x.dtype() == DType::I32)?;
    let scale: Vec<f32> = graph.constant(node.input.get(1)?)?.to_vec().ok()?;
    if let Some(zero) = node.input.get(2).filter(|name| !name.is_empty()) {
        // It is 0 for integers of 32 bits.
        if graph.constant(zero)?.bytes().iter().any(|&byte| byte != 0) {
            return None;
        }
    }
    let values: Vec<i32> = x.to_vec().ok()?;
    // How many values in a row have the same scale.
    let run = match scale.len() {
        1 => values.len().max(1),
        count => {
            let rank = x.shape().len();
            let axis = node.int("axis", 1);
            let axis = usize::try_from(if axis < 0 { axis + rank as i64 } else { axis }).ok()?;
            // A vector has the scales of its only axis, whatever axis is named.
            let axis = if rank == 1 { 0 } else { axis };
            if x.shape().get(axis) != Some(&count) {
                return None;
            }
            x.shape()[axis + 1..].iter().product()
        }
    };
    let scaled = values.iter().enumerate().map(|(at, &value)| {
        let scale = scale[at / run.max(1) % scale.len()];
        value as f32 * scale
    });
    HostTensor::from_vec(x.shape(), scaled.collect()).ok()
}
