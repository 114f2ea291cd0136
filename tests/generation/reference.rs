//! Each family of decoders against the Python package transformers: configurations as the package writes them, and the scores of a
//! text. Written by `tests/data/decoder_reference.py`.

use std::collections::HashMap;

use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions};
use accelerant::{ErrorKind, Result};
use serde_json::{Value, json};

use crate::{compiled, runtimes};

#[derive(serde::Deserialize)]
struct Reference {
    config: Value,
    scores: Vec<f32>,
}

fn references() -> HashMap<String, Reference> {
    serde_json::from_str(include_str!("../data/decoder_reference.json")).expect("JSON")
}

fn scored(config: &Value, capacity: usize) -> Result<Vec<Vec<f32>>> {
    let config = DecoderConfig::from_json(&config.to_string())?;
    let weights = config.random_weights(7)?;
    let decoder = Decoder::new(config, weights);
    let text: Vec<u32> = (0..44).map(|i: u32| (i * i * 7 + 3 * i + 11) % 61).collect();
    let score = |kind| compiled(&decoder, DecoderOptions::new(capacity), kind)?.score(&text);
    runtimes().into_iter().map(score).collect()
}

fn largest(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(got, expected)| (got - expected).abs()).fold(0.0, f32::max)
}

#[test]
fn every_family_scores_a_text_as_transformers_does() -> Result<()> {
    let references = references();
    assert_eq!(references.len(), 13);
    for (name, reference) in &references {
        for got in scored(&reference.config, 48)? {
            let off = largest(&got, &reference.scores);
            assert!(off < 1e-3, "{name}: {off}");
        }
    }
    Ok(())
}

/// The length of the cache decides, as the length of the text does for transformers.
#[test]
fn longrope_takes_the_factors_of_the_length_of_the_cache() -> Result<()> {
    let short = &references()["phi3, short"];
    for got in scored(&short.config, 49)? {
        assert!(largest(&got, &short.scores) > 0.1, "48 tokens were trained, and 49 may come");
    }
    Ok(())
}

#[test]
fn configurations_before_version_5_mean_the_same() -> Result<()> {
    let references = references();
    let older = |name: &str, more: Value| {
        let mut config = references[name].config.clone();
        let fields = config.as_object_mut().expect("an object");
        for field in ["rope_parameters", "layer_types", "no_rope_layers"] {
            fields.remove(field);
        }
        fields.extend(more.as_object().expect("an object").clone());
        DecoderConfig::from_json(&config.to_string())
    };
    let factors =
        json!({"type": "longrope", "short_factor": [1.0, 1.3], "long_factor": [2.0, 5.0]});
    for (name, more) in [
        ("llama, another base", json!({"rope_theta": 50.0})),
        (
            "llama, linear",
            json!({"rope_theta": 50.0, "rope_scaling": {"type": "linear", "factor": 3.0}}),
        ),
        ("qwen2", json!({"rope_theta": 10000.0})),
        ("qwen3", json!({})),
        ("gemma2", json!({})),
        (
            "phi3, long",
            json!({"rope_theta": 100.0, "partial_rotary_factor": 0.5, "rope_scaling": factors}),
        ),
        ("smollm3", json!({"no_rope_layers": [1, 0, 0, 1], "rope_theta": 2000000.0})),
        ("smollm3, windows", json!({"rope_theta": 2000000.0})),
    ] {
        let now = DecoderConfig::from_json(&references[name].config.to_string())?;
        assert_eq!(older(name, more)?, now, "{name}");
    }
    Ok(())
}

#[test]
fn what_contradicts_itself_is_named() {
    let references = references();
    for (name, field, value, named) in [
        ("llama", "rope_parameters", json!({"rope_type": "yarn"}), "yarn"),
        ("llama", "rope_parameters", json!(5), "rope_parameters"),
        ("gemma3_text", "rope_parameters", json!({"full_attention": {}}), "sliding_attention"),
        ("gemma3_text", "layer_types", json!(["full_attention"]), "1 entries for 4 layers"),
        ("gemma2", "layer_types", json!(["linear", "linear", "linear", "linear"]), "linear"),
        ("gemma2", "sliding_window", Value::Null, "sliding_window"),
        ("gemma3_text", "use_bidirectional_attention", json!(true), "use_bidirectional_attention"),
        ("llama", "mlp_bias", json!(true), "mlp_bias"),
        ("llama", "partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        ("qwen3", "quantization_config", json!({"quant_method": "fp8"}), "fp8"),
        ("smollm3", "no_rope_layers", json!([1, 0]), "2 entries for 4 layers"),
        (
            "phi3, long",
            "rope_parameters",
            json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, "a"]}),
            "long_factor",
        ),
        (
            "phi3, long",
            "rope_parameters",
            json!({"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0, 2.0]}),
            "1 divisors for 4",
        ),
    ] {
        let mut config = references[name].config.clone();
        config[field] = value;
        let error = DecoderConfig::from_json(&config.to_string()).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{named}: {error}");
    }
}

/// Files have few fields where the rest is usual for a family. Written by `tests/data/config_defaults.py`.
#[test]
fn what_a_configuration_leaves_out_is_usual_for_its_family() -> Result<()> {
    #[derive(serde::Deserialize)]
    struct Pair {
        few: Value,
        whole: Value,
    }
    let pairs: Vec<Pair> =
        serde_json::from_str(include_str!("../data/config_defaults.json")).expect("JSON");
    assert_eq!(pairs.len(), 8);
    for Pair { few, whole } in pairs {
        let [few, whole] = [few, whole].map(|config| DecoderConfig::from_json(&config.to_string()));
        assert_eq!(few?, whole?);
    }
    Ok(())
}

/// As google/gemma-3-4b-it has it, with fewer values and layers.
#[test]
fn the_text_part_of_gemma_3_ends_with_the_tokens_of_the_whole_model() -> Result<()> {
    let mut text = json!({
        "model_type": "gemma3", "eos_token_id": [1, 106],
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 7,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024
        },
    });
    let config = DecoderConfig::from_json(&text.to_string())?;
    assert_eq!((config.end_tokens.as_slice(), config.vocabulary), (&[1, 106][..], 262_208));
    assert_eq!((config.heads, config.key_value_heads, config.head_size), (8, 4, 256));
    assert_eq!(config.rotary.theta, 1e6);
    assert_eq!(config.window_rotary.expect("windows").theta, 10_000.0);
    assert!(config.tied_embeddings);
    text["text_config"]["eos_token_id"] = json!(1);
    assert_eq!(DecoderConfig::from_json(&text.to_string())?.end_tokens, [1, 106]);

    let config = DecoderConfig::from_json(&text.to_string())?;
    let config = config.with_generation_config(r#"{"eos_token_id": 5, "top_k": 64}"#)?;
    assert_eq!(config.clone().with_generation_config("{}")?.end_tokens, [5]);
    for wrong in ["", "[]", r#"{"eos_token_id": "5"}"#] {
        let error = config.clone().with_generation_config(wrong).expect_err(wrong);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    Ok(())
}
