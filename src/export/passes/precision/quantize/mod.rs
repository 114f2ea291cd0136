//! Products of a weight in 8 or 4 bits, as explicit `QuantizeLinear` and `DequantizeLinear` pairs. Weights are scaled by
//! channel or block, activations by one number that was measured. Convolutions stay: TensorRT-RTX 1.6 would compute
//! them in half precision and dequantize their weights at every run. How numbers are rounded is in `numbers`.

mod numbers;

use std::collections::{HashMap, HashSet};

use super::Choice;
use super::half::label;
use super::report::Layer;
use crate::error::Result;
use crate::export::graph::Graph;
use crate::export::onnx::{Attribute, NodeProto, TensorProto, tensor_proto::DataType};
use crate::spec::DType;
use crate::tensor::HostTensor;
use numbers::{Grid, Quantized};

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

/// Layers with fewer rows or columns gain nothing.
const LEAST: usize = 16;

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
    let mut writer = Writer {
        graph,
        form,
        choice,
        origins,
        weights: HashMap::new(),
        turned: HashSet::new(),
        activations: HashMap::new(),
        nodes: Vec::new(),
    };
    let mut of_name: HashMap<String, &mut Layer> =
        layers.iter_mut().map(|layer| (layer.name.clone(), layer)).collect();
    for mut node in nodes {
        let name = label(&node).to_owned();
        if let Some(layer) = of_name.get_mut(&name)
            && let Some(weight) = writer.weight(&node)
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

struct Writer<'g> {
    graph: &'g mut Graph,
    form: Form,
    choice: &'g Choice<'g>,
    /// The names that the model has for what was cast.
    origins: &'g HashMap<String, String>,
    weights: HashMap<(String, usize), (String, f64)>,
    activations: HashMap<String, String>,
    /// Weights in the other layout, which are turned elsewhere now.
    turned: HashSet<String>,
    nodes: Vec<NodeProto>,
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

/// The weight of a product.
struct Weight {
    name: String,
    tensor: HostTensor,
    /// Its axis of outputs.
    channels: usize,
    /// What turns it for the product.
    turn: Option<NodeProto>,
}

impl Writer<'_> {
    /// The weight `[in, out]` or `[out, in]` of a product.
    fn weight(&self, node: &NodeProto) -> Option<Weight> {
        if !node.is("MatMul") && !node.is("Gemm") || node.int("transA", 0) != 0 {
            return None;
        }
        let given = node.input.get(1)?;
        let turn = self.nodes.iter().find(|node| {
            node.is("Transpose")
                && node.output[0] == *given
                && node.permutation(2) == Some(vec![1, 0])
        });
        let name = turn.map_or(given, |turn| &turn.input[0]);
        let original = self.origins.get(name).unwrap_or(name);
        let tensor = self.graph.constant(original).or_else(|| self.graph.constant(name))?.clone();
        let by_outputs = (node.int("transB", 0) != 0) != turn.is_some();
        let channels = if by_outputs { 0 } else { 1 };
        let fits = tensor.shape().len() == 2 && tensor.shape().iter().all(|&size| size >= LEAST);
        let turn = turn.cloned();
        fits.then(|| Weight { name: name.clone(), tensor, channels, turn })
    }

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
        let values = values(&weight.tensor)?;
        if !values.iter().all(|value| value.is_finite()) {
            return Done::kept(format!("the weight `{}` is not finite", weight.name));
        }
        let scale = match self.form {
            Form::Int4Weights => None,
            _ => match self.scale(&node.input[0]) {
                Ok(scale) => Some(scale),
                Err(reason) => return Done::kept(reason),
            },
        };
        let rows = weight.tensor.shape()[1 - weight.channels];
        let most = self.choice.options.most_inputs();
        let mut blocks = BLOCKS.into_iter().filter(|block| *block <= most);
        let block = blocks.find(|block| rows.is_multiple_of(*block));
        if self.form == Form::Int4Weights && block.is_none() {
            return Done::kept(format!(
                "{rows} inputs are no whole number of blocks of 16 or more"
            ));
        }
        let (back, kept) = self.quantized(weight, &values, block, dtype)?;
        node.input[1] = match &weight.turn {
            None => back,
            Some(turn) => {
                let name = self.graph.fresh(&format!("{}.dequantized", turn.output[0]));
                let turned = NodeProto {
                    name: Some(name.clone()),
                    input: vec![back],
                    output: vec![name.clone()],
                    ..turn.clone()
                };
                self.nodes.push(turned);
                self.turned.insert(turn.output[0].clone());
                if let Some(spec) = self.graph.spec(&turn.output[0]) {
                    self.graph.set_spec(&name, dtype, spec.shape);
                }
                name
            }
        };
        let mut noise = 1.0 / kept;
        if let Some((scale, kept)) = scale {
            node.input[0] = self.activation(&node.input[0].clone(), scale, dtype)?;
            noise += kept.map_or(0.0, |kept| 1.0 / kept);
        }
        Ok(Done::Quantized(1.0 / noise))
    }

    /// The scale of an activation and the signal that it keeps for its noise, as far as this is known; or why there is none.
    fn scale(&self, name: &str) -> Result<(f32, Option<f64>), String> {
        let original = self.origins.get(name).map_or(name, String::as_str);
        let range = self.choice.measured(original);
        let Some(range) = range else {
            return Err(format!("no range of `{original}` was measured"));
        };
        if range.min == range.max {
            return Err(format!("`{original}` is {} in all samples", range.min));
        }
        let reach = match self.form {
            // Floats are finer where they are small, and lose nothing to a larger range.
            Form::Fp8 => range.largest(),
            _ => range.limit,
        };
        let scale = reach / self.form.grid().most();
        let mut kept = None;
        if self.form == Form::Int8 {
            // Rounding errs by up to half a step either way, evenly.
            let noise = scale * scale / 12.0;
            let signal = range.deviation.powi(2) + range.mean.powi(2);
            kept = Some(f64::from(signal / noise));
            let decibels = 10.0 * (signal / noise).log10();
            if decibels < self.choice.options.least_signal() {
                return Err(format!(
                    "`{original}` keeps {decibels:.1} dB of signal to noise in 8 bits"
                ));
            }
        }
        match scale.is_normal() && scale < f32::from(::half::f16::MAX) {
            true => Ok((scale, kept)),
            false => Err(format!("`{original}` reaches {reach:e}, which makes no scale")),
        }
    }

    /// An activation, in few bits and back, once for all that read it.
    fn activation(&mut self, name: &str, scale: f32, dtype: DType) -> Result<String> {
        if let Some(done) = self.activations.get(name) {
            return Ok(done.clone());
        }
        let scale = self
            .graph
            .add_constant(&format!("{name}.scale"), numbers::scales(dtype, vec![], &[scale])?);
        let zero = self.zero(&format!("{name}.zero"), &[])?;
        let [few, back] =
            ["quantized", "dequantized"].map(|what| self.graph.fresh(&format!("{name}.{what}")));
        self.push("QuantizeLinear", [name.to_owned(), scale.clone(), zero.clone()], &few, &[]);
        self.push("DequantizeLinear", [few, scale, zero], &back, &[]);
        if let Some(spec) = self.graph.spec(name) {
            self.graph.set_spec(&back, dtype, spec.shape);
        }
        self.activations.insert(name.to_owned(), back.clone());
        Ok(back)
    }

    /// A weight in few bits, and back, once for all that read it.
    fn quantized(
        &mut self,
        weight: &Weight,
        values: &[f32],
        block: Option<usize>,
        dtype: DType,
    ) -> Result<(String, f64)> {
        let key = (weight.name.clone(), weight.channels);
        if let Some(done) = self.weights.get(&key) {
            return Ok(done.clone());
        }
        let shape = weight.tensor.shape();
        let [rows, columns] = [shape[0], shape[1]];
        let grid = self.form.grid();
        let block = block.filter(|_| self.form == Form::Int4Weights);
        let Quantized { codes, scales, scale_shape, kept } =
            numbers::quantized(grid, values, [rows, columns], weight.channels, block);
        let scale = self.graph.add_constant(
            &format!("{}.scale", weight.name),
            numbers::scales(dtype, scale_shape.clone(), &scales)?,
        );
        let few = self.graph.fresh(&format!("{}.{}", weight.name, self.form.name()));
        self.graph.add_proto(TensorProto {
            name: Some(few.clone()),
            data_type: Some(grid.onnx() as i32),
            dims: shape.iter().map(|&size| size as i64).collect(),
            raw_data: Some(codes.into()),
            ..Default::default()
        });
        let back = self.graph.fresh(&format!("{}.dequantized", weight.name));
        let mut inputs = vec![few, scale];
        let attributes = match block {
            Some(block) => vec![
                Attribute::Int(1 - weight.channels as i64).to_proto("axis"),
                Attribute::Int(block as i64).to_proto("block_size"),
            ],
            None => {
                inputs.push(self.zero(&format!("{}.zero", weight.name), &scale_shape)?);
                vec![Attribute::Int(weight.channels as i64).to_proto("axis")]
            }
        };
        self.push("DequantizeLinear", inputs, &back, &attributes);
        self.graph.set_spec(&back, dtype, shape.iter().copied().into());
        self.weights.insert(key, (back.clone(), kept));
        Ok((back, kept))
    }

    /// Zeros of the type that is quantized to, which states it.
    fn zero(&mut self, hint: &str, shape: &[usize]) -> Result<String> {
        let name = self.graph.fresh(hint);
        let count: usize = shape.iter().product();
        self.graph.add_proto(TensorProto {
            name: Some(name.clone()),
            data_type: Some(self.form.grid().onnx() as DataType as i32),
            dims: shape.iter().map(|&size| size as i64).collect(),
            raw_data: Some(vec![0u8; count].into()),
            ..Default::default()
        });
        Ok(name)
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: impl IntoIterator<Item = String>,
        output: &str,
        attributes: &[crate::export::onnx::AttributeProto],
    ) {
        self.nodes.push(NodeProto {
            name: Some(output.to_owned()),
            op_type: Some(operator.to_owned()),
            input: inputs.into_iter().collect(),
            output: vec![output.to_owned()],
            attribute: attributes.to_vec(),
            ..Default::default()
        });
    }
}

/// A weight's numbers.
fn values(tensor: &HostTensor) -> Result<Vec<f32>> {
    match tensor.dtype() {
        DType::F16 => Ok(tensor.to_vec::<::half::f16>()?.into_iter().map(f32::from).collect()),
        DType::BF16 => Ok(tensor.to_vec::<::half::bf16>()?.into_iter().map(f32::from).collect()),
        _ => tensor.to_vec::<f32>(),
    }
}
