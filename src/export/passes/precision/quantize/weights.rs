//! The weights of products, as a graph has them.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Layers with fewer rows or columns gain nothing.
const LEAST: usize = 16;

/// The weight of a product.
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) tensor: HostTensor,
    /// Its axis of outputs.
    pub(super) channels: usize,
    /// What turns it for the product.
    pub(super) turn: Option<NodeProto>,
}

impl Weight {
    /// The weight `[in, out]` or `[out, in]` of a product behind other nodes. `origins` are the names that the model has
    /// for what was cast.
    pub(super) fn of(
        node: &NodeProto,
        before: &[NodeProto],
        graph: &Graph,
        origins: &HashMap<String, String>,
    ) -> Option<Self> {
        if !is_layer(node) {
            return None;
        }
        let given = node.input.get(1)?;
        let turn = before.iter().find(|node| turns(node) && node.output[0] == *given);
        let name = turn.map_or(given, |turn| &turn.input[0]);
        let original = origins.get(name).unwrap_or(name);
        let tensor = graph.constant(original).or_else(|| graph.constant(name))?.clone();
        let by_outputs = (node.int("transB", 0) != 0) != turn.is_some();
        let channels = if by_outputs { 0 } else { 1 };
        let fits = tensor.shape().len() == 2 && tensor.shape().iter().all(|&size| size >= LEAST);
        let turn = turn.cloned();
        fits.then(|| Self { name: name.clone(), tensor, channels, turn })
    }

    /// Its outputs and inputs.
    pub(super) fn sizes(&self) -> [usize; 2] {
        let shape = self.tensor.shape();
        [shape[self.channels], shape[1 - self.channels]]
    }

    /// Its numbers.
    pub(super) fn values(&self) -> Result<Vec<f32>> {
        let tensor = &self.tensor;
        match tensor.dtype() {
            DType::F16 => Ok(tensor.to_vec::<half::f16>()?.into_iter().map(f32::from).collect()),
            DType::BF16 => Ok(tensor.to_vec::<half::bf16>()?.into_iter().map(f32::from).collect()),
            _ => tensor.to_vec::<f32>(),
        }
    }
}

/// What layers of weights read, with the number of columns.
pub(in super::super) fn read(graph: &Graph) -> BTreeMap<String, usize> {
    let mut turned = HashMap::new();
    let mut read = BTreeMap::new();
    for node in &graph.nodes {
        if turns(node) {
            turned.insert(&node.output[0], &node.input[0]);
        }
        let (Some(name), Some(given)) = (node.input.first(), node.input.get(1)) else { continue };
        let by_outputs = (node.int("transB", 0) != 0) != turned.contains_key(given);
        let weight = graph.constant(turned.get(given).map_or(given, |weight| weight));
        if is_layer(node)
            && let Some(&[rows, columns]) = weight.map(HostTensor::shape)
        {
            read.insert(name.clone(), if by_outputs { columns } else { rows });
        }
    }
    read
}

/// Whether a node is a product whose second factor may be a weight.
pub(in super::super) fn is_layer(node: &NodeProto) -> bool {
    (node.is("MatMul") || node.is("Gemm")) && node.int("transA", 0) == 0
}

/// Whether a node turns a matrix.
fn turns(node: &NodeProto) -> bool {
    node.is("Transpose") && node.permutation(2) == Some(vec![1, 0])
}
