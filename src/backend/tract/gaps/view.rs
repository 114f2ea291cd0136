//! Everything that is known of the values of a graph before a run: element types, sizes and constants. No rules.

use std::collections::{HashMap, HashSet};

use crate::export::onnx::{
    self, AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Values by name, those of the graphs around included.
#[derive(Clone, Default)]
pub(in crate::backend::tract) struct View<'g> {
    types: HashMap<&'g str, DType>,
    constants: HashMap<&'g str, &'g TensorProto>,
    shapes: Option<&'g Shapes>,
    /// Values that follow from constants and the sizes of others.
    sized: HashSet<&'g str>,
    /// Those of them that may be below 0, and how.
    signed: HashMap<&'g str, Sign>,
}

/// How a value that follows from sizes comes below 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::backend::tract) enum Sign {
    /// A constant is taken off a size.
    Shortened,
    /// A size is taken off.
    Negative,
}

/// Sizes of values by name; `None` for one that is open.
pub(in crate::backend::tract) type Shapes = HashMap<String, Vec<Option<usize>>>;

impl<'g> View<'g> {
    /// Nothing but the sizes of values.
    pub(in crate::backend::tract) fn of(shapes: &'g Shapes) -> Self {
        Self { shapes: Some(shapes), ..Self::default() }
    }

    /// What is known inside a graph whose surroundings this knows.
    pub(in crate::backend::tract) fn with(&self, graph: &'g GraphProto) -> Self {
        let mut view = self.clone();
        for tensor in &graph.initializer {
            view.constants.insert(tensor.name(), tensor);
            if let Ok(dtype) = onnx::from_onnx(tensor.data_type()) {
                view.types.insert(tensor.name(), dtype);
            }
        }
        for value in graph.input.iter().chain(&graph.value_info) {
            if let Some(dtype) = declared(value) {
                view.types.insert(value.name(), dtype);
            }
        }
        for node in &graph.node {
            if let Some(value) = attribute(node, "value").and_then(|a| a.t.as_ref())
                && node.op_type() == "Constant"
                && let [output] = &node.output[..]
            {
                view.constants.insert(output, value);
            }
            if view.follows_from_sizes(node) {
                view.sized.extend(node.output.iter().map(String::as_str));
                if let Some(sign) = view.sign_of_result(node) {
                    view.signed.extend(node.output.iter().map(|name| (name.as_str(), sign)));
                }
            }
            let dtypes = view.output_types(node);
            for (output, dtype) in node.output.iter().zip(dtypes) {
                if let Some(dtype) = dtype {
                    view.types.insert(output, dtype);
                }
            }
        }
        view
    }

    fn follows_from_sizes(&self, node: &NodeProto) -> bool {
        let mut inputs = node.input.iter().filter(|name| !name.is_empty());
        match node.op_type() {
            "Constant" | "Shape" | "Size" => true,
            "If" | "Loop" | "Scan" => false,
            _ => inputs.all(|name| {
                self.constants.contains_key(name.as_str()) || self.sized.contains(name.as_str())
            }),
        }
    }

