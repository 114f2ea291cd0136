//! The forms of attention of single tokens, against the plainest.

use accelerant::export::Target;
use accelerant::generate::{AttentionForm, Decoder, DecoderConfig, DecoderOptions, Tokens};
use accelerant::{BackendKind, DType, HostTensor, InferenceModule, OptimizeOptions};

use crate::{runtimes, tiny};

fn config(more: &str) -> String {
    let mut all: serde_json::Value = serde_json::from_str(
        r#"{"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "rms_norm_eps": 1e-5}"#,
    )
    .expect("JSON");
    let more: serde_json::Value = serde_json::from_str(more).expect("JSON");
    for (key, value) in more.as_object().expect("an object") {
        all[key] = value.clone();
    }
    all.to_string()
}

/// Numbers from -1 to 1.
fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0).collect()
}

/// The outputs of one token after some that the caches hold.
fn step_of(decoder: &Decoder, options: &DecoderOptions, kind: BackendKind) -> Vec<HostTensor> {
    step_over(decoder, options, kind, 1)
}

/// As [`step_of`], of a pass that reads so many blocks of the caches, where it is told.
fn step_over(
    decoder: &Decoder,
    options: &DecoderOptions,
    kind: BackendKind,
    blocks: usize,
) -> Vec<HostTensor> {
    let model = decoder.model(Target::portable(), options).expect("a model");
    let compiling = OptimizeOptions::new().require(kind);
    let module = InferenceModule::compile(&model, &compiling).expect("compiled");
    let mut caches = 0;
    let inputs = module.signature().inputs.iter().map(|spec| {
        let [_, shape, _] = spec.shape.profile();
        match spec.dtype {
            DType::I64 if spec.name == "seen" => {
                HostTensor::from_vec([blocks, 512], (0..blocks as i64 * 512).collect())
                    .expect("places")
            }
            DType::I64 => HostTensor::from_vec(&shape[..], vec![21i64; shape.iter().product()])
                .expect("a token"),
            _ => {
                caches += 1;
                HostTensor::from_vec(&shape[..], numbers(shape.iter().product(), caches))
                    .expect("a tensor")
            }
        }
    });
    module.run(&inputs.collect::<Vec<_>>()).expect("runs")
}

#[test]
fn all_forms_of_attention_compute_the_same() {
    // Groups of heads, a window that leaves parts of the cache unseen, and capped scores.
    for more in [r#"{"model_type": "qwen2"}"#, r#"{"model_type": "gemma2", "sliding_window": 5}"#] {
        let config = DecoderConfig::from_json(&config(more)).expect("a configuration");
        let decoder = Decoder::new(config.clone(), config.random_weights(5).expect("weights"));
        let options = DecoderOptions::new(32).tokens(Tokens::Fixed(1));
        for kind in runtimes() {
            let whole =
                step_of(&decoder, &options.clone().attention(AttentionForm::Whole), kind.clone());
            for form in [
                AttentionForm::Parts(1),
                AttentionForm::Parts(4),
                AttentionForm::Parts(32),
                AttentionForm::Sums(8),
                AttentionForm::Columns(8),
            ] {
                let got = step_of(&decoder, &options.clone().attention(form), kind.clone());
                assert_eq!(got.len(), whole.len());
                for (got, expected) in got.iter().zip(&whole) {
                    if expected.dtype() == DType::I64 {
                        assert_eq!(got.to_vec::<i64>().ok(), expected.to_vec::<i64>().ok());
                        continue;
                    }
                    let (got, expected) = (got.to_vec::<f32>(), expected.to_vec::<f32>());
                    let (got, expected) = (got.expect("floats"), expected.expect("floats"));
                    let far = got
                        .iter()
                        .zip(&expected)
                        .find(|(a, b)| a.is_nan() || (*a - *b).abs() >= 1e-4);
                    assert_eq!(far, None, "{kind}, {more}, {form:?}");
                }
            }
        }
    }
    let odd = DecoderOptions::new(32).attention(AttentionForm::Parts(5));
    let decoder = tiny().expect("a decoder");
    let error = decoder.model(Target::portable(), &odd).unwrap_err();
    assert!(error.to_string().contains("32 positions in 5 equal parts"), "{error}");
}

#[test]
fn a_pass_that_reads_a_part_of_the_caches_computes_the_same() {
    // With the usual window, and one that reaches over the first block.
    for more in [r#"{"model_type": "qwen2"}"#, r#"{"model_type": "gemma2", "sliding_window": 600}"#]
    {
        let config = DecoderConfig::from_json(&config(more)).expect("a configuration");
        let decoder = Decoder::new(config.clone(), config.random_weights(5).expect("weights"));
        let options = DecoderOptions::new(1536).tokens(Tokens::Fixed(1));
        for kind in runtimes() {
            let all = step_of(&decoder, &options, kind.clone());
            for form in [None, Some(AttentionForm::Sums(4)), Some(AttentionForm::Parts(16))] {
                let mut part = options.clone().part_of_cache(true);
                part.attention = form;
                for blocks in 1..=3 {
                    let got = step_over(&decoder, &part, kind.clone(), blocks);
                    assert_eq!(got.len(), all.len());
                    for (got, expected) in
                        got.iter().zip(&all).filter(|(_, all)| all.dtype() == DType::F32)
                    {
                        let (got, expected) = (got.to_vec::<f32>(), expected.to_vec::<f32>());
                        let (got, expected) = (got.expect("floats"), expected.expect("floats"));
                        assert_eq!(got.len(), expected.len());
                        let far = got
                            .iter()
                            .zip(&expected)
                            .map(|(a, b)| (a - b).abs())
                            .fold(0.0, f32::max);
                        assert!(far < 1e-4, "{kind} {form:?} {blocks}: {far}");
                    }
                }
            }
        }
    }
}
