//! Element types of results that an attribute or a body decides, not the types of the inputs.

use super::call::Call;
use crate::export::onnx::tensor_proto::DataType;

/// The type of output `i`, where this operator says it in a way of its own.
pub(super) fn of_output(call: &Call<'_>, i: usize) -> Option<i32> {
    let number =
        |name: &str| call.int(name).and_then(|n| i32::try_from(n).ok()).filter(|&n| n != 0);
    let input = |i: usize| call.input(i).map(|fact| fact.dtype).filter(|&dtype| dtype != 0);
    let float = DataType::Float as i32;
    match (call.node.op_type(), i) {
        ("Cast" | "BitCast", 0) => number("to"),
        ("CastLike", 0) => input(1),
        ("Constant", 0) => match call.tensor("value") {
            Some(tensor) => Some(tensor.data_type()),
            None if call.has_attribute("value_int") || call.has_attribute("value_ints") => {
                Some(DataType::Int64 as i32)
            }
            None if call.has_attribute("value_float") || call.has_attribute("value_floats") => {
                Some(float)
            }
            None if call.has_attribute("value_string") || call.has_attribute("value_strings") => {
                Some(DataType::String as i32)
            }
            None => None,
        },
        ("ConstantOfShape", 0) => {
            Some(call.tensor("value").map_or(float, |tensor| tensor.data_type()))
        }
        ("RandomNormal" | "RandomUniform", 0) => number("dtype").or(Some(float)),
        ("RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Bernoulli", 0) => {
            number("dtype").or(input(0))
        }
        ("Multinomial", 0) => number("dtype").or(Some(DataType::Int32 as i32)),
        ("HannWindow" | "HammingWindow" | "BlackmanWindow" | "MelWeightMatrix", 0) => {
            number("output_datatype").or(Some(float))
        }
        ("QuantizeLinear", 0) => {
            input(2).or(number("output_dtype")).or(Some(DataType::Uint8 as i32)).filter(|_| {
                // A zero point whose type is not known decides.
                !call.has(2) || input(2).is_some()
            })
        }
        ("DequantizeLinear", 0) if call.opset >= 23 => number("output_dtype").or(input(1)),
        _ => None,
    }
}