    fn sign_of_result(&self, node: &NodeProto) -> Option<Sign> {
        let data = match node.op_type() {
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Sum" | "Concat" => {
                0..node.input.len()
            }
            "Where" => 1..node.input.len(),
            _ => 0..1,
        };
        let signs = data.map(|at| self.sign(node, at));
        if node.op_type() == "Max" {
            return signs.min().flatten();
        }
        let all = signs.max().flatten();
        match node.op_type() {
            "Constant" | "Shape" | "Size" | "Abs" => None,
            "Neg" => Some(Sign::Negative),
            "Sub" if self.constant(node, 1).is_none() => Some(Sign::Negative),
            "Sub" => all.max(Some(Sign::Shortened)),
            // With the sign of the divisor.
            "Mod" if !follows_c(node) => self.sign(node, 1),
            // A negative constant is one that is taken off.
            "Add" if self.signed_inputs(node) == 0 && all.is_some() => Some(Sign::Shortened),
            _ => all,
        }
    }

    /// How many inputs are no constants, and may be below 0.
    fn signed_inputs(&self, node: &NodeProto) -> usize {
        node.input.iter().filter(|name| self.signed.contains_key(name.as_str())).count()
    }

    /// How a node's input, which follows from constants and sizes, comes below 0.
    pub(in crate::backend::tract) fn sign(&self, node: &NodeProto, input: usize) -> Option<Sign> {
        let values = || self.ints(node, input).unwrap_or_default();
        let sign = self.signed.get(node.input.get(input)?.as_str()).copied();
        sign.or_else(|| values().iter().any(|&value| value < 0).then_some(Sign::Negative))
    }

    /// Whether a value follows from sizes.
    pub(in crate::backend::tract) fn follows(&self, name: &str) -> bool {
        self.sized.contains(name)
    }

    /// The element type of a value, if known.
    pub(in crate::backend::tract) fn dtype_of(&self, name: &str) -> Option<DType> {
        self.types.get(name).copied()
    }

    /// Whether a node's input follows from constants and sizes alone.
    pub(in crate::backend::tract) fn is_sized(&self, node: &NodeProto, input: usize) -> bool {
        let name = node.input.get(input).map_or("", String::as_str);
        name.is_empty() || self.constants.contains_key(name) || self.sized.contains(name)
    }

    fn output_types(&self, node: &NodeProto) -> Vec<Option<DType>> {
        let body = match node.op_type() {
            "If" => attribute(node, "then_branch"),
            "Scan" => attribute(node, "body"),
            _ => None,
        };
        if let Some(body) = body.and_then(|body| body.g.as_ref()) {
            let view = self.with(body);
            let types = |value: &ValueInfoProto| view.types.get(value.name()).copied();
            return body.output.iter().map(types).collect();
        }
        let dtype = self.output_type(node);
        let others = |i: usize| match (node.op_type(), i) {
            ("TopK" | "MaxPool", 1) => Some(DType::I64),
            ("Dropout", 1) => Some(DType::Bool),
            _ => dtype,
        };
        (0..node.output.len()).map(others).collect()
    }

    fn output_type(&self, node: &NodeProto) -> Option<DType> {
        let named = |name| attribute(node, name).and_then(|a| onnx::from_onnx(a.i() as i32).ok());
        let of = |i: usize| self.dtype(node, i);
        match node.op_type() {
            "Cast" => named("to"),
            "CastLike" | "Where" | "OneHot" => of(if node.op_type() == "OneHot" { 2 } else { 1 }),
            "Shape" | "Size" | "NonZero" | "ArgMax" | "ArgMin" | "NonMaxSuppression" => {
                Some(DType::I64)
            }
            "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Not" | "And"
            | "Or" | "Xor" | "IsNaN" | "IsInf" => Some(DType::Bool),
            "Constant" | "ConstantOfShape" => {
                let value = attribute(node, "value").and_then(|a| a.t.as_ref());
                let ints =
                    ["value_int", "value_ints"].iter().any(|name| attribute(node, name).is_some());
                match value {
                    Some(value) => onnx::from_onnx(value.data_type()).ok(),
                    None if ints => Some(DType::I64),
                    None => Some(DType::F32),
                }
            }
            "EyeLike" => named("dtype").or_else(|| of(0)),
            "QuantizeLinear" => of(2).or(Some(DType::U8)),
            "DynamicQuantizeLinear" => Some(DType::U8),
            "DequantizeLinear" => Some(DType::F32),
            "ConvInteger" | "MatMulInteger" => Some(DType::I32),
            "QLinearConv" | "QLinearMatMul" => of(7),
            "If" | "Scan" => None,
            _ => of(0),
        }
    }

    /// The element type of a node's input, if known.
    pub(in crate::backend::tract) fn dtype(&self, node: &NodeProto, input: usize) -> Option<DType> {
        self.types.get(node.input.get(input)?.as_str()).copied()
    }

    /// The sizes of a node's input, if its rank is known.
    pub(in crate::backend::tract) fn sizes(
        &self,
        node: &NodeProto,
        input: usize,
    ) -> Option<&'g [Option<usize>]> {
        self.shapes?.get(node.input.get(input)?).map(Vec::as_slice)
    }

    /// The values of a node's input as 64-bit integers, if they are constant integers.
    pub(in crate::backend::tract) fn ints(
        &self,
        node: &NodeProto,
        input: usize,
    ) -> Option<Vec<i64>> {
        let tensor = self.constant(node, input)?;
        match tensor.dtype() {
            DType::I64 => tensor.to_vec().ok(),
            DType::I32 => Some(tensor.to_vec::<i32>().ok()?.into_iter().map(i64::from).collect()),
            _ => None,
        }
    }

    /// A node's input, if it is constant and its data is as long as its shape.
    pub(in crate::backend::tract) fn constant(
        &self,
        node: &NodeProto,
        input: usize,
    ) -> Option<HostTensor> {
        values(self.constants.get(node.input.get(input)?.as_str())?)
    }
}

/// Whether a remainder has the sign of what is divided.
pub(in crate::backend::tract) fn follows_c(node: &NodeProto) -> bool {
    attribute(node, "fmod").is_some_and(|fmod| fmod.i() != 0)
}

fn declared(value: &ValueInfoProto) -> Option<DType> {
    match value.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => onnx::from_onnx(tensor.elem_type()).ok(),
        _ => None,
    }
}

/// The values of a tensor that lie in the model itself.
fn values(proto: &TensorProto) -> Option<HostTensor> {
    let dtype = onnx::from_onnx(proto.data_type()).ok()?;
    let sizes = proto.dims.iter().map(|&size| usize::try_from(size));
    let shape = sizes.collect::<Result<Vec<_>, _>>().ok()?;
    if let Some(bytes) = proto.raw_data.as_ref().filter(|bytes| !bytes.is_empty()) {
        return HostTensor::from_bytes(dtype, shape, bytes.clone()).ok();
    }
    let narrow = || proto.int32_data.iter().copied();
    match dtype {
        DType::F32 => HostTensor::from_vec(shape, proto.float_data.clone()),
        DType::F64 => HostTensor::from_vec(shape, proto.double_data.clone()),
        DType::I64 => HostTensor::from_vec(shape, proto.int64_data.clone()),
        DType::I32 => HostTensor::from_vec(shape, narrow().collect()),
        DType::I8 => HostTensor::from_vec(shape, narrow().map(|value| value as i8).collect()),
        DType::U8 => HostTensor::from_vec(shape, narrow().map(|value| value as u8).collect()),
        DType::Bool => HostTensor::from_vec(shape, narrow().map(|value| value != 0).collect()),
        _ => return None,
    }
    .ok()
}

/// An attribute by its name.
pub(in crate::backend::tract) fn attribute<'n>(
    node: &'n NodeProto,
    name: &str,
) -> Option<&'n AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}
