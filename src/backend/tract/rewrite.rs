//! Nodes that tract computes wrongly, written in operators that tract computes right. `gaps` refuses nodes that cannot be
//! written in another way.

use half::f16;

use super::gaps::view::{View, attribute};
use crate::export::onnx::{
    self, Attribute, AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto,
    tensor_proto::DataType, type_proto,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The largest size that an axis of a slice may have: tract loses its way with the ends of 64-bit integers.
const FAR: i64 = i32::MAX as i64;

/// Writes a graph, and those inside, so that tract computes the same as ONNX says.
pub(super) fn rewrite(graph: &mut GraphProto, opset: i64, outer: &View<'_>) {
    let known = graph.clone();
    let view = outer.with(&known);
    let mut nodes = Vec::with_capacity(known.node.len());
    for (i, node) in std::mem::take(&mut graph.node).into_iter().enumerate() {
        let mut made = Made {
            prefix: format!("{}.{i}", node.output.first().map_or("", String::as_str)),
            nodes: Vec::new(),
        };
        match made.write(&node, opset, &view) {
            Some(()) => nodes.append(&mut made.nodes),
            None => nodes.push(node),
        }
    }
    for node in &mut nodes {
        for body in node.attribute.iter_mut().filter_map(|attribute| attribute.g.as_mut()) {
            rewrite(body, opset, &view);
        }
    }
    graph.node = nodes;
}

/// Whether a sum of 64-bit integers, which tract does in 32 bits, can be written as cumulative sums.
pub(super) fn sums_integers(node: &NodeProto, view: &View<'_>) -> bool {
    axes_of(node, view).is_some_and(|axes| !axes.is_empty())
}

fn axes_of(node: &NodeProto, view: &View<'_>) -> Option<Vec<i64>> {
    match attribute(node, "axes") {
        Some(axes) => Some(axes.ints.clone()),
        None => view.ints(node, 1),
    }
}

struct Made {
    prefix: String,
    nodes: Vec<NodeProto>,
}

impl Made {
    /// Writes a node in other operators; `None` where tract has the node right.
    fn write(&mut self, node: &NodeProto, opset: i64, view: &View<'_>) -> Option<()> {
        node.input.first()?;
        let dtype = view.dtype(node, 0);
        match node.op_type() {
            "Softplus" => self.softplus(node, dtype?),
            "LogSoftmax" if opset >= 13 => self.log_softmax(node, opset),
            "ReduceLogSumExp" => {
                let result = self.log_sum_exp(&node.input, &node.attribute, dtype?, opset);
                self.last(node, "Identity", &[&result]);
            }
            "ReduceMax" | "ReduceMin" if matches!(dtype, Some(DType::F32 | DType::F64)) => {
                self.extreme(node, dtype?);
            }
            "ReduceSum" if dtype == Some(DType::I64) => {
                self.sum(node, &axes_of(node, view)?, opset)
            }
            "Cast" if attribute(node, "to")?.i() == DataType::Int64 as i64 => match dtype? {
                DType::I64 => self.last(node, "Identity", &[&node.input[0]]),
                // tract takes a Cast to 64-bit integers for one to sizes of axes.
                _ => {
                    let like = self.constant(HostTensor::scalar(0i64));
                    self.last(node, "CastLike", &[&node.input[0], &like]);
                }
            },
            "Slice" if node.input.len() > 2 => {
                let near = |values: Vec<i64>| {
                    values.into_iter().map(|v| v.clamp(-FAR, FAR)).collect::<Vec<_>>()
                };
                let far = |values: &[i64]| values.iter().any(|v| !(-FAR..=FAR).contains(v));
                let (starts, ends) = (view.ints(node, 1)?, view.ints(node, 2)?);
                if !far(&starts) && !far(&ends) {
                    return None;
                }
                let mut inputs = node.input.clone();
                for (i, values) in [(1, starts), (2, ends)] {
                    inputs[i] =
                        self.constant(HostTensor::from_vec([values.len()], near(values)).ok()?);
                }
                let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
                self.last(node, "Slice", &inputs);
            }
            _ => return None,
        }
        Some(())
    }

    fn op(&mut self, op: &str, inputs: &[&str], attributes: &[(&str, Attribute)]) -> String {
        let output = format!("{}.{}", self.prefix, self.nodes.len());
        self.nodes.push(NodeProto {
            op_type: Some(op.to_owned()),
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..Default::default()
        });
        output
    }

    /// The node that makes what `node` made.
    fn last(&mut self, node: &NodeProto, op: &str, inputs: &[&str]) {
        self.op(op, inputs, &[]);
        if let Some(last) = self.nodes.last_mut() {
            last.output.clone_from(&node.output);
            last.name.clone_from(&node.name);
        }
    }

    fn constant(&mut self, value: HostTensor) -> String {
        self.op("Constant", &[], &[("value", value.into())])
    }

    fn number(&mut self, value: f64, dtype: DType) -> String {
        self.constant(match dtype {
            DType::F64 => HostTensor::scalar(value),
            _ => HostTensor::scalar(value as f32),
        })
    }

    /// `max(x, 0) + log(1 + exp(-|x|))`: tract's exponential overflows.
    fn softplus(&mut self, node: &NodeProto, dtype: DType) {
        let x = &node.input[0];
        let (zero, one) = (self.number(0.0, dtype), self.number(1.0, dtype));
        let size = self.op("Abs", &[x], &[]);
        let less = self.op("Neg", &[&size], &[]);
        let power = self.op("Exp", &[&less], &[]);
        let more = self.op("Add", &[&power, &one], &[]);
        let rest = self.op("Log", &[&more], &[]);
        let most = self.op("Max", &[x, &zero], &[]);
        self.last(node, "Add", &[&most, &rest]);
    }

    /// `y - log(sum(exp(y)))` of `y = x - max(x)`: tract takes the logarithm of a softmax, which is 0 for far numbers.
    fn log_softmax(&mut self, node: &NodeProto, opset: i64) {
        let axis = attribute(node, "axis").map_or(-1, |axis| axis.i());
        let x = &node.input[0];
        let most = self.reduce("ReduceMax", x, axis, opset);
        let near = self.op("Sub", &[x, &most], &[]);
        let power = self.op("Exp", &[&near], &[]);
        let sum = self.reduce("ReduceSum", &power, axis, opset);
        let log = self.op("Log", &[&sum], &[]);
        self.last(node, "Sub", &[&near, &log]);
    }

    /// A reduction along one axis, which stays.
    fn reduce(&mut self, op: &str, x: &str, axis: i64, opset: i64) -> String {
        if opset >= 18 || op == "ReduceSum" && opset >= 13 {
            let axes = self.constant(
                HostTensor::from_vec([1], vec![axis]).unwrap_or_else(|_| HostTensor::scalar(axis)),
            );
            return self.op(op, &[x, &axes], &[]);
        }
        self.op(op, &[x], &[("axes", vec![axis].into())])
    }

    /// `m + log(sum(exp(x - m)))` with the largest number as `m`, or 0 where that is infinite.
    fn log_sum_exp(
        &mut self,
        inputs: &[String],
        attributes: &[AttributeProto],
        dtype: DType,
        opset: i64,
    ) -> String {
        let x = &inputs[0];
        let find = |name: &str| attributes.iter().find(|attribute| attribute.name() == name);
        let axes = find("axes").map(|axes| axes.ints.clone());
        let others: Vec<(&str, Attribute)> = find("noop_with_empty_axes")
            .map(|noop| ("noop_with_empty_axes", Attribute::Int(noop.i())))
            .into_iter()
            .collect();
        let keeps = find("keepdims").map_or(1, |keeps| keeps.i());
        let zero = self.number(0.0, dtype);
        let reduced = |made: &mut Self, op: &str, x: &str, keeps: i64| {
            let mut attributes = others.clone();
            attributes.push(("keepdims", Attribute::Int(keeps)));
            let by_input = opset >= 18 || op == "ReduceSum" && opset >= 13;
            match (&axes, inputs.get(1).filter(|name| !name.is_empty())) {
                (_, Some(axes)) => made.op(op, &[x, axes], &attributes),
                (Some(axes), None) if by_input => {
                    let axes = HostTensor::from_vec([axes.len()], axes.clone());
                    let axes = made.constant(axes.unwrap_or_else(|_| HostTensor::scalar(0i64)));
                    made.op(op, &[x, &axes], &attributes)
                }
                (Some(axes), None) => {
                    attributes.push(("axes", axes.clone().into()));
                    made.op(op, &[x], &attributes)
                }
                (None, None) => made.op(op, &[x], &attributes),
            }
        };
        let finite = |made: &mut Self, most: &str| {
            let endless = made.op("IsInf", &[most], &[]);
            made.op("Where", &[&endless, &zero, most], &[])
        };
        let most = reduced(self, "ReduceMax", x, 1);
        let most = finite(self, &most);
        let near = self.op("Sub", &[x, &most], &[]);
        let power = self.op("Exp", &[&near], &[]);
        let sum = reduced(self, "ReduceSum", &power, keeps);
        let log = self.op("Log", &[&sum], &[]);
        let most = reduced(self, "ReduceMax", x, keeps);
        let most = finite(self, &most);
        self.op("Add", &[&log, &most], &[])
    }

    /// The extreme, or infinity where nothing is nearer: tract starts from the farthest finite number.
    fn extreme(&mut self, node: &NodeProto, dtype: DType) {
        let (closer, end) = match node.op_type() {
            "ReduceMax" => ("Greater", f64::NEG_INFINITY),
            _ => ("Less", f64::INFINITY),
        };
        let (endless, zero) = (self.number(end, dtype), self.number(0.0, dtype));
        let near = self.op(closer, &[&node.input[0], &endless], &[]);
        let near = self.op("Cast", &[&near], &[("to", (onnx::to_onnx(dtype) as i64).into())]);
        let mut found = Vec::new();
        for (op, x) in [("ReduceMax", near), (node.op_type(), node.input[0].clone())] {
            let mut reduced = node.clone();
            reduced.op_type = Some(op.to_owned());
            reduced.input[0] = x;
            reduced.output = vec![format!("{}.{op}{}", self.prefix, self.nodes.len())];
            reduced.name = None;
            found.push(reduced.output[0].clone());
            self.nodes.push(reduced);
        }
        let some = self.op("Greater", &[&found[0], &zero], &[]);
        self.last(node, "Where", &[&some, &found[1], &endless]);
    }

    /// The last of cumulative sums, which tract computes in 64 bits, along each axis.
    fn sum(&mut self, node: &NodeProto, axes: &[i64], opset: i64) {
        let vector = |values: &[i64]| HostTensor::from_vec([values.len()], values.to_vec());
        let last = vector(&[-1]).unwrap_or_else(|_| HostTensor::scalar(-1i64));
        let last = self.constant(last);
        let mut x = node.input[0].clone();
        for &axis in axes {
            let along = self.constant(HostTensor::scalar(axis));
            let sums = self.op("CumSum", &[&x, &along], &[]);
            x = self.op("Gather", &[&sums, &last], &[("axis", axis.into())]);
        }
        if attribute(node, "keepdims").map_or(1, |keeps| keeps.i()) == 0 {
            x = match opset {
                ..13 => self.op("Squeeze", &[&x], &[("axes", axes.into())]),
                _ => {
                    let axes =
                        self.constant(vector(axes).unwrap_or_else(|_| HostTensor::scalar(0i64)));
                    self.op("Squeeze", &[&x, &axes], &[])
                }
            };
        }
        self.last(node, "Identity", &[&x]);
    }
}

/// Makes 32-bit floats of 16-bit ones everywhere: tract computes those one by one, hundreds of times slower, and lets
/// sums of them overflow. What is cast to 16 bits is rounded to them.
pub(super) fn widen(graph: &mut GraphProto, outer: &View<'_>) {
    let known = graph.clone();
    let view = outer.with(&known);
    let values = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for value in values {
        widen_value(value);
    }
    graph.initializer.iter_mut().for_each(widen_tensor);
    for mut node in std::mem::take(&mut graph.node) {
        if casts_to_half(&node, &view) {
            graph.node.extend(rounded(node));
            continue;
        }
        let names_type = matches!(node.op_type(), "EyeLike" | "RandomNormal" | "RandomUniform");
        for attribute in &mut node.attribute {
            if names_type
                && attribute.name() == "dtype"
                && attribute.i() == DataType::Float16 as i64
            {
                attribute.i = Some(DataType::Float as i64);
            }
            attribute.t.iter_mut().for_each(widen_tensor);
            attribute.g.iter_mut().for_each(|body| widen(body, &view));
        }
        graph.node.push(node);
    }
}

fn casts_to_half(node: &NodeProto, view: &View<'_>) -> bool {
    match node.op_type() {
        "Cast" => attribute(node, "to").is_some_and(|to| to.i() == DataType::Float16 as i64),
        "CastLike" => view.dtype(node, 1) == Some(DType::F16),
        _ => false,
    }
}

/// A cast to 16-bit floats, and from there to 32 bits.
fn rounded(node: NodeProto) -> [NodeProto; 2] {
    let half = format!("{}.half", node.output.first().map_or("", String::as_str));
    let cast = |input: String, output: Vec<String>, to: DataType| NodeProto {
        op_type: Some("Cast".to_owned()),
        input: vec![input],
        output,
        attribute: vec![Attribute::from(to as i64).to_proto("to")],
        ..Default::default()
    };
    let input = node.input.into_iter().next().unwrap_or_default();
    let first = cast(input, vec![half.clone()], DataType::Float16);
    let second = cast(half, node.output, DataType::Float);
    [first, NodeProto { name: node.name, ..second }]
}

fn widen_value(value: &mut ValueInfoProto) {
    let kind = value.r#type.as_mut().and_then(|kind| kind.value.as_mut());
    if let Some(type_proto::Value::TensorType(tensor)) = kind
        && tensor.elem_type() == DataType::Float16 as i32
    {
        tensor.elem_type = Some(DataType::Float as i32);
    }
}

fn widen_tensor(tensor: &mut TensorProto) {
    if tensor.data_type() != DataType::Float16 as i32 {
        return;
    }
    let halves: Vec<f16> = match tensor.raw_data.as_ref().filter(|bytes| !bytes.is_empty()) {
        Some(bytes) => {
            bytes.chunks_exact(2).map(|pair| f16::from_le_bytes([pair[0], pair[1]])).collect()
        }
        None => tensor.int32_data.iter().map(|&bits| f16::from_bits(bits as u16)).collect(),
    };
    let shape: Option<Vec<usize>> =
        tensor.dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    let wide: Vec<f32> = halves.into_iter().map(f32::from).collect();
    if let Some(wide) = shape.and_then(|shape| HostTensor::from_vec(shape, wide).ok()) {
        *tensor = onnx::tensor_to_proto(tensor.name(), &wide);
    }
}
