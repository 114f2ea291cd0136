//! Products of a weight in 8 or 4 bits: which ones, and by which scales. Activations are scaled by one number that was
//! measured. Convolutions stay: TensorRT-RTX 1.6 would compute them in half precision and dequantize their weights at
//! every run. What is written for a product is in `pairs`, how numbers are rounded in `matrix` and
//! `numbers`.

mod compensated;
mod e4m3;
mod matrix;
mod numbers;
mod pairs;
mod smooth;
mod weights;

use std::collections::{HashMap, HashSet};

use super::Choice;
use super::half::label;
use super::report::Layer;
use crate::error::Result;
use crate::export::Reader;
use crate::export::graph::Graph;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;
use matrix::Matrix;
use numbers::{Grid, LEAST_SCALE};
use pairs::Dequantized;
use smooth::Smooth;
use weights::Weight;
pub(super) use weights::{is_layer, read};

/// How products are quantized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Int8,
    Fp8,
    Int4Weights,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Int4Weights => "int4",
        }
    }

    const fn grid(self) -> Grid {
        match self {
            Self::Int8 => Grid::Int8,
            Self::Fp8 => Grid::Fp8,
            Self::Int4Weights => Grid::Int4,
        }
    }
}

/// Sizes of blocks of 4 bits, the wanted one first.
pub(super) const BLOCKS: [usize; 4] = [128, 64, 32, 16];

/// Quantizes the products that can be, and says so of their layers.
pub(super) fn write(
    graph: &mut Graph,
    form: Form,
    choice: &Choice<'_>,
    origins: &HashMap<String, String>,
    layers: &mut [Layer],
) -> Result<()> {
    let nodes = std::mem::take(&mut graph.nodes);
    let smooth = smooth::all(graph, &nodes, origins, choice)?;
    let mut writer = Writer {
        graph,
        form,
        choice,
        origins,
        smooth,
        weights: HashMap::new(),
        turned: HashSet::new(),
        activations: HashMap::new(),
        nodes: Vec::new(),
        after: Vec::new(),
    };
    let mut of_name: HashMap<String, &mut Layer> =
        layers.iter_mut().map(|layer| (layer.name.clone(), layer)).collect();
    for mut node in nodes {
        let name = label(&node).to_owned();
        if let Some(layer) = of_name.get_mut(&name)
            && let Some(weight) = Weight::of(&node, &writer.nodes, writer.graph, origins)
        {
            match writer.product(&mut node, &weight, layer)? {
                Done::Quantized(kept) => {
                    layer.precision = form.name().to_owned();
                    layer.signal_to_noise = kept.is_normal().then(|| 10.0 * kept.log10() as f32);
                }
                Done::Kept(reason) => layer.reason = reason,
            }
        }
        writer.nodes.push(node);
        let after = std::mem::take(&mut writer.after);
        writer.nodes.extend(after);
    }
    let mut nodes = writer.nodes;
    // A weight that was turned for a product is turned after it is dequantized.
    let left: HashSet<String> = writer.turned;
    let read: HashSet<&String> = nodes.iter().flat_map(|node| &node.input).collect();
    let unread: HashSet<String> = left.into_iter().filter(|name| !read.contains(name)).collect();
    nodes.retain(|node| !node.output.iter().any(|name| unread.contains(name)));
    graph.nodes = nodes;
    Ok(())
}

/// A weight in few bits: its name and its axis of outputs, and in 8 bits the bits of its scale, and the activation whose
/// columns it evens out.
type Key = (String, usize, Option<(u32, Option<String>)>);

struct Writer<'g> {
    graph: &'g mut Graph,
    form: Form,
    choice: &'g Choice<'g>,
    /// The names that the model has for what was cast.
    origins: &'g HashMap<String, String>,
    /// What is done to activations before they are quantized, by their names.
    smooth: HashMap<String, Smooth>,
    weights: HashMap<Key, Dequantized>,
    activations: HashMap<String, String>,
    /// Weights in the other layout, which are turned elsewhere now.
    turned: HashSet<String>,
    nodes: Vec<NodeProto>,
    /// What follows the node that is being written.
    after: Vec<NodeProto>,
}

/// What became of a product.
enum Done {
    /// It is quantized, and keeps so much signal for its noise.
    Quantized(f64),
    /// It is not, for a reason.
    Kept(Option<String>),
}

impl Done {
    fn kept(reason: impl Into<String>) -> Result<Self> {
        Ok(Self::Kept(Some(reason.into())))
    }
}

