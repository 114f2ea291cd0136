//! Element types of what nodes give, as far as a precision depends on them: by operator, without shapes. Types
//! within branches and loops are found the same way.

use crate::export::onnx::{self, NodeProto};
use crate::spec::DType;

/// The type of each output of a node, from those of its inputs; `None` where it is not known.
pub(super) fn of_outputs(node: &NodeProto, inputs: &[Option<DType>]) -> Vec<Option<DType>> {
    let first = inputs.first().copied().flatten();
    let at = |i: usize| inputs.get(i).copied().flatten();
    let stated = |name: &str| {
        let number = node.stated(name).map(|attribute| attribute.i());
        number.and_then(|number| onnx::from_onnx(i32::try_from(number).ok()?).ok())
    };
    let (index, truth) = (Some(DType::I64), Some(DType::Bool));
    let mut types = match node.op_type() {
        _ if !node.is_default() => vec![],
        "Cast" => vec![stated("to")],
        "CastLike" => vec![at(1)],
        "Constant" => vec![of_constant(node)],
        "ConstantOfShape" => {
            let tensor = node.stated("value").and_then(|value| value.t.as_ref());
            vec![tensor.map_or(Some(DType::F32), |t| onnx::from_onnx(t.data_type()).ok())]
        }
        "RandomNormal" | "RandomUniform" => vec![stated("dtype").or(Some(DType::F32))],
        "RandomNormalLike" | "RandomUniformLike" | "EyeLike" | "Bernoulli" => {
            vec![stated("dtype").or(first)]
        }
        "Multinomial" => vec![stated("dtype").or(Some(DType::I32))],
        "HannWindow" | "HammingWindow" | "BlackmanWindow" | "MelWeightMatrix" => {
            vec![stated("output_datatype").or(Some(DType::F32))]
        }
        "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression" => vec![index],
        "TopK" | "MaxPool" => vec![first, index],
        "Unique" => vec![first, index, index, index],
        "Dropout" => vec![first, truth],
        "LayerNormalization" => vec![first, Some(DType::F32), Some(DType::F32)],
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Not" | "And" | "Or"
        | "Xor" | "IsNaN" | "IsInf" => vec![truth],
        "Where" => vec![at(1).or(at(2))],
        "OneHot" => vec![at(2)],
        "QuantizeLinear" => vec![at(2).or(stated("output_dtype")).or(Some(DType::U8))],
        "DequantizeLinear" => vec![at(1)],
        "DynamicQuantizeLinear" => vec![Some(DType::U8), Some(DType::F32), Some(DType::U8)],
        "MatMulInteger" | "ConvInteger" => vec![Some(DType::I32)],
        "QLinearMatMul" | "QLinearConv" => vec![at(7).or(first)],
        "If" | "Loop" | "Scan" | "SequenceMap" | "SequenceAt" => vec![],
        _ => vec![first; node.output.len()],
    };
    types.resize(node.output.len(), None);
    types
}

fn of_constant(node: &NodeProto) -> Option<DType> {
    let attribute = node.attribute.first()?;
    match attribute.name() {
        "value" => onnx::from_onnx(attribute.t.as_ref()?.data_type()).ok(),
        "value_float" | "value_floats" => Some(DType::F32),
        "value_int" | "value_ints" => Some(DType::I64),
        _ => None,
    }
}
