//! Casts from floats to integers, as ONNX Runtime casts numbers that the integers do not have. tract takes the nearest
//! integer, and ONNX Runtime the lowest bits of a wider one.

use super::Made;
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// Behind the largest signed integer of 32 and of 64 bits.
const BEHIND_32: f64 = 2_147_483_648.0;
const BEHIND_64: f64 = 9_223_372_036_854_775_808.0;

impl Made {
    pub(super) fn cast(&mut self, node: &NodeProto, from: DType, to: DType) -> Option<()> {
        let x = node.input[0].clone();
        let floats = matches!(from, DType::F32 | DType::F64);
        match to {
            DType::I8 | DType::I16 | DType::U8 | DType::U16 if floats => {
                let near = self.within(&x, from, BEHIND_32, 0.0);
                let whole = self.cast_to(&near, DType::I32);
                self.last_cast(node, &whole, to);
            }
            DType::I32 if floats => {
                let near = self.within(&x, from, BEHIND_32, -BEHIND_32);
                self.last_cast(node, &near, to);
            }
            DType::U32 if floats => {
                let near = self.within(&x, from, 2.0 * BEHIND_32, 0.0);
                let whole = self.counted(&near);
                self.last_cast(node, &whole, to);
            }
            DType::I64 if floats => {
                let near = self.within(&x, from, BEHIND_64, -BEHIND_64);
                self.last_counted(node, &near);
            }
            DType::U64 if floats => {
                let near = self.within(&x, from, 2.0 * BEHIND_64, 0.0);
                let above = self.cast_to(&near, to);
                let near = self.within(&x, from, BEHIND_64, -BEHIND_64);
                let below = self.counted(&near);
                let below = self.cast_to(&below, to);
                let zero = self.number(0.0, from);
                let positive = self.op("GreaterOrEqual", &[&x, &zero], &[]);
                self.last(node, "Where", &[&positive, &above, &below]);
            }
            // What follows from sizes is a number behind a CastLike, and is an expression behind a Cast.
            DType::I64 if from == DType::I64 && node.op_type() == "CastLike" => return None,
            DType::I64 if from == DType::I64 => self.last(node, "Identity", &[&x]),
            DType::I64 => self.last_counted(node, &x),
            _ => return None,
        }
        Some(())
    }

    /// The numbers nearer to 0 than `bound`, and `other` for the rest and for what is no number.
    fn within(&mut self, x: &str, dtype: DType, bound: f64, other: f64) -> String {
        let (bound, other) = (self.number(bound, dtype), self.number(other, dtype));
        let size = self.op("Abs", &[x], &[]);
        let near = self.op("Less", &[&size, &bound], &[]);
        self.op("Where", &[&near, x, &other], &[])
    }

    fn last_counted(&mut self, node: &NodeProto, x: &str) {
        let like = self.constant(HostTensor::scalar(0i64));
        self.last(node, "CastLike", &[x, &like]);
    }
}
