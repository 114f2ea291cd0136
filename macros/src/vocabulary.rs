//! What is known of candle's methods and functions by name. Everything else is left to the
//! compiler, which checks the generic form against the trait.

/// Methods whose first arguments, as many as said, are tensors. Their operands may be fields.
const OPERANDS: [(&str, usize); 45] = [
    ("add", 1),
    ("broadcast_add", 1),
    ("broadcast_div", 1),
    ("broadcast_eq", 1),
    ("broadcast_ge", 1),
    ("broadcast_gt", 1),
    ("broadcast_le", 1),
    ("broadcast_lt", 1),
    ("broadcast_matmul", 1),
    ("broadcast_maximum", 1),
    ("broadcast_minimum", 1),
    ("broadcast_mul", 1),
    ("broadcast_ne", 1),
    ("broadcast_pow", 1),
    ("broadcast_sub", 1),
    ("conv1d", 1),
    ("conv1d_with_algo", 1),
    ("conv2d", 1),
    ("conv2d_with_algo", 1),
    ("conv_transpose1d", 1),
    ("conv_transpose2d", 1),
    ("div", 1),
    ("dot", 1),
    ("embedding", 1),
    ("gather", 1),
    ("index_add", 2),
    ("index_select", 1),
    ("layer_norm", 2),
    ("matmul", 1),
    ("matmul_with_alpha", 1),
    ("mul", 1),
    ("mv", 1),
    ("pow", 1),
    ("rms_norm", 1),
    ("rope", 2),
    ("rope_i", 2),
    ("rope_thd", 2),
    ("scatter", 2),
    ("scatter_add", 2),
    ("slice_scatter", 1),
    ("slice_scatter0", 1),
    ("softmax", 0),
    ("softmax_last_dim", 0),
    ("sub", 1),
    ("where_cond", 2),
];

/// How many tensors a method takes, if it takes any but numbers.
pub(crate) fn operands(method: &str) -> Option<usize> {
    OPERANDS.iter().find(|(name, _)| *name == method).map(|(_, count)| *count)
}

/// Methods that take a tensor or a number.
pub(crate) fn takes_number(method: &str) -> bool {
    ["eq", "ge", "gt", "le", "lt", "maximum", "minimum", "ne"].contains(&method)
}

/// Methods that only a tensor has: on a field, it is a tensor's.
pub(crate) fn is_of_tensor(method: &str) -> bool {
    const NAMES: [&str; 39] = [
        "affine",
        "argmax",
        "argmin",
        "avg_pool2d",
        "broadcast_as",
        "broadcast_left",
        "contiguous",
        "cumsum",
        "detach",
        "elu",
        "expand",
        "flatten_all",
        "flatten_from",
        "flatten_to",
        "gelu",
        "gelu_erf",
        "i",
        "max_keepdim",
        "mean",
        "mean_all",
        "mean_keepdim",
        "min_keepdim",
        "narrow",
        "pad_with_same",
        "pad_with_zeros",
        "permute",
        "relu",
        "reshape",
        "silu",
        "sqr",
        "squeeze",
        "sum_all",
        "sum_keepdim",
        "t",
        "to_dtype",
        "transpose",
        "unsqueeze",
        "upsample_nearest2d",
        "zeros_like",
    ];
    NAMES.contains(&method)
}

/// Functions of `candle_nn::ops` and `candle_nn::rotary_emb` that are methods of the trait, and
/// how many tensors they take.
pub(crate) fn function(module: &str, name: &str) -> Option<usize> {
    let count = match (module, name) {
        (
            "ops",
            "hard_sigmoid" | "leaky_relu" | "log_softmax" | "mish" | "pixel_shuffle"
            | "pixel_unshuffle" | "replication_pad2d" | "selu" | "sigmoid" | "silu" | "softmax"
            | "softmax_last_dim" | "swiglu",
        ) => 1,
        ("ops", "rms_norm") => 2,
        ("ops", "layer_norm") | ("rotary_emb", "rope" | "rope_i" | "rope_thd") => 3,
        _ => return None,
    };
    Some(count)
}

/// Methods that read values, which a tensor in a field has.
pub(crate) fn reads_values(method: &str) -> bool {
    ["to_scalar", "to_vec0", "to_vec1", "to_vec2", "to_vec3"].contains(&method)
}

/// Why a method of candle's tensor cannot be exported, and what to do.
pub(crate) fn refused_method(method: &str) -> Option<&'static str> {
    const VALUES: &str = "an export has no values, only types and sizes: use tensor operations, or do \
                          this outside of the forward";
    const CUSTOM: &str = "a custom operation has no ONNX form: write it with tensor methods, or \
                          do it outside the forward";
    const IN_PLACE: &str = "a traced tensor cannot change in place: use a method that gives a new \
                            tensor, such as `slice_scatter` or `where_cond`";
    const RANDOM: &str = "it generates random numbers: pass the numbers to the forward as an input";
    Some(match method {
        "to_scalar"
        | "to_vec0"
        | "to_vec1"
        | "to_vec2"
        | "to_vec3"
        | "storage_and_layout"
        | "storage_mut_and_layout"
        | "save_safetensors"
        | "write_bytes"
        | "write_npy" => VALUES,
        "apply_op1" | "apply_op1_arc" | "apply_op1_no_bwd" | "apply_op2" | "apply_op2_arc"
        | "apply_op2_no_bwd" | "apply_op3" | "apply_op3_arc" | "apply_op3_no_bwd" | "custom_op" => {
            CUSTOM
        }
        "const_set" | "inplace_op1" | "inplace_op2" | "inplace_op3" | "one_set"
        | "scatter_add_set" | "scatter_set" | "slice_set" | "zero_set" => IN_PLACE,
        "rand_like" | "randn_like" => RANDOM,
        "backward" | "backward_step" => "training is no part of a forward that is exported",
        _ => return None,
    })
}

/// Why a function of candle cannot be exported, and what to do: the last module of its path, or
/// `Tensor`, and its name.
pub(crate) fn refused_function(module: &str, name: &str) -> Option<&'static str> {
    Some(match (module, name) {
        ("Tensor", "rand" | "randn") => {
            "it generates random numbers: pass the numbers to the forward as an input"
        }
        ("ops", "dropout") => {
            "dropout is for training: use a `candle_nn::Dropout`, which does \
                               nothing when a model is exported"
        }
        ("ops", "kl_div" | "sdpa") | ("loss", _) => {
            "this function of candle_nn cannot be \
                                                     exported: write it with tensor methods"
        }
        _ => return None,
    })
}