impl Writer<'_> {
    /// Quantizes a product, or says why not.
    fn product(&mut self, node: &mut NodeProto, weight: &Weight, layer: &Layer) -> Result<Done> {
        if layer.precision == DType::F32.to_string() {
            return Ok(Done::Kept(layer.reason.clone()));
        }
        if self.choice.halves(node) {
            return Done::kept("it was asked for in half precision");
        }
        let Some(dtype) = self.graph.spec(&node.input[1]).map(|spec| spec.dtype) else {
            return Ok(Done::Kept(None));
        };
        let mut values = weight.values()?;
        if !values.iter().all(|value| value.is_finite()) {
            return Done::kept(format!("the weight `{}` is not finite", weight.name));
        }
        let smooth = self.smooth.get(&node.input[0]).cloned();
        if let Some(smooth) = &smooth {
            smooth.undone(weight, &mut values);
        }
        let [outputs, inputs] = weight.sizes();
        let whole = Matrix {
            values: &values,
            outputs,
            inputs,
            by_outputs: weight.channels == 0,
            block: inputs,
        };
        let (done, signal) = match self.form {
            Form::Int4Weights => {
                let most = self.choice.options.most_inputs();
                let mut blocks = BLOCKS.into_iter().filter(|block| *block <= most);
                let Some(block) = blocks.find(|block| inputs.is_multiple_of(*block)) else {
                    return Done::kept(format!(
                        "{inputs} inputs are no whole number of blocks of 16 or more"
                    ));
                };
                let name = &node.input[0];
                let read = self.origins.get(name).unwrap_or(name).clone();
                (self.blocks(weight, &Matrix { block, ..whole }, &read, dtype)?, None)
            }
            Form::Int8 | Form::Fp8 => {
                let (scale, signal) = match self.scale(&node.input[0], smooth.as_ref()) {
                    Ok(found) => found,
                    Err(reason) => return Done::kept(reason),
                };
                if ![0.0, 1.0].contains(&factor(node, "beta")) {
                    return Done::kept("what it adds has a factor of its own");
                }
                let code = self.form.grid().most();
                let sum = inputs as f32 * code * code * scale * factor(node, "alpha").abs();
                let most = f32::from(::half::f16::MAX) / sum;
                if most < f32::from(LEAST_SCALE) {
                    let name = &node.input[0];
                    return Done::kept(format!("sums of `{name}` have no scale in half precision"));
                }
                let read = node.input[0].clone();
                let of = smooth.is_some().then_some(&read);
                let done = self.channels(weight, &whole, most, of, dtype)?;
                node.input[0] = self.activation(&read, scale, smooth.as_ref(), dtype)?;
                (done, signal)
            }
        };
        node.input[1] = match self.is_of_one_product() {
            true => {
                self.untransposed(node, weight);
                done.name
            }
            false => self.turned(weight, &done.name, dtype),
        };
        if let Some(factors) = &done.factors {
            self.multiply(node, factors, dtype);
        }
        // Of an 8-bit Gemm that adds nothing, ONNX Runtime 1.29 makes an integer one, and refuses half precision for that.
        let is_bare = node.is("Gemm") && node.input.len() == 2;
        if is_bare && self.form == Form::Int8 && self.choice.reader != Reader::TensorRt {
            let zero = HostTensor::from_bytes(dtype, [1usize], vec![0u8; dtype.size()])?;
            node.input.push(self.graph.add_constant("zero", zero));
        }
        let noise = 1.0 / done.kept + signal.map_or(0.0, |kept| 1.0 / kept);
        Ok(Done::Quantized(1.0 / noise))
    }

    /// The scale of an activation and the signal that it keeps for its noise, as far as this is known; or why there is none.
    fn scale(&self, name: &str, smooth: Option<&Smooth>) -> Result<(f32, Option<f64>), String> {
        let original = self.origins.get(name).map_or(name, String::as_str);
        let range = self.choice.measured(original);
        let Some(range) = range else {
            return Err(format!("no range of `{original}` was measured"));
        };
        if range.min == range.max {
            return Err(format!("`{original}` is {} in all samples", range.min));
        }
        let reach = match (smooth, self.form) {
            (Some(smooth), _) => smooth.largest,
            // Floats are finer where they are small, and lose nothing to a larger range.
            (None, Form::Fp8) => range.largest(),
            (None, _) => range.limit,
        };
        let scale = reach / self.form.grid().most();
        let mut kept = None;
        if self.form == Form::Int8 {
            // Rounding errs by up to half a step either way, evenly.
            let noise = scale * scale / 12.0;
            let whole = range.deviation.powi(2) + range.mean.powi(2);
            let signal = smooth.map_or(whole, |smooth| smooth.power);
            kept = Some(f64::from(signal / noise));
            let decibels = 10.0 * (signal / noise).log10();
            if decibels < self.choice.options.least_signal() {
                return Err(format!(
                    "`{original}` keeps {decibels:.1} dB of signal to noise in 8 bits"
                ));
            }
        }
        // Below the normal numbers half precision has too few digits for a scale.
        let half = ::half::f16::from_f32(scale);
        match half.is_normal() {
            true => Ok((half.to_f32(), kept)),
            false => Err(format!("`{original}` reaches {reach:e}, which makes no scale")),
        }
    }
}

/// A factor of a `Gemm`; 1 of others.
fn factor(node: &NodeProto, name: &str) -> f32 {
    node.stated(name).map_or(1.0, |factor| factor.f())
}
