//! ONNX files as torch writes them: weights as initializers, layers in their parts. No cases here.

use accelerant::export::OnnxModel;
use accelerant::export::onnx::{
    self, AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, ValueInfoProto,
    attribute_proto,
};
use accelerant::{DType, Dim, HostTensor, TensorSpec};
use prost::Message;

/// A graph that is put together node by node, whose values have the names of their nodes.
pub(crate) struct File {
    opset: i64,
    /// What the names begin with.
    prefix: String,
    graph: GraphProto,
}

impl File {
    pub(crate) fn new(opset: i64) -> Self {
        let graph = GraphProto { name: Some("main_graph".into()), ..Default::default() };
        Self { opset, prefix: String::new(), graph }
    }

    /// A body within a file, whose names begin with `name`.
    pub(crate) fn within(&self, name: &str) -> Self {
        let graph = GraphProto { name: Some(name.into()), ..Default::default() };
        Self { opset: self.opset, prefix: format!("{name}_"), graph }
    }

    /// The body, which gives these values. Their types are not stated.
    pub(crate) fn body(mut self, outputs: &[&str]) -> GraphProto {
        let untyped =
            |name: &&str| ValueInfoProto { name: Some((*name).into()), ..Default::default() };
        self.graph.output = outputs.iter().map(untyped).collect();
        self.graph
    }

    pub(crate) fn input(&mut self, name: &str, dtype: DType, dims: &[&str]) -> String {
        let dim = |dim: &&str| match dim.parse() {
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::dynamic(*dim, 1..=4).unwrap(),
        };
        let dims: Vec<Dim> = dims.iter().map(dim).collect();
        self.graph.input.push(onnx::spec_to_proto(&TensorSpec::new(name, dtype, dims)));
        name.to_owned()
    }

    /// A node with several outputs, of which those without a name are left out.
    pub(crate) fn node_giving(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Stated<'_>)],
        outputs: &[&str],
    ) {
        self.node_with(operator, inputs, attributes);
        let node = self.graph.node.last_mut().expect("it was just added");
        node.output = outputs.iter().map(|&name| name.to_owned()).collect();
    }

    /// One more output, beside that of [`read`](Self::read).
    pub(crate) fn output(&mut self, name: &str, dtype: DType, dims: &[Dim]) {
        let spec = TensorSpec::new(name, dtype, dims.to_vec());
        self.graph.output.push(onnx::spec_to_proto(&spec));
    }

    /// A weight, or another number that the file knows.
    pub(crate) fn weight(&mut self, name: &str, tensor: HostTensor) -> String {
        self.graph.initializer.push(onnx::tensor_to_proto(name, &tensor));
        name.to_owned()
    }

    /// One number, as torch writes it beside a tensor.
    pub(crate) fn scalar(&mut self, dtype: DType, value: f32) -> String {
        let tensor = match dtype {
            DType::F16 => HostTensor::scalar(half::f16::from_f32(value)),
            _ => HostTensor::scalar(value),
        };
        let name = format!("{}scalar_{}", self.prefix, self.graph.initializer.len());
        self.weight(&name, tensor)
    }

    pub(crate) fn ints(&mut self, values: &[i64]) -> String {
        let name = format!("{}val_{}", self.prefix, self.graph.initializer.len());
        self.weight(&name, HostTensor::from_vec([values.len()], values.to_vec()).unwrap())
    }

    pub(crate) fn node(&mut self, operator: &str, inputs: &[&str]) -> String {
        self.node_with(operator, inputs, &[])
    }

    pub(crate) fn node_with(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Stated<'_>)],
    ) -> String {
        let number = self.graph.node.len();
        let name = format!("{}{}_{number}", self.prefix, operator.to_lowercase());
        self.graph.node.push(NodeProto {
            name: Some(format!("node_{name}")),
            op_type: Some(operator.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            attribute: attributes.iter().map(|(name, value)| value.attribute(name)).collect(),
            ..Default::default()
        });
        name
    }

    /// The file with this output, read from its bytes, with the range that `batch` may have.
    pub(crate) fn read(self, output: &str, dtype: DType, dims: &[&str]) -> OnnxModel {
        let model = self.read_open(output, dtype, dims);
        match model.signature().inputs[0].shape.is_dynamic() {
            true => model.bind("batch", 1..=4).unwrap(),
            false => model,
        }
    }

    /// The file with this output, read from its bytes. Its sizes are open.
    pub(crate) fn read_open(mut self, output: &str, dtype: DType, dims: &[&str]) -> OnnxModel {
        let dim = |dim: &&str| match dim.parse() {
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::dynamic(*dim, 1..=4).unwrap(),
        };
        let dims: Vec<Dim> = dims.iter().map(dim).collect();
        self.graph.output.push(onnx::spec_to_proto(&TensorSpec::new(output, dtype, dims)));
        let model = ModelProto {
            ir_version: Some(if self.opset < 21 { 8 } else { 10 }),
            opset_import: vec![OperatorSetIdProto {
                domain: Some(String::new()),
                version: Some(self.opset),
            }],
            producer_name: Some("pytorch".into()),
            graph: Some(self.graph),
            ..Default::default()
        };
        OnnxModel::from_bytes(model.encode_to_vec()).unwrap()
    }
}

/// A value of an attribute.
pub(crate) enum Stated<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
    Graph(Box<GraphProto>),
}

impl Stated<'_> {
    fn attribute(&self, name: &str) -> AttributeProto {
        use attribute_proto::AttributeType;
        let mut proto = AttributeProto { name: Some(name.to_owned()), ..Default::default() };
        let kind = match self {
            Self::Int(value) => {
                proto.i = Some(*value);
                AttributeType::Int
            }
            Self::Ints(values) => {
                proto.ints = values.to_vec();
                AttributeType::Ints
            }
            Self::Float(value) => {
                proto.f = Some(*value);
                AttributeType::Float
            }
            Self::Text(text) => {
                proto.s = Some(text.as_bytes().to_vec().into());
                AttributeType::String
            }
            Self::Graph(graph) => {
                proto.g = Some((**graph).clone());
                AttributeType::Graph
            }
        };
        proto.r#type = Some(kind as i32);
        proto
    }
}
