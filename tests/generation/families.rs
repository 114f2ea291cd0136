//! Every family against Candle's model of the same random weights, token by token.

use std::collections::HashMap;

use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions, ProductForm};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models;

use crate::{compiled, runtimes};

type Weights = HashMap<String, Tensor>;

/// A forward pass over tokens that stand behind others.
type Forward = Box<dyn FnMut(&Tensor, usize) -> candle_core::Result<Tensor>>;

fn weights(config: &DecoderConfig, seed: u64) -> accelerant::Result<Weights> {
    let weights = config.random_weights(seed)?.into_iter();
    weights
        .map(|(name, tensor)| {
            let mut values = tensor.to_vec::<f32>()?;
            // A token decides its successor alone, and soon comes back, where embeddings are large against what layers add.
            let factor = match (name.contains("embed_tokens"), tensor.shape().len()) {
                (true, _) => 0.3 / config.embedding_scale as f32,
                (false, 2) => 4.0,
                _ => 1.0,
            };
            values.iter_mut().for_each(|value| *value *= factor);
            let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).expect("a tensor");
            Ok((name, tensor))
        })
        .collect()
}

/// Generates greedily with both, and compares all tokens.
fn compare(
    json: &str,
    prompt: usize,
    count: usize,
    native: impl Fn(VarBuilder<'static>) -> candle_core::Result<Forward>,
) {
    let config = DecoderConfig::from_json(json).expect("a configuration");
    let capacity = config.positions.min(48);
    let mut texts = 0;
    for seed in 1..=30 {
        if texts == 2 {
            return;
        }
        let weights = weights(&config, seed).expect("weights");
        let prompt: Vec<u32> =
            (0..prompt).map(|i| ((i * 7 + 3 * seed as usize) % config.vocabulary) as u32).collect();
        let vb = VarBuilder::from_tensors(weights.clone(), DType::F32, &Device::Cpu);
        let mut forward = native(vb).expect("Candle's model");
        let mut expected = Vec::new();
        let mut input = prompt.clone();
        let mut at = 0;
        for _ in 0..count {
            let tokens =
                Tensor::new(&input[..], &Device::Cpu).and_then(|x| x.unsqueeze(0)).expect("tokens");
            let logits = forward(&tokens, at)
                .and_then(|logits| logits.flatten_all()?.to_vec1::<f32>())
                .expect("logits");
            let best = (0..logits.len())
                .fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
            at += input.len();
            input = vec![best as u32];
            expected.push(best as u32);
        }
        let different: std::collections::HashSet<_> = expected.iter().collect();
        // A text of few tokens proves little.
        if different.len() <= 2 {
            continue;
        }
        texts += 1;
        let decoder = Decoder::new(config.clone(), weights);
        for kind in runtimes() {
            let module =
                compiled(&decoder, DecoderOptions::new(capacity), kind.clone()).expect("compiled");
            let options = GenerateOptions::new().max_tokens(count).stop_tokens([]);
            let got: Vec<u32> = module
                .generate(&prompt, &options)
                .expect("begins")
                .collect::<Result<_, _>>()
                .expect("tokens");
            assert_eq!(got, expected, "{kind}, seed {seed}");
        }
    }
    assert_eq!(texts, 2, "random weights give texts of few tokens");
}

/// A configuration of the family in `json`, with the sizes that all tests have.
fn config(json: &str) -> String {
    let mut all: serde_json::Value = serde_json::from_str(
        r#"{"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "hidden_act": "silu",
            "max_position_embeddings": 64, "rope_theta": 10000.0, "tie_word_embeddings": false}"#,
    )
    .expect("JSON");
    let own: serde_json::Value = serde_json::from_str(json).expect("JSON");
    for (key, value) in own.as_object().expect("an object") {
        all[key] = value.clone();
    }
    all.to_string()
}

fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect("Candle's configuration")
}

fn llama(json: &str, prompt: usize) {
    let json = config(json);
    compare(&json, prompt, 20, |vb| {
        let config = parsed::<models::llama::LlamaConfig>(&json).into_config(false);
        let mut cache = models::llama::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
        let model = models::llama::Llama::load(vb, &config)?;
        Ok(Box::new(move |x, at| model.forward(x, at, &mut cache)))
    });
}

