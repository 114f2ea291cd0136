//! The operators that tract runs, with the attributes that tract reads. Attributes with values stand for those that tract
//! ignores: only these values mean what tract does. An operator that is not here is refused.
//!
//! Made by reading `tract-onnx` 0.23.9 beside ONNX's schemas, and by running ONNX's backend tests and a grid of
//! recurrent layers (`tests/tract_gaps.rs`). A new version of tract is checked with the same tests.

/// What tract reads of one operator or of several alike.
pub(super) struct Operators {
    /// Separated by spaces.
    pub(super) names: &'static str,
    /// `name` of an attribute that is read; `name=a|b` of one that may have these values alone.
    pub(super) attributes: &'static str,
    /// The operator sets in which the operator means what tract does.
    pub(super) opsets: (i64, i64),
}

/// The newest operator set that tract was tried with.
pub(super) const NEWEST: i64 = 28;
/// The oldest one.
pub(super) const OLDEST: i64 = 7;

const fn all(names: &'static str, attributes: &'static str) -> Operators {
    Operators { names, attributes, opsets: (OLDEST, i64::MAX) }
}

const fn from(opset: i64, names: &'static str, attributes: &'static str) -> Operators {
    Operators { names, attributes, opsets: (opset, i64::MAX) }
}

pub(super) const OPERATORS: &[Operators] = &[
    all(
        "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Erf Exp Floor HardSwish Identity IsNaN Log Mish Neg Not \
         Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh",
        "",
    ),
    all("Add And Div Equal Greater GreaterOrEqual Less LessOrEqual Mul Or Pow Sub Where Xor", ""),
    all("BitwiseAnd BitwiseNot BitwiseOr BitwiseXor", ""),
    all("Max Mean Min Sum PRelu MatMul Expand NonZero Range Size Tile", ""),
    all("ArgMax ArgMin", "axis keepdims select_last_index"),
    all("AveragePool", "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides"),
    from(9, "BatchNormalization", "epsilon spatial=1 momentum training_mode=0"),
    Operators { names: "BitShift", attributes: "direction", opsets: (11, 27) },
    all("Cast", "to saturate round_mode"),
    all("CastLike", "saturate round_mode"),
    all("Elu LeakyRelu ThresholdedRelu", "alpha"),
    all("Celu", "alpha=1"),
    all("Clip", "max min"),
    all("Compress", "axis"),
    all("Concat", "axis"),
    all("Constant", "value value_float value_floats value_int value_ints"),
    all("ConstantOfShape", "value"),
    all("Conv ConvInteger", "auto_pad dilations group kernel_shape pads strides"),
    all(
        "ConvTranspose",
        "auto_pad dilations group kernel_shape output_padding output_shape pads strides",
    ),
    all("CumSum", "exclusive reverse"),
    all("DepthToSpace", "blocksize mode"),
    all("DequantizeLinear", "axis block_size=0 output_dtype=0|1"),
    all("Dropout", "ratio seed"),
    all("DynamicQuantizeLinear", ""),
    all("Einsum", "equation"),
    all("EyeLike", "dtype k"),
    all("Flatten", "axis"),
    all("Gather GatherElements", "axis"),
    all("GatherND", "batch_dims"),
    all("Gelu", "approximate"),
    all("Gemm", "alpha beta transA transB"),
    all("GlobalAveragePool GlobalMaxPool", ""),
    all("GridSample", "align_corners mode padding_mode"),
    all("GroupNormalization", "epsilon num_groups stash_type=1"),
    all("GRU", "hidden_size layout linear_before_reset direction=forward|bidirectional"),
    all("HardSigmoid", "alpha beta"),
    all("Hardmax LogSoftmax Softmax", "axis"),
    all("If", "then_branch else_branch"),
    all("InstanceNormalization", "epsilon"),
    all("IsInf", "detect_negative detect_positive"),
    all("LayerNormalization", "axis epsilon stash_type"),
    all("LpNormalization", "axis p"),
    all("LRN", "alpha beta bias size"),
    all("LSTM", "hidden_size layout direction=forward|bidirectional input_forget=0"),
    all("MatMulInteger QLinearMatMul", ""),
    all("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads storage_order=0 strides"),
    all("MeanVarianceNormalization", "axes"),
    all("Mod", "fmod"),
    all("NonMaxSuppression", "center_point_box"),
    all("OneHot", "axis"),
    all("Pad", "mode pads value"),
    all("QLinearConv", "auto_pad dilations group kernel_shape pads strides"),
    all("QuantizeLinear", "axis block_size=0 saturate output_dtype=0 precision=0|1"),
    all(
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum \
         ReduceSumSquare",
        "axes keepdims noop_with_empty_axes",
    ),
    all("Reshape", "allowzero"),
    all(
        "Resize",
        "antialias axes coordinate_transformation_mode cubic_coeff_a exclude_outside extrapolation_value \
         keep_aspect_ratio_policy mode nearest_mode",
    ),
    all("RMSNormalization", "axis epsilon stash_type=1"),
    all("RNN", "hidden_size layout direction=forward|bidirectional activations=Tanh"),
    from(
        9,
        "Scan",
        "body num_scan_inputs scan_input_axes scan_input_directions scan_output_axes scan_output_directions",
    ),
    all("Scatter ScatterElements", "axis reduction"),
    all("ScatterND", "reduction"),
    all("Selu", "alpha gamma"),
    all("Shape", "end start"),
    all("Shrink", "bias lambd"),
    all("Slice", "axes ends starts"),
    all("SpaceToDepth", "blocksize mode=DCR"),
    all("Split", "axis split num_outputs"),
    all("Squeeze Unsqueeze", "axes"),
    all("Swish", "alpha=1"),
    all("TopK", "axis largest sorted"),
    all("Transpose", "perm"),
    all("Trilu", "upper"),
    all(
        "Attention",
        "is_causal=0 kv_num_heads q_num_heads scale softcap=0 qk_matmul_output_mode=0 softmax_precision",
    ),
    all("RotaryEmbedding", "interleaved num_heads rotary_embedding_dim"),
];
