//! What is written for a quantized product: `QuantizeLinear` and `DequantizeLinear` pairs, and in 8 bits a factor for
//! each output behind the product.
//!
//! A weight in 8 bits has one scale in its pair. With a scale of half precision for each output, TensorRT-RTX 1.6
//! writes the sums of codes in half precision first and scales them afterwards: what exceeds 65504 is infinite then. One
//! scale is a part of the product, and the factors are as they would be: a vector behind it.

use super::matrix::Matrix;
use super::numbers::{self, Grid, Shared, packed};
use super::smooth::Smooth;
use super::weights::Weight;
use super::{Form, Writer, factor};
use crate::error::Result;
use crate::export::Reader;
use crate::export::onnx::{Attribute, AttributeProto, NodeProto, TensorProto};
use crate::spec::DType;

/// A weight in few bits, as it is read.
#[derive(Clone)]
pub(super) struct Dequantized {
    pub(super) name: String,
    /// What the outputs of its products are multiplied with.
    pub(super) factors: Option<String>,
    /// Signal to noise, as powers.
    pub(super) kept: f64,
}

impl Writer<'_> {
    /// An activation, in few bits and back, once for all that read it.
    pub(super) fn activation(
        &mut self,
        name: &str,
        scale: f32,
        smooth: Option<&Smooth>,
        dtype: DType,
    ) -> Result<String> {
        if let Some(done) = self.activations.get(name) {
            return Ok(done.clone());
        }
        let mut even = name.to_owned();
        if let Some(Smooth { factors, .. }) = smooth {
            even = self.graph.fresh(&format!("{name}.even"));
            let factors = numbers::scales(dtype, vec![factors.len()], factors)?;
            let factors = self.graph.add_constant(&format!("{name}.factors"), factors);
            self.push("Mul", [name.to_owned(), factors], &even, &[]);
            if let Some(spec) = self.graph.spec(name) {
                self.graph.set_spec(&even, dtype, spec.shape);
            }
        }
        let scale = self
            .graph
            .add_constant(&format!("{name}.scale"), numbers::scales(dtype, vec![], &[scale])?);
        let zero = self.zero(&format!("{name}.zero"));
        let [few, back] =
            ["quantized", "dequantized"].map(|what| self.graph.fresh(&format!("{name}.{what}")));
        self.push("QuantizeLinear", [even, scale.clone(), zero.clone()], &few, &[]);
        self.push("DequantizeLinear", [few, scale, zero], &back, &[]);
        if let Some(spec) = self.graph.spec(name) {
            self.graph.set_spec(&back, dtype, spec.shape);
        }
        self.activations.insert(name.to_owned(), back.clone());
        Ok(back)
    }

    /// A weight with a scale for each output, once for all that read it: one scale of at most `most`, and factors. A
    /// weight that evens an activation out is of this activation alone.
    pub(super) fn channels(
        &mut self,
        weight: &Weight,
        matrix: &Matrix<'_>,
        most: f32,
        evens: Option<&String>,
        dtype: DType,
    ) -> Result<Dequantized> {
        let grid = self.form.grid();
        let shared = Shared::of(&matrix.scales(grid, None), most);
        let key =
            (weight.name.clone(), weight.channels, Some((shared.scale.to_bits(), evens.cloned())));
        if let Some(done) = self.weights.get(&key) {
            return Ok(done.clone());
        }
        let scales = shared.scales();
        let codes = matrix.codes(grid, &scales);
        let kept = matrix.kept(grid, &scales, &codes);
        let scale = numbers::scales(dtype, vec![], &[shared.scale])?;
        let scale = self.graph.add_constant(&format!("{}.scale", weight.name), scale);
        let factors = numbers::scales(dtype, vec![matrix.outputs], &shared.factors)?;
        let factors = self.graph.add_constant(&format!("{}.factors", weight.name), factors);
        let shape = weight.tensor.shape();
        let few = self.codes(weight, shape, codes);
        let zero = self.zero(&format!("{}.zero", weight.name));
        let name = self.back(weight, shape, [few, scale, zero], &[], dtype);
        let done = Dequantized { name, factors: Some(factors), kept };
        self.weights.insert(key, done.clone());
        Ok(done)
    }

    /// A weight in 4 bits with a scale for each block, once for all that read it. Errors make up for each other where the
    /// moments of what its product reads are known; if several products read it, those of the first.
    pub(super) fn blocks(
        &mut self,
        weight: &Weight,
        matrix: &Matrix<'_>,
        read: &str,
        dtype: DType,
    ) -> Result<Dequantized> {
        let key = (weight.name.clone(), weight.channels, None);
        let of_one = self.is_of_one_product();
        if let Some(done) = self.weights.get(&key).filter(|_| !of_one) {
            return Ok(done.clone());
        }
        let moments = self.choice.options.moments_of_layers();
        let moment = moments.and_then(|moments| moments.get(read, matrix.inputs));
        let (grid, scales, codes) = match moment.and_then(|m| Some((m.squares(), m.factor()?))) {
            Some((squares, factor)) => {
                let grid = Grid::WholeInt4;
                let scales = matrix.scales(grid, Some(&squares));
                let codes = matrix.compensated(grid, &scales, factor);
                (grid, scales, codes)
            }
            None => {
                let scales = matrix.scales(Grid::Int4, None);
                let codes = matrix.codes(Grid::Int4, &scales);
                (Grid::Int4, scales, codes)
            }
        };
        let kept = matrix.kept(grid, &scales, &codes);
        let (matrix, codes) = match of_one && matrix.by_outputs {
            true => (&Matrix { by_outputs: false, ..*matrix }, matrix.by_inputs(&codes)),
            false => (matrix, codes),
        };
        let (shape, scales) = matrix.in_order(&scales);
        let scale = numbers::scales(dtype, shape, &scales)?;
        let scale = self.graph.add_constant(&format!("{}.scale", weight.name), scale);
        let shape = match matrix.by_outputs {
            true => [matrix.outputs, matrix.inputs],
            false => [matrix.inputs, matrix.outputs],
        };
        let few = self.codes(weight, &shape, packed(&codes));
        let attributes = [
            Attribute::Int(i64::from(matrix.by_outputs)).to_proto("axis"),
            Attribute::Int(matrix.block as i64).to_proto("block_size"),
        ];
        let name = self.back(weight, &shape, [few, scale], &attributes, dtype);
        let done = Dequantized { name, factors: None, kept };
        self.weights.insert(key, done.clone());
        Ok(done)
    }

    /// Whether each product gets a weight in 4 bits of its own, as `[in, out]`. ONNX Runtime multiplies such a weight as it is
    /// (`MatMulNBits`). It writes all others out in each run, which takes a hundred times as long for one row.
    pub(super) fn is_of_one_product(&self) -> bool {
        self.form == Form::Int4Weights && self.choice.reader == Reader::OnnxRuntime
    }

    /// Has a product read its weight as `[in, out]`.
    pub(super) fn untransposed(&mut self, node: &mut NodeProto, weight: &Weight) {
        node.attribute.retain(|attribute| attribute.name() != "transB");
        if let Some(turn) = &weight.turn {
            self.turned.insert(turn.output[0].clone());
        }
    }

    /// The dequantized weight as a product reads it.
    pub(super) fn turned(&mut self, weight: &Weight, back: &str, dtype: DType) -> String {
        let Some(turn) = &weight.turn else { return back.to_owned() };
        let name = self.graph.fresh(&format!("{}.dequantized", turn.output[0]));
        self.nodes.push(NodeProto {
            name: Some(name.clone()),
            input: vec![back.to_owned()],
            output: vec![name.clone()],
            ..turn.clone()
        });
        self.turned.insert(turn.output[0].clone());
        if let Some(spec) = self.graph.spec(&turn.output[0]) {
            self.graph.set_spec(&name, dtype, spec.shape);
        }
        name
    }

    /// Multiplies what a product gives with a factor for each output, and adds what a `Gemm` adds afterwards.
    pub(super) fn multiply(&mut self, node: &mut NodeProto, factors: &str, dtype: DType) {
        let given = node.output[0].clone();
        if node.name().is_empty() {
            node.name = Some(given.clone());
        }
        let term = node.input.get(2).filter(|name| !name.is_empty()).cloned();
        let term = term.filter(|_| factor(node, "beta") != 0.0);
        if node.is("Gemm") {
            node.input.truncate(2);
        }
        let shape = self.graph.spec(&given).map(|spec| spec.shape);
        let mut fresh = |what: &str| {
            let name = self.graph.fresh(&format!("{given}.{what}"));
            if let Some(shape) = &shape {
                self.graph.set_spec(&name, dtype, shape.clone());
            }
            name
        };
        let product = fresh("product");
        let scaled = if term.is_some() { fresh("scaled") } else { given.clone() };
        node.output[0] = product.clone();
        self.after.push(operation("Mul", [product, factors.to_owned()], &scaled, &[]));
        if let Some(term) = term {
            self.after.push(operation("Add", [scaled, term], &given, &[]));
        }
    }

    /// The codes of a weight.
    fn codes(&mut self, weight: &Weight, shape: &[usize], codes: Vec<u8>) -> String {
        let few = self.graph.fresh(&format!("{}.{}", weight.name, self.form.name()));
        self.graph.add_proto(TensorProto {
            name: Some(few.clone()),
            data_type: Some(self.form.grid().onnx() as i32),
            dims: shape.iter().map(|&size| size as i64).collect(),
            raw_data: Some(codes.into()),
            ..Default::default()
        });
        few
    }

    fn back(
        &mut self,
        weight: &Weight,
        shape: &[usize],
        inputs: impl IntoIterator<Item = String>,
        attributes: &[AttributeProto],
        dtype: DType,
    ) -> String {
        let name = self.graph.fresh(&format!("{}.dequantized", weight.name));
        self.push("DequantizeLinear", inputs, &name, attributes);
        self.graph.set_spec(&name, dtype, shape.iter().copied().into());
        name
    }

    /// A zero of the type that is quantized to, which states it.
    fn zero(&mut self, hint: &str) -> String {
        let name = self.graph.fresh(hint);
        self.graph.add_proto(TensorProto {
            name: Some(name.clone()),
            data_type: Some(self.form.grid().onnx() as i32),
            raw_data: Some(vec![0u8].into()),
            ..Default::default()
        });
        name
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: impl IntoIterator<Item = String>,
        output: &str,
        attributes: &[AttributeProto],
    ) {
        self.nodes.push(operation(operator, inputs, output, attributes));
    }
}

fn operation(
    operator: &str,
    inputs: impl IntoIterator<Item = String>,
    output: &str,
    attributes: &[AttributeProto],
) -> NodeProto {
    NodeProto {
        name: Some(output.to_owned()),
        op_type: Some(operator.to_owned()),
        input: inputs.into_iter().collect(),
        output: vec![output.to_owned()],
        attribute: attributes.to_vec(),
        ..Default::default()
    }
}
