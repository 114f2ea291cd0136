//! The nodes of guards. Each fails inside ONNX Runtime with an error where the guarded node would end the process.

use super::needs::{Axes, Need};
use super::{Fault, label};
use crate::export::onnx::{
    Attribute, AttributeProto, GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType, tensor_proto::DataType, type_proto,
};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// In the names of a guard's nodes, before its number.
pub(super) const MARK: &str = "accelerant/guard/";

/// The first operator set with `Range`.
const RANGE: i64 = 11;

/// The first operator set in which ONNX Runtime knows the rank of what `Reshape` gives, where a node computes the shape.
const KNOWN_RANK: i64 = 13;

/// Farther from a diagonal than any matrix reaches, and near enough to be added to.
const FAR: i64 = 1 << 31;

pub(super) struct Writer {
    prefix: String,
    opset: i64,
    /// Whether ONNX Runtime must know as much of shapes behind a guard as before it: a `Scan` does not run otherwise.
    keeps_shapes: bool,
    count: usize,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) faults: Vec<Fault>,
}

impl Writer {
    /// `has_scan`: the model has a `Scan`.
    pub(super) fn new(prefix: String, opset: i64, has_scan: bool) -> Self {
        let keeps_shapes = has_scan && opset < KNOWN_RANK;
        Self { prefix, opset, keeps_shapes, count: 0, nodes: Vec::new(), faults: Vec::new() }
    }

    /// Writes a guard, and has the node read what comes through it.
    pub(super) fn guard(&mut self, node: &mut NodeProto, need: &Need) {
        let input = match need {
            Need::Sizes { input, .. } | Need::Positive { input } | Need::Near { input } => *input,
            Need::NotZero | Need::NoOverflow { .. } => 1,
            Need::Given { .. } => return,
        };
        let Some(x) = node.input.get(input).cloned().filter(|name| !name.is_empty()) else {
            return;
        };
        let text = match need {
            Need::Sizes { least, .. } => format!("a size is below {least}"),
            Need::Positive { .. } => "an integer is below 1".to_owned(),
            Need::NotZero => "an integer is divided by 0".to_owned(),
            Need::Near { .. } | Need::NoOverflow { .. } | Need::Given { .. } => String::new(),
        };
        self.faults.push(Fault { operation: label(node), tensor: x.clone(), text });
        node.input[input] = match need {
            Need::Sizes { axes, least, .. } => {
                let axis = match axes {
                    Axes::Named(input) => node.input.get(*input).cloned(),
                    _ => None,
                };
                self.sizes(&x, axes, axis.as_deref(), *least)
            }
            Need::Positive { .. } => {
                let value = self.cast(&x, DType::I64);
                let none = self.integer(0);
                let value = self.node("Max", &[&value, &none], &[]);
                let number = self.product(&value);
                let shape = self.node("Shape", &[&x], &[]);
                self.unless_zero(&x, &shape, &number)
            }
            Need::NotZero => {
                let truth = self.cast(&x, DType::Bool);
                let ones = self.cast(&truth, DType::I64);
                let number = self.product(&ones);
                let shape = self.node("Shape", &[&x], &[]);
                self.unless_zero(&x, &shape, &number)
            }
            Need::Near { .. } => {
                let (far, near) = (self.integer(FAR), self.integer(-FAR));
                let below = self.node("Min", &[&x, &far], &[]);
                self.node("Max", &[&below, &near], &[])
            }
            Need::NoOverflow { dtype } => self.no_overflow(&node.input[0].clone(), &x, *dtype),
            Need::Given { .. } => x,
        };
    }

