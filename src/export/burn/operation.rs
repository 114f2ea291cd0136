//! Every operation that Burn's graphs may hold, by name. A new variant in `burn_ir` fails to compile
//! here until somebody says whether it is exported.

use ::burn::backend::ir::{
    ActivationOperationIr, BaseOperationIr, BoolOperationIr, DistributedOperationIr,
    FloatOperationIr, IntOperationIr, ModuleOperationIr, NumericOperationIr, OperationIr,
};

/// An operation of Burn's graph representation, as `burn_ir` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Operation {
    /// The enum it is a variant of, without `OperationIr`: `Base`, `Numeric`, `Module`, ...
    pub family: &'static str,
    /// The variant, e.g. `MaxPool2d`.
    pub name: &'static str,
    /// Why no exported model has it, where none has.
    pub left_out: Option<&'static str>,
}

/// A captured operation, and the ONNX operators that stand for it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lowered {
    /// The operation.
    pub operation: Operation,
    /// Operators of the nodes written for it, in order; none where it only renames a value.
    pub nodes: Vec<String>,
}

const BACKWARD: Option<&str> = Some("a gradient");
const RANDOM: Option<&str> = Some("random numbers");
const DISTRIBUTED: Option<&str> = Some("communication between devices");
const BOOKKEEPING: Option<&str> = Some("bookkeeping of memory");
const IN_PARTS: Option<&str> = Some("Burn's capture records its parts instead");
const QUANTIZED: Option<&str> = Some("Burn's capture does not take quantized tensors");
const CUSTOM: Option<&str> = Some("an extension of one backend");

macro_rules! left_out {
    () => {
        None
    };
    ($why:expr) => {
        $why
    };
}

/// A list of all variants, and a match over them that has no wildcard.
macro_rules! families {
    ($($list:ident $named:ident $family:literal $ir:ident: $($variant:ident $(($why:expr))?)*;)*) => {$(
        const $list: &[Operation] = &[$(Operation {
            family: $family,
            name: stringify!($variant),
            left_out: left_out!($($why)?),
        }),*];

        fn $named(operation: &$ir) -> Operation {
            match operation {$(
                $ir::$variant { .. } => Operation {
                    family: $family,
                    name: stringify!($variant),
                    left_out: left_out!($($why)?),
                },
            )*}
        }
    )*};
}

