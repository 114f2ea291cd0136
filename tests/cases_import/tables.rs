//! Every model of the index on every backend, with what is known to be refused.

use std::time::Duration;

use crate::child::{Outcome, backends, in_child, index};

/// What a backend refuses, and a part of the reason that it gives. `*` is every backend.
const REFUSED: &[(&str, &str, &str)] = &[
    // No consumer runs these.
    ("*", "dim_zero", "expected 0, got 2"),
    ("*", "weight_float_data_short", "tensor `w`"),
    // This crate has no such inputs and outputs.
    ("*", "sequence_out", "tensor `y`: a sequence"),
    ("*", "string_in", "tensor `x`: tensors of ONNX type string"),
    ("*", "dim_zero_runs", "no elements"),
    ("*", "dim_zero_runs_unbound", "no elements"),
    ("*", "files_empty_io", "no elements"),
    ("tract", "int4_weight", "Int4"),
    ("tract", "int4_weight_external", "Int4"),
    ("tract", "fp8_weight", "Float8e4m3fn"),
    ("tract", "opset7", "Upsample"),
    ("tract", "lstm_lengths", "LSTM"),
    ("tract", "shape_input", "Reshape"),
    ("tract", "topk_computed_k", "Topk"),
    ("tract", "loop", "Loop"),
];

/// What a backend gets wrong, or ends its process on.
const WRONG: &[(&str, &str)] = &[
    // A conversion that saturates where ONNX Runtime's wraps.
    ("tract", "cast_u8"),
    ("tract", "pad_negative"),
    ("tract", "resize_nearest_tie"),
    ("tract", "lstm_reverse"),
    ("tract", "softplus_large"),
    ("tract", "sum_i64"),
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
            let wrong = WRONG.contains(&(backend, name));
            let fine = match (&outcome, refused) {
                (Outcome::Right, None) => !wrong,
                (Outcome::Refused(text), Some((_, _, part))) => text.contains(part),
                (Outcome::Wrong(_) | Outcome::Ended(_), None) => wrong,
                _ => false,
            };
            if !fine {
                problems.push(format!("{backend} {name}: {outcome:?}, stated {refused:?}"));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
