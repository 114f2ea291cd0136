//! What each operator does with a narrower type: computes in it, passes it on, or keeps 32 bits, and why. What a
//! whole chain of nodes needs is in `islands`.

use crate::export::onnx::NodeProto;
use crate::spec::DType;

/// What becomes of an operator's 32-bit floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Narrowing {
    /// It computes in the narrow type.
    Computes,
    /// It moves values, in the type that they have.
    Moves,
    /// It is as precise as what it reads: in 32 bits where this is.
    Normalizes,
    /// It stays in 32 bits, for this reason.
    Keeps(&'static str),
}

const ORDER: &str = "values that are equal in half the bits would change their order";
const POSITIONS: &str = "positions and counts need their digits";
const ANGLES: &str = "large angles lose all digits";
const SUMS: &str = "sums grow beyond the range";
const SQUARES: &str = "squares grow beyond the range";
const UNBOUNDED: &str = "exponentials and logarithms are not bounded";
const STATES: &str = "states add up over steps";
const RANDOM: &str = "its type is stated";
const QUANTIZED: &str = "it is quantized already";
const BODIES: &str = "what goes in and out of branches and loops keeps its type";

/// What an operator does.
pub(super) fn kind(node: &NodeProto) -> Narrowing {
    if !node.is_default() {
        return Narrowing::Keeps("the operator is none of ONNX");
    }
    match node.op_type() {
        "Add" | "AveragePool" | "BatchNormalization" | "Clip" | "Conv" | "ConvTranspose"
        | "Div" | "Einsum" | "Elu" | "Erf" | "Gelu" | "Gemm" | "GlobalAveragePool"
        | "HardSigmoid" | "HardSwish" | "LeakyRelu" | "MatMul" | "Max" | "Mean" | "Min"
        | "Mish" | "Mul" | "Neg" | "PRelu" | "Pow" | "Reciprocal" | "Relu" | "Resize" | "Selu"
        | "Sigmoid" | "Softsign" | "Sqrt" | "Sub" | "Sum" | "Swish" | "Tanh"
        | "ThresholdedRelu" | "Upsample" => Narrowing::Computes,
        "Abs" | "Compress" | "Concat" | "DepthToSpace" | "Dropout" | "Equal" | "Expand"
        | "Flatten" | "Gather" | "GatherElements" | "GatherND" | "GlobalMaxPool" | "Greater"
        | "GreaterOrEqual" | "Identity" | "IsInf" | "IsNaN" | "Less" | "LessOrEqual"
        | "MaxPool" | "Pad" | "ReduceMax" | "ReduceMin" | "Reshape" | "ReverseSequence"
        | "Shape" | "Sign" | "Size" | "Slice" | "SpaceToDepth" | "Split" | "Squeeze" | "Tile"
        | "Transpose" | "Trilu" | "Unsqueeze" | "Where" => Narrowing::Moves,
        "GroupNormalization"
        | "InstanceNormalization"
        | "LayerNormalization"
        | "RMSNormalization" => Narrowing::Normalizes,
        "ScatterElements" | "ScatterND" if node.stated("reduction").is_none() => Narrowing::Moves,
        "ScatterElements" | "ScatterND" => Narrowing::Keeps(SUMS),
        "Softmax" | "LogSoftmax" | "Softplus" | "Exp" | "Log" | "ReduceLogSum"
        | "ReduceLogSumExp" => Narrowing::Keeps(UNBOUNDED),
        "Celu" => Narrowing::Keeps("ONNX Runtime and TensorRT have it in 32 bits alone"),
        "ArgMax" | "ArgMin" | "NonMaxSuppression" | "TopK" | "Unique" | "Hardmax" => {
            Narrowing::Keeps(ORDER)
        }
        "Ceil" | "Floor" | "GridSample" | "AffineGrid" | "Mod" | "NonZero" | "Range"
        | "RoiAlign" | "MaxRoiPool" | "Round" | "OneHot" | "EyeLike" => Narrowing::Keeps(POSITIONS),
        "Acos" | "Acosh" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Cos" | "Cosh" | "Sin"
        | "Sinh" | "Tan" => Narrowing::Keeps(ANGLES),
        "CumSum" | "CumProd" | "ReduceSum" | "ReduceProd" | "ReduceL1" => Narrowing::Keeps(SUMS),
        "ReduceL2"
        | "ReduceSumSquare"
        | "LpNormalization"
        | "LpPool"
        | "GlobalLpPool"
        | "LRN"
        | "MeanVarianceNormalization"
        | "Det" => Narrowing::Keeps(SQUARES),
        "RNN" | "GRU" | "LSTM" => Narrowing::Keeps(STATES),
        "Cast" | "CastLike" | "Bernoulli" | "RandomNormal" | "RandomNormalLike"
        | "RandomUniform" | "RandomUniformLike" | "Multinomial" | "ConstantOfShape"
        | "Constant" => Narrowing::Keeps(RANDOM),
        "QuantizeLinear" | "DequantizeLinear" | "DynamicQuantizeLinear" => {
            Narrowing::Keeps(QUANTIZED)
        }
        "If" | "Loop" | "Scan" => Narrowing::Keeps(BODIES),
        // By their number of elements; see `islands`.
        "ReduceMean" => Narrowing::Computes,
        _ => Narrowing::Keeps("what it does with fewer bits is not known here"),
    }
}