#[test]
fn llama_2_has_a_key_for_each_query() {
    llama(r#"{"model_type": "llama", "num_key_value_heads": 4}"#, 5);
}

#[test]
fn llama_3_shares_keys_and_scales_its_frequencies() {
    llama(
        r#"{"model_type": "llama", "rope_theta": 500.0, "tie_word_embeddings": true, "rope_scaling": {"factor": 4.0,
            "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16, "rope_type": "llama3"}}"#,
        21,
    );
}

#[test]
fn smollm_is_a_llama_with_tied_embeddings() {
    llama(
        r#"{"model_type": "llama", "num_attention_heads": 8, "num_key_value_heads": 1, "tie_word_embeddings": true}"#,
        1,
    );
}

#[test]
fn mistral() {
    let json = config(r#"{"model_type": "mistral", "sliding_window": null}"#);
    compare(&json, 9, 20, |vb| {
        let mut model = models::mistral::Model::new(&parsed(&json), vb)?;
        Ok(Box::new(move |x, at| model.forward(x, at)))
    });
}

#[test]
fn qwen_2_has_biases() {
    let json = config(
        r#"{"model_type": "qwen2", "sliding_window": 64, "max_window_layers": 3, "use_sliding_window": false,
            "tie_word_embeddings": true}"#,
    );
    compare(&json, 8, 20, |vb| {
        let mut model = models::qwen2::ModelForCausalLM::new(&parsed(&json), vb)?;
        Ok(Box::new(move |x, at| model.forward(x, at)))
    });
}

#[test]
fn qwen_3_norms_its_heads() {
    let json = config(
        r#"{"model_type": "qwen3", "head_dim": 16, "attention_bias": false, "sliding_window": null, "max_window_layers": 3,
            "use_sliding_window": false}"#,
    );
    compare(&json, 11, 20, |vb| {
        let mut model = models::qwen3::ModelForCausalLM::new(&parsed(&json), vb)?;
        Ok(Box::new(move |x, at| model.forward(x, at)))
    });
}

#[test]
fn phi_3_joins_its_layers() {
    for partial in ["1.0", "0.5"] {
        let json =
            config(&format!(r#"{{"model_type": "phi3", "partial_rotary_factor": {partial}}}"#));
        compare(&json, 6, 20, |vb| {
            let mut model = models::phi3::Model::new(&parsed(&json), vb)?;
            Ok(Box::new(move |x, at| model.forward(x, at)))
        });
    }
}

#[test]
fn gemma_2_caps_scores_and_norms_after() {
    let json = config(
        r#"{"model_type": "gemma2", "head_dim": 16, "attention_bias": false, "hidden_activation": "gelu_pytorch_tanh",
            "final_logit_softcapping": 30.0, "attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 16,
            "sliding_window": 64, "tie_word_embeddings": true}"#,
    );
    compare(&json, 7, 20, |vb| {
        let mut model = models::gemma2::Model::new(false, &parsed(&json), vb)?;
        Ok(Box::new(move |x, at| model.forward(x, at)))
    });
}

#[test]
fn gemma_3_has_windows_with_positions_of_their_own() {
    let json = config(
        r#"{"model_type": "gemma3_text", "head_dim": 16, "attention_bias": false,
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 16, "sliding_window": 8,
            "sliding_window_pattern": 3, "rope_local_base_freq": 100.0, "tie_word_embeddings": true,
            "final_logit_softcapping": null, "attn_logit_softcapping": null}"#,
    );
    // Candle's own cache turns at the window's end, so the generation goes beyond it. That cache takes one token at a time:
    // the values of several are not contiguous, which is an error.
    compare(&json, 6, 24, |vb| {
        let mut model = models::gemma3::Model::new(false, &parsed(&json), vb)?;
        Ok(Box::new(move |x, at| {
            let each = (0..x.dim(1)?).map(|i| model.forward(&x.narrow(1, i, 1)?, at + i));
            each.last().expect("a token")
        }))
    });
}

#[test]
fn smollm_3_has_layers_without_positions() {
    let json = config(
        r#"{"model_type": "smollm3", "no_rope_layer_interval": 2, "tie_word_embeddings": true}"#,
    );
    compare(&json, 10, 20, |vb| {
        let mut model = models::smol::smollm3::ModelForCausalLM::new(&parsed(&json), vb)?;
        Ok(Box::new(move |x, at| model.forward(x, at)))
    });
}

#[test]
fn all_forms_of_products_give_the_same_tokens() {
    let config =
        DecoderConfig::from_json(&config(r#"{"model_type": "qwen2"}"#)).expect("a configuration");
    let decoder = Decoder::new(config.clone(), config.random_weights(5).expect("weights"));
    let prompt: Vec<u32> = (1..12).collect();
    let options = GenerateOptions::new().max_tokens(12);
    for kind in runtimes() {
        let mut first: Option<Vec<u32>> = None;
        for form in
            [ProductForm::Gemm, ProductForm::MatMul, ProductForm::Columns, ProductForm::Parts(4)]
        {
            for joined in [true, false] {
                let mut forms = DecoderOptions::new(32).form(form);
                forms.joined = joined;
                let module = compiled(&decoder, forms, kind.clone()).expect("compiled");
                let tokens: Vec<u32> = module
                    .generate(&prompt, &options)
                    .expect("begins")
                    .collect::<Result<_, _>>()
                    .expect("tokens");
                assert_eq!(
                    first.get_or_insert_with(|| tokens.clone()),
                    &tokens,
                    "{kind} {form:?} {joined}"
                );
            }
        }
    }
}
