//! Whether two models differ in their weights alone.

use std::collections::HashSet;

use prost::Message as _;

use super::OnnxModel;
use crate::export::onnx::{self, GraphProto, TensorProto};

/// Operators that compute with a constant. Others may decide by it what they do, as `Clip` and `Resize` do.
const COMPUTE: [&str; 22] = [
    "Add",
    "BatchNormalization",
    "Cast",
    "Conv",
    "ConvTranspose",
    "Div",
    "GRU",
    "Gather",
    "Gemm",
    "GroupNormalization",
    "Identity",
    "InstanceNormalization",
    "LSTM",
    "LayerNormalization",
    "MatMul",
    "Mul",
    "PRelu",
    "RMSNormalization",
    "RNN",
    "Reshape",
    "Sub",
    "Transpose",
];

impl OnnxModel {
    /// A hash over all but the values of the weights: floats that operators compute with.
    pub(crate) fn graph_hash(&self) -> [u8; 32] {
        let mut proto = self.proto.clone();
        if let Some(graph) = &mut proto.graph {
            let deciding = deciding(graph);
            for tensor in &mut graph.initializer {
                if is_float(tensor) && !deciding.contains(tensor.name()) {
                    *tensor = TensorProto {
                        name: tensor.name.take(),
                        dims: std::mem::take(&mut tensor.dims),
                        data_type: tensor.data_type,
                        ..Default::default()
                    };
                }
            }
        }
        blake3::hash(&proto.encode_to_vec()).into()
    }
}

impl OnnxModel {
    /// A hash that tells people which model this is: the graph, and samples of the weights, so that large ones cost nothing.
    pub(crate) fn source_hash(&self) -> [u8; 32] {
        const SAMPLE: usize = 512;
        let split = self.split_unchanged();
        let mut all = blake3::Hasher::new();
        all.update(&split.bytes);
        for (_, weight) in &split.weights {
            let bytes = weight.bytes();
            let last = bytes.len().saturating_sub(SAMPLE);
            for start in [0, last / 2, last] {
                all.update(&bytes[start..bytes.len().min(start + SAMPLE)]);
            }
        }
        all.finalize().into()
    }
}

/// The names of all values that something else than such an operator reads.
fn deciding(graph: &GraphProto) -> HashSet<String> {
    let mut names: HashSet<String> = graph.output.iter().map(|o| o.name().to_owned()).collect();
    for node in &graph.node {
        if !COMPUTE.contains(&node.op_type()) {
            names.extend(node.input.iter().cloned());
        }
        for inner in node.attribute.iter().flat_map(|a| a.g.iter().chain(&a.graphs)) {
            names.extend(inner.node.iter().flat_map(|node| node.input.iter().cloned()));
            names.extend(deciding(inner));
        }
    }
    names
}

fn is_float(tensor: &TensorProto) -> bool {
    onnx::from_onnx(tensor.data_type()).is_ok_and(|dtype| dtype.is_float())
}

#[cfg(test)]
mod tests {
    use crate::error::Result;
    use crate::export::{GraphBuilder, OnnxModel};
    use crate::spec::DType;
    use ndarray::Array2;

    fn layer(weight: f32, factor: f64, limit: f64) -> Result<OnnxModel> {
        let graph = GraphBuilder::new("layer");
        let x = graph.input("x", DType::F32, [2, 16])?;
        let w = graph.weight("w", Array2::from_elem((16, 16), weight))?;
        let y = x.linear(&w, None)?.affine(factor, 0.0)?.clamp(Some(-limit), Some(limit))?;
        graph.output("y", &y)?;
        graph.finish()
    }

    #[test]
    fn weights_count_for_nothing_and_limits_do() -> Result<()> {
        let one = layer(1.0, 2.0, 3.0)?.graph_hash();
        assert_eq!(one, layer(-7.5, 2.0, 3.0)?.graph_hash());
        assert_eq!(one, layer(1.0, 4.0, 3.0)?.graph_hash());
        assert_ne!(one, layer(1.0, 2.0, 5.0)?.graph_hash());
        Ok(())
    }
}
