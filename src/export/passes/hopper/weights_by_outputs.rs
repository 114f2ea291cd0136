//! 32-bit weights of `[in, out]`, stored as `[out, in]`. The tensor cores of compute capability 9.0 take TF32 only
//! with both factors' rows along the sum, and TensorRT-RTX 1.6 does not lay out weights anew: BERT-base at batch 8
//! takes 1.65 ms with turned weights on an H200, and 2.53 ms without. Half precision is as fast either way.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto};
use crate::export::passes::Pass;
use crate::parallel;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Weights of products, by outputs.
pub(in crate::export::passes) struct WeightsByOutputs;

impl Pass for WeightsByOutputs {
    fn name(&self) -> &'static str {
        "weights by outputs"
    }

    fn run(&self, graph: &mut Graph) -> Result<usize> {
        let stored = stored_by_outputs(graph)?;
        // Names of what `Transpose` makes of them for `MatMul`.
        let mut turned = HashMap::new();
        let mut changed = 0;
        for mut node in std::mem::take(&mut graph.nodes) {
            if let Some(weight) = weight_by_inputs(graph, &node) {
                let name = node.input[1].clone();
                if node.op_type() == "Gemm" {
                    node.attribute.retain(|attribute| attribute.name() != "transB");
                    node.attribute.push(Attribute::Int(1).to_proto("transB"));
                    node.input[1] = stored[&name].clone();
                } else {
                    if !turned.contains_key(&name) {
                        let turn = turn(graph, &name, &stored[&name], &weight);
                        turned.insert(name.clone(), turn.output[0].clone());
                        graph.nodes.push(turn);
                    }
                    node.input[1] = turned[&name].clone();
                }
                changed += 1;
            }
            graph.nodes.push(node);
        }
        Ok(changed)
    }
}

/// The matrix that a product multiplies by, if it is known, of 32-bit floats and `[in, out]`.
fn weight_by_inputs(graph: &Graph, node: &NodeProto) -> Option<HostTensor> {
    let product = node.is("MatMul") || node.is("Gemm") && node.int("transB", 0) == 0;
    let weight = graph.constant(node.input.get(1).filter(|_| product)?)?;
    let known = node.input.first().is_some_and(|x| graph.constant(x).is_some());
    let matrix = weight.dtype() == DType::F32 && weight.shape().len() == 2;
    (matrix && !known && !weight.is_empty()).then(|| weight.clone())
}

/// The weights by outputs, on all cores: their names by the names of what they were.
fn stored_by_outputs(graph: &mut Graph) -> Result<HashMap<String, String>> {
    let mut weights: BTreeMap<String, HostTensor> = BTreeMap::new();
    for node in &graph.nodes {
        if let Some(weight) = weight_by_inputs(graph, node) {
            weights.entry(node.input[1].clone()).or_insert(weight);
        }
    }
    let weights = Vec::from_iter(weights);
    let turned = parallel::map(&weights, |(_, weight)| by_outputs(weight));
    let mut stored = HashMap::new();
    for ((name, _), weight) in weights.iter().zip(turned) {
        stored.insert(name.clone(), graph.add_constant(&format!("{name}.transposed"), weight?));
    }
    Ok(stored)
}

/// The node that makes a weight of what is stored, as `MatMul` reads it.
fn turn(graph: &mut Graph, name: &str, stored: &str, weight: &HostTensor) -> NodeProto {
    let value = graph.fresh(&format!("{name}.by_inputs"));
    graph.set_spec(&value, weight.dtype(), weight.shape().iter().copied().into());
    NodeProto {
        name: Some(value.clone()),
        op_type: Some("Transpose".to_owned()),
        input: vec![stored.to_owned()],
        output: vec![value],
        attribute: vec![Attribute::Ints(vec![1, 0]).to_proto("perm")],
        ..Default::default()
    }
}

/// `[rows, columns]` as `[columns, rows]`, in squares that fit the cache.
fn by_outputs(weight: &HostTensor) -> Result<HostTensor> {
    const SQUARE: usize = 32;
    // Bytes as they are, which may not be aligned for floats.
    let values = bytemuck::cast_slice::<u8, [u8; 4]>(weight.bytes());
    let [rows, columns] = [0, 1].map(|axis| weight.shape()[axis]);
    let mut turned = vec![[0; 4]; values.len()];
    for top in (0..rows).step_by(SQUARE) {
        for left in (0..columns).step_by(SQUARE) {
            for row in top..rows.min(top + SQUARE) {
                for column in left..columns.min(left + SQUARE) {
                    turned[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    HostTensor::from_bytes(DType::F32, [columns, rows], turned.into_flattened())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::passes::testing::{model, operators};

    #[test]
    fn rows_become_columns_within_and_across_squares() {
        for (rows, columns) in [(1, 1), (3, 2), (33, 70), (64, 31)] {
            let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
            let weight = HostTensor::from_vec([rows, columns], values.clone()).unwrap();
            let turned = by_outputs(&weight).unwrap().to_vec::<f32>().unwrap();
            for row in 0..rows {
                for column in 0..columns {
                    assert_eq!(turned[column * rows + row], values[row * columns + column]);
                }
            }
        }
    }

    #[test]
    fn a_weight_is_turned_once_and_half_precision_stays() {
        let product = |dtype: DType, rank: usize| {
            let dims = [2, 3, 4];
            let model = model(dtype, &dims[3 - rank..], |x| {
                let zeros = vec![0u8; 16 * dtype.size()];
                let weight = HostTensor::from_bytes(dtype, [4, 4], zeros).unwrap();
                let weight = x.graph().constant("weight", weight);
                Ok(vec![x.linear(&weight, None)?.linear(&weight, None)?])
            });
            operators(&model).iter().filter(|operator| **operator == "Transpose").count()
        };
        assert_eq!(product(DType::F32, 3), 1);
        assert_eq!(product(DType::F16, 3), 0);
    }
}
