//! Forms that TensorRT computes wrongly, and what is written for it instead.

use super::ops::scalar;
use super::{Conv, GraphBuilder, State, Value};
use crate::error::Result;
use crate::export::Reader;
use crate::tensor::HostTensor;

/// The factors of a product, with something between where TensorRT-RTX 1.6.1 would compute another
/// one: a linear layer with bias, its `Relu` or `Gelu`, and a product with that come out wrong by tens
/// of percent on an H200, in fp32 and fp16, whatever the other factor is. Without bias, with any
/// other activation, or with a bound between activation and product they are right.
pub(super) fn factors(graph: &GraphBuilder, inputs: &mut [Option<Value>]) -> Result<()> {
    if graph.target().reader() != Reader::TensorRt {
        return Ok(());
    }
    let mut bounded: Option<(String, Value)> = None;
    for factor in inputs.iter_mut().flatten() {
        if !graph.lock().is_fused_activation(factor.name()) {
            continue;
        }
        let name = factor.name().to_owned();
        *factor = match bounded.take().filter(|(of, _)| *of == name) {
            Some((_, value)) => value,
            None => {
                // Below all that either activation gives.
                let least = graph.constant("least", scalar(factor.dtype(), -1.0)?);
                graph.node("Clip").input(factor).input(&least).build()?
            }
        };
        bounded = Some((name, factor.clone()));
    }
    Ok(())
}

/// A grouped transposed convolution over one axis as one for each group, where TensorRT-RTX 1.6.1 would
/// leave all but the first of a batch at zero: when the batch may have any size. (One over two axes,
/// of which one has size 1, is as wrong.)
pub(super) fn conv_transpose(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    options: &Conv,
    output_padding: &[usize],
) -> Result<Option<Value>> {
    let any_batch = x.rank() == 3 && x.dims()[0].fixed().is_none();
    let (graph, groups) = (&x.graph, options.groups);
    if graph.target().reader() != Reader::TensorRt || groups < 2 || !any_batch {
        return Ok(None);
    }
    let Some(values) = weight.as_constant() else { return Ok(None) };
    let &[inputs, outputs, length] = values.shape() else { return Ok(None) };
    // What does not divide is refused where the layer is checked whole.
    if !inputs.is_multiple_of(groups) {
        return Ok(None);
    }
    let (each, bytes) = (inputs / groups, values.bytes().len() / groups);
    let mut parts = Vec::with_capacity(groups);
    for group in 0..groups {
        let part = values.bytes().slice(group * bytes..(group + 1) * bytes);
        let part = HostTensor::from_bytes(values.dtype(), [each, outputs, length], part)?;
        let part = graph.constant(&format!("{}.{group}", weight.name()), part);
        let (start, end) = ((group * each) as i64, ((group + 1) * each) as i64);
        let options = Conv { groups: 1, ..options.clone() };
        let rows = x.slice(1, start, Some(end))?;
        parts.push(rows.conv_transpose(&part, None, &options, output_padding)?);
    }
    let y = graph.concat(&parts.iter().collect::<Vec<_>>(), 1)?;
    match bias {
        Some(bias) => y.add(&bias.unsqueeze(&[1])?).map(Some),
        None => Ok(Some(y)),
    }
}

impl State {
    /// Whether a value is the activation of what may be a linear layer.
    fn is_fused_activation(&self, name: &str) -> bool {
        let from =
            |name: &str| self.nodes.iter().rev().find(|n| n.output.iter().any(|o| o == name));
        let Some(activation) = from(name).filter(|n| matches!(n.op_type(), "Relu" | "Gelu")) else {
            return false;
        };
        let source = activation.input.first().and_then(|input| from(input));
        source.is_some_and(|source| matches!(source.op_type(), "Gemm" | "Add"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Target;
    use crate::spec::{DType, Dim};

    fn operators(target: Target, biased: bool) -> Vec<String> {
        let graph = GraphBuilder::for_target("products", target);
        let x = graph.input("x", DType::F16, [2, 4]).unwrap();
        let weight = HostTensor::from_vec([4, 4], vec![half::f16::ONE; 16]).unwrap();
        let bias = HostTensor::from_vec([4], vec![half::f16::ONE; 4]).unwrap();
        let bias = biased.then(|| graph.constant("bias", bias));
        let weight = graph.constant("weight", weight);
        let y = x.matmul(&weight).unwrap();
        let y = bias.map_or(y.clone(), |bias| y.add(&bias).unwrap());
        let y = graph.node("Relu").input(&y).build().unwrap();
        graph.output("y", &graph.node("Mul").input(&y).input(&y).build().unwrap()).unwrap();
        let model = graph.finish().unwrap();
        let nodes = &model.proto().graph.as_ref().unwrap().node;
        nodes.iter().map(|node| node.op_type().to_owned()).collect()
    }

    #[test]
    fn a_product_with_the_activation_of_a_biased_layer_is_kept_apart_for_tensorrt() {
        let apart = ["MatMul", "Add", "Relu", "Clip", "Mul", "Identity"];
        assert_eq!(operators(Target::tensorrt(), true), apart);
        let whole = ["MatMul", "Add", "Relu", "Mul", "Identity"];
        assert_eq!(operators(Target::portable(), true), whole);
        assert_eq!(operators(Target::tensorrt(), false), ["MatMul", "Relu", "Mul", "Identity"]);
    }

    #[test]
    fn a_grouped_transposed_convolution_of_any_batch_is_one_a_group_for_tensorrt() {
        for (batch, shapes) in [
            (Dim::dynamic("batch", 1..=4).unwrap(), vec![vec![2, 3, 3], vec![2, 3, 3]]),
            (Dim::Fixed(2), vec![vec![4, 3, 3]]),
        ] {
            let graph = GraphBuilder::for_target("layer", Target::tensorrt());
            let x = graph.input("x", DType::F32, [batch, Dim::Fixed(4), Dim::Fixed(7)]).unwrap();
            let weight = HostTensor::from_vec([4, 3, 3], vec![1f32; 36]).unwrap();
            let options =
                Conv { strides: vec![2], padding: vec![(1, 1)], dilations: vec![1], groups: 2 };
            let weight = graph.weight("weight", weight).unwrap();
            let bias = graph.weight("bias", HostTensor::from_vec([6], vec![1f32; 6]).unwrap());
            let y = x.conv_transpose(&weight, Some(&bias.unwrap()), &options, &[1]).unwrap();
            assert_eq!(y.dims()[1..], [Dim::Fixed(6), Dim::Fixed(14)]);
            graph.output("y", &y).unwrap();
            let model = graph.finish().unwrap();
            let weights = model.proto().graph.as_ref().unwrap().initializer.iter();
            let weights = weights.filter(|weight| weight.dims.len() == 3);
            let found: Vec<_> = weights.map(|weight| weight.dims.clone()).collect();
            assert_eq!(found, shapes);
        }
    }
}
