//! Two convolutions of one pixel that are added, as where a residual block changes its size: one over the
//! inputs of both. A batch norm between convolution and sum is multiplied into the weight, in f64.

use std::collections::{BTreeMap, HashMap};

use half::f16;

use super::{Convolution, LEAST_PIXELS};
use crate::error::Result;
use crate::export::graph::{Graph, Wiring};
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The sum of two convolutions.
pub(super) struct Sum<'a> {
    pub(super) branches: [Branch<'a>; 2],
    /// The weight over the inputs of both, and the bias of both.
    pub(super) weight: HostTensor,
    pub(super) bias: HostTensor,
    /// The name of the result.
    pub(super) y: &'a str,
}

pub(super) struct Branch<'a> {
    pub(super) convolution: &'a Convolution,
    norm: Option<Norm<'a>>,
    /// Its nodes.
    pub(super) nodes: Vec<usize>,
}

struct Norm<'a> {
    /// Scale, shift, mean and variance.
    parameters: [&'a HostTensor; 4],
    epsilon: f64,
}

/// The sums of a graph, by the nodes that add.
pub(super) fn of<'a>(
    graph: &'a Graph,
    convolutions: &'a HashMap<&str, Convolution>,
) -> Result<BTreeMap<usize, Sum<'a>>> {
    let wiring = Wiring::of(graph);
    let read_once = |node: &NodeProto| wiring.only_reader_of(node).is_some();
    let branch = |name: &str| {
        let mut nodes = vec![wiring.producer(name)?];
        let mut node = wiring.node(nodes[0]);
        let mut norm = None;
        if node.op_type() == "BatchNormalization" {
            if !read_once(node) {
                return None;
            }
            norm = Some(Norm::of(graph, node)?);
            nodes.push(wiring.producer(&node.input[0])?);
            node = wiring.node(nodes[1]);
        }
        let convolution = convolutions.get(node.output.first()?.as_str())?;
        let fits = norm.as_ref().is_none_or(|norm| norm.is_of(convolution.outputs));
        (fits && read_once(node)).then_some(Branch { convolution, norm, nodes })
    };
    let mut sums = BTreeMap::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        let ("Add", [one, other], [y]) = (node.op_type(), &node.input[..], &node.output[..]) else {
            continue;
        };
        if let (Some(one), Some(other)) = (branch(one), branch(other))
            && let Some(sum) = Sum::of(graph, [one, other], y)?
        {
            sums.insert(i, sum);
        }
    }
    Ok(sums)
}

impl Convolution {
    fn is_of_one_pixel(&self) -> bool {
        self.axes.iter().all(|axis| axis.kernel == 1 && axis.padding == (0, 0))
    }
}

impl<'a> Sum<'a> {
    fn of(graph: &Graph, branches: [Branch<'a>; 2], y: &'a str) -> Result<Option<Self>> {
        let [first, second] = [&branches[0], &branches[1]].map(|branch| branch.convolution);
        let alike = first.y.shape == second.y.shape && first.x.dtype == second.x.dtype;
        let measured = first.is_of_one_pixel() && second.is_of_one_pixel();
        if !alike || !measured || first.pixels() < LEAST_PIXELS {
            return Ok(None);
        }
        let (outputs, dtype) = (first.outputs, first.x.dtype);
        let [one, other] = [branches[0].parameters(graph)?, branches[1].parameters(graph)?];
        let mut weight = Vec::with_capacity(one.0.len() + other.0.len());
        for (one, other) in
            one.0.chunks_exact(first.inputs).zip(other.0.chunks_exact(second.inputs))
        {
            weight.extend(one.iter().chain(other));
        }
        let bias: Vec<f64> = one.1.iter().zip(&other.1).map(|(one, other)| one + other).collect();
        // A norm over a tiny variance may need more than 16 bits can hold.
        let most = if dtype == DType::F16 { f64::from(f16::MAX) } else { f64::from(f32::MAX) };
        if weight.iter().chain(&bias).any(|value| value.abs() > most) {
            return Ok(None);
        }
        let shape = vec![outputs, first.inputs + second.inputs, 1, 1];
        let (weight, bias) = (tensor(dtype, shape, &weight)?, tensor(dtype, vec![outputs], &bias)?);
        Ok(Some(Self { branches, weight, bias, y }))
    }
}

impl<'a> Norm<'a> {
    fn of(graph: &'a Graph, node: &NodeProto) -> Option<Self> {
        let [_, parameters @ ..] = &node.input[..] else { return None };
        let known: Vec<_> = parameters.iter().filter_map(|name| graph.constant(name)).collect();
        let inferring = node.stated("training_mode").is_none_or(|mode| mode.i() == 0);
        let epsilon = f64::from(node.stated("epsilon").map_or(1e-5, |epsilon| epsilon.f()));
        Some(Self { parameters: known.try_into().ok()?, epsilon }).filter(|_| inferring)
    }

    fn is_of(&self, outputs: usize) -> bool {
        let fits = |p: &&HostTensor| {
            p.shape() == [outputs] && matches!(p.dtype(), DType::F32 | DType::F16)
        };
        self.parameters.iter().all(fits)
    }
}

impl Branch<'_> {
    /// Weight and bias, with the norm in them: Ioffe and Szegedy, "Batch Normalization", 2015.
    fn parameters(&self, graph: &Graph) -> Result<(Vec<f64>, Vec<f64>)> {
        let Convolution { weight, bias, inputs, outputs, .. } = self.convolution;
        let mut weight = numbers(super::forms::parameter(graph, weight))?;
        let bias =
            bias.as_ref().map(|bias| numbers(super::forms::parameter(graph, bias))).transpose()?;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; *outputs]);
        if let Some(Norm { parameters: [scale, shift, mean, variance], epsilon }) = &self.norm {
            let [scale, shift, mean, variance] =
                [numbers(scale)?, numbers(shift)?, numbers(mean)?, numbers(variance)?];
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
