//! Operators that tract has of 32-bit floats alone, for 64-bit floats.

use super::Made;
use crate::backend::tract::gaps::view::attribute;
use crate::export::onnx::NodeProto;
use crate::spec::DType;

impl Made {
    /// An operator in others that tract has of 64-bit floats.
    pub(super) fn double(&mut self, node: &NodeProto) {
        let x = node.input[0].clone();
        match node.op_type() {
            "Sigmoid" => {
                let one = self.number(1.0, DType::F64);
                let less = self.op("Neg", &[&x], &[]);
                let power = self.op("Exp", &[&less], &[]);
                let more = self.op("Add", &[&power, &one], &[]);
                self.last(node, "Reciprocal", &[&more]);
            }
            "Round" => self.round(node),
            "IsInf" => {
                let asked = ["detect_negative", "detect_positive"];
                let asked = asked.map(|name| attribute(node, name).is_none_or(|a| a.i() != 0));
                let infinite = self.infinite(&x, DType::F64, asked);
                self.last(node, "Identity", &[&infinite]);
            }
            // tract takes a value for equal to itself.
            _ => {
                let zero = self.number(0.0, DType::F64);
                let above = self.op("GreaterOrEqual", &[&x, &zero], &[]);
                let below = self.op("Less", &[&x, &zero], &[]);
                let number = self.op("Or", &[&above, &below], &[]);
                self.last(node, "Not", &[&number]);
            }
        }
    }

    /// Whether numbers are infinite, below or above 0 where that is asked.
    pub(super) fn infinite(&mut self, x: &str, dtype: DType, asked: [bool; 2]) -> String {
        let ends = [f64::NEG_INFINITY, f64::INFINITY];
        let [below, above] = [0, 1].map(|i| {
            // Nothing is equal to what is no number.
            let end = self.number(if asked[i] { ends[i] } else { f64::NAN }, dtype);
            self.op("Equal", &[x, &end], &[])
        });
        self.op("Or", &[&below, &above], &[])
    }

    /// The nearest whole number, and of two the even one.
    fn round(&mut self, node: &NodeProto) {
        let x = &node.input[0];
        let [half, one, two] = [0.5, 1.0, 2.0].map(|number| self.number(number, DType::F64));
        let floor = self.op("Floor", &[x], &[]);
        let rest = self.op("Sub", &[x, &floor], &[]);
        let halved = self.op("Div", &[&floor, &two], &[]);
        let halved = self.op("Floor", &[&halved], &[]);
        let even = self.op("Mul", &[&halved, &two], &[]);
        let parity = self.op("Sub", &[&floor, &even], &[]);
        let odd = self.op("Equal", &[&parity, &one], &[]);
        let tie = self.op("Equal", &[&rest, &half], &[]);
        let more = self.op("Greater", &[&rest, &half], &[]);
        let up = self.op("And", &[&tie, &odd], &[]);
        let up = self.op("Or", &[&more, &up], &[]);
        let step = self.cast_to(&up, DType::F64);
        self.last(node, "Add", &[&floor, &step]);
    }
}
