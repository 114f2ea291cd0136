//! Powers and shifts of integers, as ONNX Runtime computes those that do not fit. tract takes a negative exponent for a
//! huge one, and a shift by more bits than there are for one by the rest.

use super::Made;
use crate::backend::tract::gaps::view::{View, attribute};
use crate::export::onnx::NodeProto;
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The exponents that ONNX Runtime multiplies by, so that what does not fit wraps around.
const MULTIPLIED: [f64; 2] = [2.0, 3.0];

impl Made {
    /// A power of integers, in 64-bit floats as in ONNX Runtime.
    pub(super) fn power(&mut self, node: &NodeProto, dtype: DType, view: &View<'_>) -> Option<()> {
        let [x, exponent] = [0, 1].map(|input| node.input.get(input).cloned());
        let (x, exponent) = (x?, exponent?);
        let constant = view.constant(node, 1);
        let rank = constant.as_ref().map_or(0, |constant| constant.shape().len());
        let constant = constant.and_then(|constant| numbers(&constant));
        // The exponent adds no axes.
        let same_shape = rank == 0 || view.sizes(node, 0).is_some_and(|sizes| sizes.len() >= rank);
        if let Some(&[times]) = constant.as_deref()
            && MULTIPLIED.contains(&times)
            && same_shape
        {
            // tract takes a product of two times the same for a square, and has squares of floats alone.
            let negative = self.op("Neg", &[&x], &[]);
            let square = self.op("Mul", &[&x, &negative], &[]);
            let square = self.op("Neg", &[&square], &[]);
            match times == 3.0 {
                true => self.last(node, "Mul", &[&square, &x]),
                false => self.last(node, "Identity", &[&square]),
            }
            return Some(());
        }
        // tract has the powers of what follows from sizes as expressions, and takes whole exponents alone there.
        let whole =
            |numbers: &[f64]| numbers.iter().all(|number| *number >= 0.0 && number.fract() == 0.0);
        if view.is_sized(node, 0) && constant.as_deref().is_some_and(whole) {
            return None;
        }
        let x = if view.is_sized(node, 0) { self.counted(&x) } else { x };
        let [x, exponent] = [x, exponent].map(|value| self.cast_to(&value, DType::F64));
        let power = self.op("Pow", &[&x, &exponent], &[]);
        let mut whole = node.clone();
        whole.input = vec![power];
        self.cast(&whole, DType::F64, dtype)
    }

    /// Shifts, of which those by all bits or more leave nothing.
    pub(super) fn shift(&mut self, node: &NodeProto, dtype: DType, view: &View<'_>) -> Option<()> {
        let bits = 8 * dtype.size() as u64;
        let near = |constant: HostTensor| {
            numbers(&constant).is_some_and(|all| all.iter().all(|&by| by < bits as f64))
        };
        if view.constant(node, 1).is_some_and(near) {
            return None;
        }
        let of = |number: u64| match dtype {
            DType::U8 => Some(HostTensor::scalar(number as u8)),
            DType::U16 => Some(HostTensor::scalar(number as u16)),
            DType::U32 => Some(HostTensor::scalar(number as u32)),
            DType::U64 => Some(HostTensor::scalar(number)),
            _ => None,
        };
        let [bits, zero] = [self.constant(of(bits)?), self.constant(of(0)?)];
        let (x, by) = (&node.input[0], node.input.get(1)?);
        let direction = attribute(node, "direction")?;
        let near = self.op("Less", &[by, &bits], &[]);
        let by = self.op("Where", &[&near, by, &zero], &[]);
        let shifted = self.op("BitShift", &[x, &by], &[]);
        self.nodes.last_mut()?.attribute.push(direction.clone());
        self.last(node, "Where", &[&near, &shifted, &zero]);
        Some(())
    }
}

fn numbers(tensor: &HostTensor) -> Option<Vec<f64>> {
    fn wide<T: Copy>(values: crate::error::Result<Vec<T>>, of: fn(T) -> f64) -> Option<Vec<f64>> {
        Some(values.ok()?.into_iter().map(of).collect())
    }
    match tensor.dtype() {
        DType::F32 => wide(tensor.to_vec::<f32>(), f64::from),
        DType::F64 => wide(tensor.to_vec::<f64>(), |value| value),
        DType::I8 => wide(tensor.to_vec::<i8>(), f64::from),
        DType::I16 => wide(tensor.to_vec::<i16>(), f64::from),
        DType::I32 => wide(tensor.to_vec::<i32>(), f64::from),
        DType::I64 => wide(tensor.to_vec::<i64>(), |value| value as f64),
        DType::U8 => wide(tensor.to_vec::<u8>(), f64::from),
        DType::U16 => wide(tensor.to_vec::<u16>(), f64::from),
        DType::U32 => wide(tensor.to_vec::<u32>(), f64::from),
        DType::U64 => wide(tensor.to_vec::<u64>(), |value| value as f64),
        _ => None,
    }
}
