//! Two convolutions of one pixel that are added, as where a residual block changes its size: one over the
//! inputs of both. A batch norm between convolution and sum is multiplied into the weight, in f64.

use std::collections::{BTreeMap, HashMap};

use half::f16;

use super::super::State;
use super::{Convolution, LEAST_PIXELS};
use crate::error::Result;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The sum of two convolutions.
pub(super) struct Sum<'a> {
    pub(super) branches: [Branch<'a>; 2],
    /// The name of the result.
    pub(super) y: &'a str,
}

pub(super) struct Branch<'a> {
    pub(super) convolution: &'a Convolution,
    norm: Option<&'a NodeProto>,
    /// Its nodes.
    pub(super) nodes: Vec<usize>,
}

/// The sums of a graph, by the nodes that add.
pub(super) fn of(state: &State) -> BTreeMap<usize, Sum<'_>> {
    let (producers, readers) = (state.producers(), state.readers());
    let convolutions: HashMap<&str, &Convolution> =
        state.convolutions.iter().map(|c| (c.y.name.as_str(), c)).collect();
    let read_once = |node: &NodeProto| {
        let count = |y: &String| readers.get(y.as_str()).map_or(0, Vec::len);
        node.output.len() == 1 && node.output.iter().map(count).sum::<usize>() == 1
    };
    let branch = |name: &str| {
        let mut nodes = vec![*producers.get(name)?];
        let mut node = &state.nodes[nodes[0]];
        let norm = (node.op_type() == "BatchNormalization").then_some(node);
        if let Some(norm) = norm {
            let known = |name: &String| state.constant(name).is_some();
            if !read_once(norm) || !norm.input[1..].iter().all(known) {
                return None;
            }
            nodes.push(*producers.get(norm.input[0].as_str())?);
            node = &state.nodes[nodes[1]];
        }
        let convolution = *convolutions.get(node.output.first()?.as_str())?;
        read_once(node).then_some(Branch { convolution, norm, nodes })
    };
    let sum = |node: &'_ NodeProto| {
        let ("Add", [first, second]) = (node.op_type(), &node.input[..]) else { return None };
        let branches = [branch(first)?, branch(second)?];
        let [first, second] = [&branches[0], &branches[1]].map(|branch| branch.convolution);
        let alike = first.y.shape == second.y.shape && first.x.dtype == second.x.dtype;
        let measured = [first, second].iter().all(|c| c.is_of_one_pixel());
        (alike && measured && first.pixels() >= LEAST_PIXELS).then_some(branches)
    };
    let nodes = state.nodes.iter().enumerate();
    nodes
        .filter_map(|(i, node)| {
            let (branches, y) = (sum(node)?, node.output.first()?.as_str());
            Some((i, Sum { branches, y }))
        })
        .collect()
}

impl Convolution {
    fn is_of_one_pixel(&self) -> bool {
        self.axes.iter().all(|axis| axis.kernel == 1 && axis.padding == (0, 0))
    }
}

impl Sum<'_> {
    /// The weight over the inputs of both, and the bias of both.
    pub(super) fn parameters(&self, state: &State) -> Result<[HostTensor; 2]> {
        let [first, second] = &self.branches;
        let (outputs, dtype) = (first.convolution.outputs, first.convolution.x.dtype);
        let [one, other] = [first.parameters(state)?, second.parameters(state)?];
        let inputs = [first, second].map(|branch| branch.convolution.inputs);
        let mut weight = Vec::with_capacity(one.0.len() + other.0.len());
        for (one, other) in one.0.chunks_exact(inputs[0]).zip(other.0.chunks_exact(inputs[1])) {
            weight.extend(one.iter().chain(other));
        }
        let bias: Vec<f64> = one.1.iter().zip(&other.1).map(|(one, other)| one + other).collect();
        let shape = vec![outputs, inputs[0] + inputs[1], 1, 1];
        Ok([tensor(dtype, shape, &weight)?, tensor(dtype, vec![outputs], &bias)?])
    }
}

impl Branch<'_> {
    /// Weight and bias, with the norm in them: Ioffe and Szegedy, "Batch Normalization", 2015.
    fn parameters(&self, state: &State) -> Result<(Vec<f64>, Vec<f64>)> {
        let Convolution { weight, bias, inputs, outputs, .. } = self.convolution;
        let mut weight = numbers(state.weight(weight))?;
        let bias = bias.as_ref().map(|bias| numbers(state.weight(bias))).transpose()?;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; *outputs]);
        if let Some(norm) = self.norm {
            let parameter = |i: usize| numbers(state.weight(&norm.input[i]));
            let [scale, shift, mean, variance] =
                [parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?];
            let epsilon = norm.attribute.iter().find(|a| a.name() == "epsilon");
            let epsilon = f64::from(epsilon.map_or(1e-5, |epsilon| epsilon.f()));
            for (i, row) in weight.chunks_exact_mut(*inputs).enumerate() {
                let scale = scale[i] / (variance[i] + epsilon).sqrt();
                row.iter_mut().for_each(|value| *value *= scale);
                bias[i] = shift[i] + (bias[i] - mean[i]) * scale;
            }
        }
        Ok((weight, bias))
    }
}

fn numbers(tensor: &HostTensor) -> Result<Vec<f64>> {
    Ok(match tensor.dtype() {
        DType::F16 => tensor.to_vec::<f16>()?.into_iter().map(f64::from).collect(),
        _ => tensor.to_vec::<f32>()?.into_iter().map(f64::from).collect(),
    })
}

fn tensor(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Result<HostTensor> {
    let values = values.iter();
    match dtype {
        DType::F16 => HostTensor::from_vec(shape, values.map(|&v| f16::from_f64(v)).collect()),
        _ => HostTensor::from_vec(shape, values.map(|&v| v as f32).collect()),
    }
}
