//! Exponentials and logarithms of far numbers, which tract loses.

use super::Made;
use crate::backend::tract::gaps::view::attribute;
use crate::export::onnx::{self, Attribute, AttributeProto, NodeProto};
use crate::spec::DType;
use crate::tensor::HostTensor;

impl Made {
    /// `max(x, 0) + log(1 + exp(-|x|))`: tract's exponential overflows.
    pub(super) fn softplus(&mut self, node: &NodeProto, dtype: DType) {
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
    pub(super) fn log_softmax(&mut self, node: &NodeProto, opset: i64) {
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
    pub(super) fn log_sum_exp(
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
            let endless = made.infinite(most, dtype, [true; 2]);
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
    pub(super) fn extreme(&mut self, node: &NodeProto, dtype: DType) {
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
}