families! {
    BASE base "Base" BaseOperationIr:
        Reshape SwapDims Permute Flip Expand Unfold Slice SliceAssign Select SelectAssign MaskWhere
        MaskFill Gather Scatter ScatterNd GatherNd Equal EqualElem RepeatDim Cat Cast Empty Ones
        Zeros NotEqual NotEqualElem All Any AllDim AnyDim;
    NUMERIC numeric "Numeric" NumericOperationIr:
        Add AddScalar Sub SubScalar Div DivScalar Rem RemScalar Mul MulScalar Abs Full MeanDim Mean
        Sum SumDim SumDims Prod ProdDim Greater GreaterElem GreaterEqual GreaterEqualElem Lower
        LowerElem LowerEqual LowerEqualElem ArgMax ArgTopK TopK TopKWithIndices ArgMin Max
        MaxDimWithIndices MinDimWithIndices Min MaxDim MinDim MaxAbs MaxAbsDim Clamp
        IntRandom(RANDOM) Powi PowiScalar CumSum CumProd CumMin CumMax Neg Sign ClampMin ClampMax
        Sort SortWithIndices ArgSort Pad;
    FLOAT float "Float" FloatOperationIr:
        Exp Log Log1p Erf PowfScalar Sqrt Cos Cosh Sin Sinh Tan Tanh ArcCos ArcCosh ArcSin ArcSinh
        ArcTan ArcTanh ArcTan2 Round Floor Ceil Trunc IntoInt Matmul Cross Random(RANDOM) Recip
        IsNan(IN_PARTS) IsInf(IN_PARTS) Quantize(QUANTIZED) Dequantize(QUANTIZED) GridSample2d Powf Hypot;
    INT int "Int" IntOperationIr:
        IntoFloat BitwiseAnd BitwiseAndScalar BitwiseOr BitwiseOrScalar BitwiseXor BitwiseXorScalar
        BitwiseNot BitwiseLeftShift BitwiseLeftShiftScalar BitwiseRightShift
        BitwiseRightShiftScalar Matmul;
    BOOL bool_ "Bool" BoolOperationIr:
        IntoFloat IntoInt Not And Or Xor;
    ACTIVATION activation "Activation" ActivationOperationIr:
        Relu ReluBackward(BACKWARD) LeakyRelu PRelu Gelu GeluBackward(BACKWARD) Sigmoid
        SigmoidBackward(BACKWARD) HardSigmoid LogSigmoid LogSigmoidBackward(BACKWARD) Softmax
        LogSoftmax Softmin;
    MODULE module "Module" ModuleOperationIr:
        BatchNorm Embedding EmbeddingBackward(BACKWARD) Linear LinearXBackward(BACKWARD)
        LinearWeightBackward(BACKWARD) LinearBiasBackward(BACKWARD) Conv1d Conv1dXBackward(BACKWARD)
        Conv1dWeightBackward(BACKWARD) Conv1dBiasBackward(BACKWARD) Conv2d Conv2dXBackward(BACKWARD)
        Conv2dWeightBackward(BACKWARD) Conv2dBiasBackward(BACKWARD) Conv3d Conv3dXBackward(BACKWARD)
        Conv3dWeightBackward(BACKWARD) Conv3dBiasBackward(BACKWARD) DeformableConv2d
        DeformableConv2dBackward(BACKWARD) ConvTranspose1d ConvTranspose2d ConvTranspose3d AvgPool1d
        AvgPool2d AvgPool1dBackward(BACKWARD) AvgPool2dBackward(BACKWARD) AdaptiveAvgPool1d
        AdaptiveAvgPool2d AdaptiveAvgPool1dBackward(BACKWARD) AdaptiveAvgPool2dBackward(BACKWARD)
        AdaptiveAvgPool3d AdaptiveAvgPool3dBackward(BACKWARD) MaxPool1d MaxPool1dWithIndices
        MaxPool1dWithIndicesBackward(BACKWARD) MaxPool2d MaxPool2dWithIndices
        MaxPool2dWithIndicesBackward(BACKWARD) Interpolate InterpolateBackward(BACKWARD) Attention
        CtcLoss(IN_PARTS) CtcLossBackward(BACKWARD) LayerNorm Unfold4d ConvTranspose1dWeightBackward(BACKWARD)
        ConvTranspose1dBiasBackward(BACKWARD) ConvTranspose2dWeightBackward(BACKWARD)
        ConvTranspose2dBiasBackward(BACKWARD) ConvTranspose3dWeightBackward(BACKWARD)
        ConvTranspose3dBiasBackward(BACKWARD);
    DISTRIBUTION distributed "Distributed" DistributedOperationIr:
        AllReduce(DISTRIBUTED) SyncCollective(DISTRIBUTED);
}

const INIT: Operation = Operation { family: "", name: "Init", left_out: BOOKKEEPING };
const DROP: Operation = Operation { family: "", name: "Drop", left_out: BOOKKEEPING };
const CUSTOM_OPERATION: Operation = Operation { family: "", name: "Custom", left_out: CUSTOM };

impl Operation {
    /// Every operation that this version of Burn may record.
    pub fn all() -> impl Iterator<Item = Operation> {
        let families = [BASE, NUMERIC, FLOAT, INT, BOOL, ACTIVATION, MODULE, DISTRIBUTION];
        let others = [INIT, DROP, CUSTOM_OPERATION];
        families.into_iter().flatten().copied().chain(others)
    }

    pub(super) fn of(operation: &OperationIr) -> Operation {
        match operation {
            OperationIr::BaseFloat(op) | OperationIr::BaseInt(op) | OperationIr::BaseBool(op) => {
                base(op)
            }
            OperationIr::NumericFloat(_, op) | OperationIr::NumericInt(_, op) => numeric(op),
            OperationIr::Float(_, op) => float(op),
            OperationIr::Int(op) => int(op),
            OperationIr::Bool(op) => bool_(op),
            OperationIr::Activation(op) => activation(op),
            OperationIr::Module(op) => module(op),
            OperationIr::Distributed(op) => distributed(op),
            OperationIr::Init(_) => INIT,
            OperationIr::Drop(_) => DROP,
            OperationIr::Custom(_) => CUSTOM_OPERATION,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_listed_once() {
        let mut all: Vec<_> = Operation::all().map(|op| (op.family, op.name)).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        assert_eq!(
            (BASE.len(), NUMERIC.len(), FLOAT.len(), INT.len(), BOOL.len()),
            (30, 56, 35, 13, 6)
        );
    }
}