/// Why an operator stays in 32 bits in one of the narrow types alone.
pub(super) fn missing(operator: &str, low: DType) -> Option<&'static str> {
    match operator {
        _ if low != DType::BF16 => None,
        "ConvTranspose" => Some("TensorRT has no transposed convolution in bf16"),
        "HardSwish" => Some("TensorRT has no `HardSwish` in bf16"),
        "Mish" => Some("TensorRT has no `Mish` in bf16"),
        _ => None,
    }
}

/// Whether an input keeps its type whatever the node computes in.
pub(super) fn keeps_input(node: &NodeProto, input: usize) -> bool {
    matches!((node.op_type(), input), ("Resize", 1 | 2) | ("Upsample", 1))
}

/// Whether values only pass through, in other places or fewer.
pub(super) fn passes_on(operator: &str) -> bool {
    matches!(
        operator,
        "Concat"
            | "DepthToSpace"
            | "Dropout"
            | "Expand"
            | "Flatten"
            | "Gather"
            | "GatherElements"
            | "GatherND"
            | "Identity"
            | "Pad"
            | "Reshape"
            | "Slice"
            | "SpaceToDepth"
            | "Split"
            | "Squeeze"
            | "Tile"
            | "Transpose"
            | "Unsqueeze"
    )
}

/// Whether small numbers stay as small as they are, about.
pub(super) fn keeps_size(operator: &str) -> bool {
    let near_zero = matches!(
        operator,
        "Abs"
            | "AveragePool"
            | "Atan"
            | "Celu"
            | "Clip"
            | "Elu"
            | "Erf"
            | "Gelu"
            | "GlobalAveragePool"
            | "GlobalMaxPool"
            | "HardSwish"
            | "LeakyRelu"
            | "MaxPool"
            | "Mish"
            | "Neg"
            | "PRelu"
            | "ReduceMax"
            | "ReduceMean"
            | "ReduceMin"
            | "Relu"
            | "Selu"
            | "Sin"
            | "Softsign"
            | "Swish"
            | "Tanh"
    );
    near_zero || passes_on(operator)
}

/// Whether what a node gives is bounded, whatever it reads.
pub(super) fn bounds(operator: &str) -> bool {
    matches!(
        operator,
        "Softmax"
            | "Sigmoid"
            | "HardSigmoid"
            | "Tanh"
            | "Erf"
            | "Softsign"
            | "Log"
            | "LogSoftmax"
            | "Sin"
            | "Cos"
            | "Atan"
            | "Sign"
            | "Hardmax"
            | "LayerNormalization"
            | "InstanceNormalization"
            | "GroupNormalization"
            | "RMSNormalization"
            | "BatchNormalization"
            | "LpNormalization"
            | "MeanVarianceNormalization"
            | "MaxPool"
            | "GlobalMaxPool"
    )
}
