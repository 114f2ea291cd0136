//! Every model of the index on every backend, with what is known to be refused.

use std::time::Duration;

use crate::child::{Outcome, backends, in_child, index};

/// What a backend refuses, and a part of the reason that it gives. `*` is every backend.
const REFUSED: &[(&str, &str, &str)] = &[
    // No consumer runs these.
    ("tract", "dim_zero", "expected 0, got 2"),
    ("onnxruntime", "dim_zero", "expected 0, got 2"),
    ("*", "weight_float_data_short", "tensor `w`"),
    // This crate has no such inputs and outputs.
    ("*", "sequence_out", "tensor `y`: a sequence"),
    ("*", "string_in", "tensor `x`: tensors of ONNX type string"),
    // Whose range nobody states.
    ("tensorrt-rtx", "dim_minus_one", "`x_0` needs a largest size"),
    ("tensorrt-rtx", "dim_unbound", "`n` needs a largest size"),
    ("tensorrt-rtx", "dim_zero_runs_unbound", "`past` needs a largest size"),
    ("tensorrt-rtx", "files_in_dim_param_minus1", "`x_0` needs a largest size"),
    ("tensorrt-rtx", "shape_input", "tensor `s`: the values of this input decide shapes"),
    ("tensorrt-rtx", "weight_f64", "tensor `x`: TensorRT has no f64"),
    ("tensorrt-rtx", "nonzero", "NonZero"),
    ("tensorrt-rtx", "names_long", "4080 bytes"),
    ("tensorrt-rtx", "qdq_uint8", "QuantizeLinear"),
    ("tensorrt-rtx", "matmul_integer", "MatMulInteger"),
    ("tract", "int4_weight", "Int4"),
    ("tract", "int4_weight_external", "Int4"),
    ("tract", "fp8_weight", "Float8e4m3fn"),
    ("tract", "opset7", "BatchNormalization"),
    ("tract", "pad_negative", "negative pads"),
    ("tract", "lstm_reverse", "direction = reverse"),
    ("tract", "resize_nearest_tie", "equally near"),
    ("tract", "lstm_lengths", "LSTM"),
    ("tract", "shape_input", "Reshape"),
    ("tract", "topk_computed_k", "Topk"),
    ("tract", "loop", "Loop"),
    ("tract", "loop_scans", "Loop"),
    ("tract", "function_with_branch", "If"),
];

#[test]
fn every_model_is_right_or_refused() {
    let mut problems = Vec::new();
    for (backend, _) in backends() {
        for case in index() {
            let name = case["name"].as_str().unwrap();
            let outcome = in_child(name, backend, Duration::from_secs(300));
            println!("{backend:14} {name:26} {outcome:?}");
            let refused =
                REFUSED.iter().find(|(on, of, _)| (*on == "*" || *on == backend) && *of == name);
            let fine = match (&outcome, refused) {
                (Outcome::Right, None) => true,
                (Outcome::Refused(text), Some((_, _, part))) => text.contains(part),
                _ => false,
            };
            if !fine {
                problems.push(format!("{backend} {name}: {outcome:?}, stated {refused:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
