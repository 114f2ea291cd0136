//! Nodes that one reader ends its process on and other readers run: refused for that reader alone, by name.

use std::collections::HashMap;

use crate::error::{Error, ErrorKind, Result};
use crate::export::NodeRefusal;
use crate::export::model::OnnxModel;
use crate::export::model::infer::{self, Fact, Size};
use crate::export::model::walk::{label, short};
use crate::export::onnx::{NodeProto, tensor_proto::DataType};
use crate::spec::DType;

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
    /// What ends the process in the parser or builder of TensorRT-RTX 1.6, with its node.
    pub(crate) fn refused_by_tensorrt(&self) -> Option<NodeRefusal> {
        let facts = match infer::facts(&self.proto) {
            Ok(facts) => facts,
            Err(error) => return Some(NodeRefusal::new(None, error)),
        };
        if let Some(error) = self.type_without_tensorrt() {
            return Some(NodeRefusal::new(None, error));
        }
        let graph = self.proto.graph.as_ref()?;
        let mut inputs = graph.input.iter().map(|input| input.name());
        if let Some(name) = inputs.find(|name| name.len() > MOST_LETTERS) {
            return Some(NodeRefusal::new(None, long_name(name)));
        }
        let mut seen = Seen { opset: self.opset(), ..Seen::default() };
        graph.node.iter().enumerate().find_map(|(i, node)| {
            let checked = ranks_and_names(node, &facts)
                .and_then(|()| check_terms(node, "TensorRT"))
                .and_then(|()| wide_attention(node, &facts))
                .and_then(|()| seen.attention(node))
                .and_then(|()| seen.in_a_row(node));
            checked.err().map(|error| NodeRefusal::new(Some(i), error.in_operation(label(node))))
        })
    }

    /// An input or output of a type that TensorRT does not have.
    fn type_without_tensorrt(&self) -> Option<Error> {
        let inputs = self.signature.inputs.iter().map(|spec| (spec, "inputs"));
        let outputs = self.signature.outputs.iter().map(|spec| (spec, "outputs"));
        let missing = [DType::F64, DType::I16, DType::U16, DType::U32, DType::U64];
        let (spec, side) = inputs.chain(outputs).find(|(spec, _)| missing.contains(&spec.dtype))?;
        let text = format!("TensorRT has no {} {side}", spec.dtype);
        Some(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(short(&spec.name)))
    }

    /// What ends the process in tract 0.23, where not even a panic can be caught, with its nodes.
    pub(crate) fn refused_by_tract(&self) -> Vec<NodeRefusal> {
        let nodes = self.proto.graph.iter().flat_map(|graph| &graph.node).enumerate();
        let refused = |(i, node)| {
            let error = check_terms(node, "tract").err()?;
            let reason = format!("{}; use ONNX Runtime", error.message());
            Some(NodeRefusal::new(Some(i), unsupported(node, reason)))
        };
        nodes.filter_map(refused).collect()
    }

    /// The sizes of each value of the main graph whose rank follows from the model; `None` for one that is open.
    pub(crate) fn known_shapes(&self) -> HashMap<String, Vec<Option<usize>>> {
        let known = |size: &Size| size.known().and_then(|size| usize::try_from(size).ok());
        let shape =
            |(name, fact): (String, Fact)| Some((name, fact.shape?.iter().map(known).collect()));
        // A model with an error is told as such where it is opened.
        infer::facts(&self.proto).unwrap_or_default().into_iter().filter_map(shape).collect()
    }

    fn opset(&self) -> i64 {
        let imports = &self.proto.opset_import;
        let standard = imports.iter().find(|import| matches!(import.domain(), "" | "ai.onnx"));
        standard.map_or(0, |import| import.version())
    }
}

fn long_name(name: &str) -> Error {
    let text = format!("TensorRT takes names of up to {MOST_LETTERS} bytes");
    Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(short(name))
}

fn ranks_and_names(node: &NodeProto, facts: &HashMap<String, Fact>) -> Result<()> {
    for name in node.input.iter().chain(&node.output) {
        let rank = facts.get(name).and_then(Fact::rank).unwrap_or(0);
        if rank > MAX_RANK {
            let text = format!("TensorRT takes up to {MAX_RANK} dimensions, not {rank}");
            return Err(unsupported(node, text).on_tensor(short(name)));
        }
        if name.len() > MOST_LETTERS {
            return Err(long_name(name));
        }
    }
    Ok(())
}

/// Attention of 32-bit floats, which TensorRT-RTX 1.6 has no kernel for.
fn wide_attention(node: &NodeProto, facts: &HashMap<String, Fact>) -> Result<()> {
    let standard = matches!(node.domain(), "" | "ai.onnx");
    let query = node.input.first().and_then(|name| facts.get(name));
    let wide = query.is_some_and(|fact| fact.dtype == DataType::Float as i32);
    match standard && node.op_type() == "Attention" && wide {
        true => Err(unsupported(
            node,
            "TensorRT has no kernel for Attention in f32; compile with fp16 or bf16",
        )),
        false => Ok(()),
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

/// What was seen of the nodes before.
#[derive(Default)]
struct Seen<'m> {
    opset: i64,
    /// What `Identity` gives is the same tensor to TensorRT.
    sources: HashMap<&'m str, &'m str>,
    /// How many element-wise nodes in a row make a value.
    in_a_row: HashMap<&'m str, usize>,
}

impl<'m> Seen<'m> {
    fn source(&self, name: &'m str) -> &'m str {
        self.sources.get(name).copied().unwrap_or(name)
    }

    /// Attention over one tensor, and before the operator set that defines it.
    fn attention(&mut self, node: &'m NodeProto) -> Result<()> {
        match (node.op_type(), &*node.input) {
            _ if !matches!(node.domain(), "" | "ai.onnx") => Ok(()),
            ("Identity", [from]) if node.output.len() == 1 => {
                self.sources.insert(&node.output[0], self.source(from));
                Ok(())
            }
            ("Attention", _) if self.opset < 23 => {
                let text = format!("operator set {} has no Attention; 23 is the first", self.opset);
                Err(unsupported(node, text))
            }
            ("Attention", [q, k, ..]) if self.source(q) == self.source(k) => {
                let text = "TensorRT takes queries and keys that are different tensors";
                Err(unsupported(node, text).on_tensor(short(q)))
            }
            _ => Ok(()),
        }
    }

    /// Long chains of nodes that compute element by element.
    fn in_a_row(&mut self, node: &'m NodeProto) -> Result<()> {
        if !POINTWISE.contains(&node.op_type()) {
            return Ok(());
        }
        let before = node.input.iter().filter_map(|name| self.in_a_row.get(name.as_str())).max();
        let here = before.copied().unwrap_or(0) + 1;
        if here > MOST_IN_A_ROW {
            let text = format!("TensorRT takes up to {MOST_IN_A_ROW} element-wise nodes in a row");
            return Err(unsupported(node, text));
        }
        self.in_a_row.extend(node.output.iter().map(|name| (name.as_str(), here)));
        Ok(())
    }
}

const POINTWISE: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "Ceil",
    "Clip",
    "Cos",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Sum",
    "Tan",
    "Tanh",
    "Where",
];
