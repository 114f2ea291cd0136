//! What one consumer ends its process on, and others run: refused for that consumer alone, by name.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::OnnxModel;
use crate::export::model::infer::{self, Fact};
use crate::export::model::walk::{label, short};
use crate::export::onnx::{GraphProto, NodeProto};

/// TensorRT's largest rank, `nvinfer1::Dims::MAX_DIMS`.
const MAX_RANK: usize = 8;
/// Element-wise nodes in a row. TensorRT-RTX 1.6 follows them by recursion: about 1,000 take a stack of
/// 2 MiB, which threads of Rust have.
const MOST_IN_A_ROW: usize = 500;
/// Inputs of a node that tract 0.23 follows by recursion.
const MOST_TERMS: usize = 1000;

fn unsupported(node: &NodeProto, text: impl Into<String>) -> Error {
    Error::new(ErrorKind::UnsupportedOperation, text).in_operation(label(node))
}

impl OnnxModel {
    /// Refuses what ends the process in the parser or builder of TensorRT-RTX 1.6.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] with node and tensor; [`ErrorKind::InvalidModel`].

    pub(crate) fn check_for_tensorrt(&self) -> Result<()> {
        let facts = infer::facts(&self.proto)?;
        let Some(graph) = &self.proto.graph else { return Ok(()) };
        for node in &graph.node {
            for name in node.input.iter().chain(&node.output) {
                let rank = facts.get(name).and_then(Fact::rank).unwrap_or(0);
                if rank > MAX_RANK {
                    let text = format!("TensorRT takes ranks up to {MAX_RANK}, not {rank}");
                    return Err(unsupported(node, text).on_tensor(short(name)));
                }
            }
            if node.op_type() == "Attention" && node.domain().is_empty() {
                attention(node, self.opset())?;
            }
        }
        in_a_row(graph)
    }

    /// Refuses what ends the process in tract 0.23, where not even a panic can be caught.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] with the node.

    pub(crate) fn check_for_tract(&self) -> Result<()> {
        let nodes = self.proto.graph.iter().flat_map(|graph| &graph.node);
        for node in nodes {
            let terms = node.input.len();
            let summed = matches!(node.op_type(), "Sum" | "Max" | "Min" | "Mean");
            if summed && terms > MOST_TERMS {
                let text = format!("tract takes up to {MOST_TERMS} inputs of it, not {terms}");
                return Err(unsupported(node, text));
            }
        }
        Ok(())
    }

    fn opset(&self) -> i64 {
        let imports = &self.proto.opset_import;
        let standard = imports.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
        standard.map_or(0, |import| import.version())
    }
}

fn attention(node: &NodeProto, opset: i64) -> Result<()> {
    if opset < 23 {
        let text = format!("operator set {opset} has no Attention; 23 is the first");
        return Err(unsupported(node, text));
    }
    let mut inputs: Vec<&String> = node.input.iter().take(3).collect();
    inputs.sort();
    inputs.dedup();
    if inputs.len() < 3 {
        let text = "TensorRT takes queries, keys and values that are different tensors";
        return Err(unsupported(node, text));
    }
    Ok(())
}

/// Refuses long chains of nodes that compute element by element.

fn in_a_row(graph: &GraphProto) -> Result<()> {
    let mut length: HashMap<&str, usize> = HashMap::new();
    for node in &graph.node {
        let pointwise = matches!(
            node.op_type(),
            "Abs"
                | "Add"
                | "And"
                | "Ceil"
                | "Clip"
                | "Cos"
                | "Div"
                | "Elu"
                | "Equal"
                | "Erf"
                | "Exp"
                | "Floor"
                | "Gelu"
                | "HardSigmoid"
                | "HardSwish"
                | "LeakyRelu"
                | "Log"
                | "Max"
                | "Min"
                | "Mul"
                | "Neg"
                | "Not"
                | "Or"
                | "Pow"
                | "Reciprocal"
                | "Relu"
                | "Round"
                | "Selu"
                | "Sigmoid"
                | "Sign"
                | "Sin"
                | "Softplus"
                | "Softsign"
                | "Sqrt"
                | "Sub"
                | "Sum"
                | "Tan"
                | "Tanh"
                | "Where"
        );
        if !pointwise {
            continue;
        }
        let before = node.input.iter().filter_map(|name| length.get(name.as_str())).max();
        let here = before.copied().unwrap_or(0) + 1;
        if here > MOST_IN_A_ROW {
            let text = format!("TensorRT takes up to {MOST_IN_A_ROW} element-wise nodes in a row");
            return Err(unsupported(node, text));
        }
        for name in &node.output {
            length.insert(name, here);
        }
    }
    Ok(())
}
