//! Numbers of a family that a `config.json` leaves out, because they are those of the family's class in transformers. The
//! published files of Gemma 3 have little else than what is not usual.

use serde_json::{Map, Value, json};

/// The fields of a file, and beside them what the family takes where the file has no such field. `null` is a value.
pub(super) fn completed(family: &str, fields: &Map<String, Value>) -> Map<String, Value> {
    let mut all = match usual(family) {
        Value::Object(all) => all,
        _ => Map::new(),
    };
    all.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
    all
}

/// The usual values, besides those that all families share.
fn usual(family: &str) -> Value {
    match family {
        "mistral" => json!({"num_key_value_heads": 8, "sliding_window": 4096,
            "max_position_embeddings": 131_072}),
        "qwen2" => json!({"sliding_window": 4096, "max_window_layers": 28,
            "max_position_embeddings": 32_768}),
        "qwen3" => json!({"head_dim": 128, "sliding_window": 4096, "max_window_layers": 28,
            "max_position_embeddings": 32_768}),
        "phi3" => json!({"rms_norm_eps": 1e-5, "max_position_embeddings": 4096,
            "original_max_position_embeddings": 4096}),
        "gemma2" => json!({"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
            "query_pre_attn_scalar": 256, "sliding_window": 4096, "attn_logit_softcapping": 50.0,
            "final_logit_softcapping": 30.0, "max_position_embeddings": 8192, "tie_word_embeddings": true}),
        "gemma3_text" => {
            json!({"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4,
            "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 4096, "rope_theta": 1e6,
            "max_position_embeddings": 131_072, "tie_word_embeddings": true})
        }
        "smollm3" => {
            json!({"num_key_value_heads": 4, "rope_theta": 2e6, "max_position_embeddings": 32_768,
            "tie_word_embeddings": true})
        }
        _ => Value::Null,
    }
}