    /// Writes a guard at the end of the body of a `Scan`, which gives one number more. What it gave keeps its shape, which
    /// ONNX Runtime must know.
    pub(super) fn guard_given(&mut self, node: &mut NodeProto, need: &Need) {
        let Need::Given { output } = need else { return };
        let operation = label(node);
        let mut attributes = node.attribute.iter_mut();
        let body = attributes.find(|attribute| attribute.name() == "body");
        let Some(body) = body.and_then(|body| body.g.as_mut()) else { return };
        let Some(x) = body.output.get(*output).map(|given| given.name().to_owned()) else { return };
        let text = "a size is below 1".to_owned();
        self.faults.push(Fault { operation, tensor: x.clone(), text });
        let outside = std::mem::take(&mut self.nodes);
        let shape = self.node("Shape", &[&x], &[]);
        let number = self.product(&shape);
        let none = self.none_unless_zero(&number);
        body.node.extend(std::mem::replace(&mut self.nodes, outside));
        node.output.resize(body.output.len(), String::new());
        node.output.push(format!("{none}_all"));
        let number = type_proto::Tensor {
            elem_type: Some(DataType::Int64 as i32),
            shape: Some(TensorShapeProto { dim: Vec::new() }),
        };
        let value = Some(type_proto::Value::TensorType(number));
        let r#type = Some(TypeProto { value, ..TypeProto::default() });
        body.output.push(ValueInfoProto { name: Some(none), r#type, ..ValueInfoProto::default() });
        for attribute in &mut node.attribute {
            if ["scan_output_axes", "scan_output_directions"].contains(&attribute.name()) {
                attribute.ints.push(0);
            }
        }
    }

    /// A 0 without axes, or an error where a number is 0.
    fn none_unless_zero(&mut self, number: &str) -> String {
        let truth = self.cast(number, DType::Bool);
        let wrong = self.node("Not", &[&truth], &[]);
        let index = self.cast(&wrong, DType::I64);
        let none = self.integers(&[0]);
        self.node("Gather", &[&none, &index], &[])
    }

    /// `x`, or an error where one of its sizes is below `least`.
    fn sizes(&mut self, x: &str, axes: &Axes, axis: Option<&str>, least: i64) -> String {
        let shape = self.node("Shape", &[x], &[]);
        let sizes = match axes {
            Axes::Named(_) => {
                let axis = self.cast(axis.unwrap_or_default(), DType::I64);
                self.node("Gather", &[&shape, &axis], &[])
            }
            Axes::Each(axes) => {
                let axes = match axes[..] {
                    [axis] => self.integer(axis),
                    _ => self.integers(axes),
                };
                self.node("Gather", &[&shape, &axes], &[])
            }
            Axes::Span(0, i64::MAX) => shape.clone(),
            Axes::Span(start, end) if self.opset >= 10 => {
                let (start, end) = (self.integers(&[*start]), self.integers(&[*end]));
                self.node("Slice", &[&shape, &start, &end], &[])
            }
            Axes::Span(start, end) => {
                let ends = [("starts", ints(&[*start])), ("ends", ints(&[*end]))];
                self.node("Slice", &[&shape], &ends)
            }
        };
        let sizes = match least {
            1 => sizes,
            least => {
                let less = self.integer(least - 1);
                let rest = self.node("Sub", &[&sizes, &less], &[]);
                let none = self.integer(0);
                self.node("Max", &[&rest, &none], &[])
            }
        };
        let number = match axes {
            Axes::Named(_) => sizes,
            Axes::Each(axes) if axes.len() == 1 => sizes,
            _ => self.product(&sizes),
        };
        self.unless_zero(x, &shape, &number)
    }

    fn product(&mut self, numbers: &str) -> String {
        self.node("ReduceProd", &[numbers], &[("keepdims", Attribute::Int(0))])
    }

    /// `x` of a shape, or an error where a number is 0. The number may not be negative.
    fn unless_zero(&mut self, x: &str, shape: &str, number: &str) -> String {
        if self.keeps_shapes {
            let none = self.none_unless_zero(number);
            let never = self.cast(&none, DType::Bool);
            return self.same_in_both(x, &never);
        }
        let none = if self.opset >= RANGE {
            // One element, and an error for steps of 0.
            let (start, end) = (self.integer(0), self.integer(1));
            self.node("Range", &[&start, &end, number], &[])
        } else {
            self.none_unless_zero(number)
        };
        let same = self.node("Add", &[shape, &none], &[]);
        self.node("Reshape", &[x, &same], &[])
    }

    /// `x` as both branches of an `If` give it, which is a copy. ONNX Runtime knows the shape of what branches give.
    fn same_in_both(&mut self, x: &str, choice: &str) -> String {
        let outside = std::mem::take(&mut self.nodes);
        let branches = ["then_branch", "else_branch"].map(|name| {
            let same = self.node("Identity", &[x], &[]);
            let body = GraphProto {
                name: Some(format!("{same}_body")),
                node: std::mem::take(&mut self.nodes),
                output: vec![ValueInfoProto { name: Some(same), ..ValueInfoProto::default() }],
                ..GraphProto::default()
            };
            AttributeProto {
                name: Some(name.to_owned()),
                r#type: Some(AttributeType::Graph as i32),
                g: Some(body),
                ..AttributeProto::default()
            }
        });
        self.nodes = outside;
        let chosen = self.node("If", &[choice], &[]);
        if let Some(node) = self.nodes.last_mut() {
            node.attribute.extend(branches);
        }
        chosen
    }

    /// The divisor, which is 1 where the least integer would be divided by -1: the quotient is that integer then, as of
    /// shorter integers, and the rest is 0.
    fn no_overflow(&mut self, dividend: &str, divisor: &str, dtype: DType) -> String {
        let number = |small: i32, large: i64| match dtype {
            DType::I32 => HostTensor::scalar(small),
            _ => HostTensor::scalar(large),
        };
        let minus = self.constant(&number(-1, -1));
        let least = self.constant(&number(i32::MIN, i64::MIN));
        let two = self.constant(&number(2, 2));
        let is_minus = self.node("Equal", &[divisor, &minus], &[]);
        let is_least = self.node("Equal", &[dividend, &least], &[]);
        let both = self.node("And", &[&is_minus, &is_least], &[]);
        let one = self.cast(&both, dtype);
        let more = self.node("Mul", &[&one, &two], &[]);
        self.node("Add", &[divisor, &more], &[])
    }

    fn cast(&mut self, x: &str, dtype: DType) -> String {
        let to = match dtype {
            DType::Bool => DataType::Bool,
            DType::I32 => DataType::Int32,
            _ => DataType::Int64,
        };
        self.node("Cast", &[x], &[("to", Attribute::Int(to as i64))])
    }

    fn integer(&mut self, value: i64) -> String {
        self.constant(&HostTensor::scalar(value))
    }

    fn integers(&mut self, values: &[i64]) -> String {
        let tensor = HostTensor::from_vec([values.len()], values.to_vec());
        // Its sizes are those of its elements.
        tensor.map_or_else(|_| String::new(), |tensor| self.constant(&tensor))
    }

    fn constant(&mut self, value: &HostTensor) -> String {
        let value = Attribute::Tensor(value.clone());
        self.node("Constant", &[], &[("value", value)])
    }

    fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[(&str, Attribute)],
    ) -> String {
        let output = format!("{}{}", self.prefix, self.count);
        self.count += 1;
        let number = self.faults.len().saturating_sub(1);
        self.nodes.push(NodeProto {
            op_type: Some(operator.to_owned()),
            name: Some(format!("{MARK}{number}/{output}")),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|(name, value)| value.to_proto(name)).collect(),
            ..NodeProto::default()
        });
        output
    }
}

fn ints(values: &[i64]) -> Attribute {
    Attribute::Ints(values.to_vec())
}
