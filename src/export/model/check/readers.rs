//! What one consumer ends its process on, and others run: refused for that consumer alone, by name.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::export::model::OnnxModel;
use crate::export::model::infer::{self, Fact};
use crate::export::model::walk::{label, short};
use crate::export::onnx::{GraphProto, NodeProto};

/// TensorRT's largest rank, `nvinfer1::Dims::MAX_DIMS`.
const MAX_RANK: usize = 8;
/// TensorRT takes names of 4,095 bytes, and its parser puts a few before some.
const MOST_LETTERS: usize = 4080;
/// Element-wise nodes in a row, which TensorRT-RTX 1.6 follows by recursion: on a stack of 2 MiB, which
/// threads of Rust have, 500 were built and 800 were not.
const MOST_IN_A_ROW: usize = 500;
/// Inputs of one node. tract 0.23 follows those of a sum by recursion; 20,000 take TensorRT-RTX 1.6 minutes.
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
        let inputs = graph.input.iter().map(|input| input.name());
        if let Some(name) = inputs.into_iter().find(|name| name.len() > MOST_LETTERS) {
            let text = format!("TensorRT takes names of up to {MOST_LETTERS} bytes");
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(short(name)));
        }
        // What `Identity` gives is the same tensor to TensorRT.
        let mut sources: HashMap<&str, &str> = HashMap::new();
        for node in &graph.node {
            for name in node.input.iter().chain(&node.output) {
                let rank = facts.get(name).and_then(Fact::rank).unwrap_or(0);
                if rank > MAX_RANK {
                    let text = format!("TensorRT takes ranks up to {MAX_RANK}, not {rank}");
                    return Err(unsupported(node, text).on_tensor(short(name)));
                }
                if name.len() > MOST_LETTERS {
                    let text = format!("TensorRT takes names of up to {MOST_LETTERS} bytes");
                    return Err(unsupported(node, text).on_tensor(short(name)));
                }
            }
            check_terms(node, "TensorRT")?;
            if !matches!(node.domain(), "" | "ai.onnx") {
                continue;
            }
            let same = |a: &str, b: &str| {
                sources.get(a).copied().unwrap_or(a) == sources.get(b).copied().unwrap_or(b)
            };
            match (node.op_type(), &*node.input) {
                ("Identity", [from]) if node.output.len() == 1 => {
                    let from = sources.get(from.as_str()).copied().unwrap_or(from);
                    sources.insert(&node.output[0], from);
                }
                ("Attention", _) if self.opset() < 23 => {
                    let text =
                        format!("operator set {} has no Attention; 23 is the first", self.opset());
                    return Err(unsupported(node, text));
                }
                ("Attention", [q, k, ..]) if same(q, k) => {
                    let text = "TensorRT takes queries and keys that are different tensors";
                    return Err(unsupported(node, text).on_tensor(short(q)));
                }
                _ => {}
            }
        }
        in_a_row(graph)
    }

    /// Refuses what ends the process in tract 0.23, where not even a panic can be caught.
    ///
    /// # Errors
    /// [`ErrorKind::UnsupportedOperation`] with the node.
    pub(crate) fn check_for_tract(&self) -> Result<()> {
        let mut nodes = self.proto.graph.iter().flat_map(|graph| &graph.node);
        nodes.try_for_each(|node| check_terms(node, "tract"))
    }

    fn opset(&self) -> i64 {
        let imports = &self.proto.opset_import;
        let standard = imports.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
        standard.map_or(0, |import| import.version())
    }
}

fn check_terms(node: &NodeProto, consumer: &str) -> Result<()> {
    let terms = node.input.len();
    if matches!(node.op_type(), "Sum" | "Max" | "Min" | "Mean") && terms > MOST_TERMS {
        let text = format!("{consumer} takes up to {MOST_TERMS} inputs of a node, not {terms}");
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
