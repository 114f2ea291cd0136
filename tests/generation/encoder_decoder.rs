//! T5 and Whisper against Candle's models of the same random weights, token by token.

use std::collections::{HashMap, HashSet};

use accelerant::cache::EngineCache;
use accelerant::generate::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily,
    EncoderDecoderModule, GenerateOptions, Source, Tokens,
};
use accelerant::{BackendKind, ErrorKind, HostTensor, OptimizeOptions, Result};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{t5, whisper};

use crate::runtimes;

pub(crate) type Weights = HashMap<String, Tensor>;

/// Distances up to 31 are apart, so that Candle's decoder and the authors' agree: `docs/guide/encoder-decoder.md`
/// has the difference.
pub(crate) const T5: &str = r#"{"model_type": "t5", "vocab_size": 61, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
    "num_decoder_layers": 3, "num_heads": 4, "relative_attention_num_buckets": 128, "relative_attention_max_distance": 256,
    "layer_norm_epsilon": 1e-6, "is_encoder_decoder": true, "decoder_start_token_id": 0, "pad_token_id": 0,
    "eos_token_id": 1, "dropout_rate": 0.1, "initializer_factor": 1.0"#;

pub(crate) const WHISPER: &str = r#"{"model_type": "whisper", "vocab_size": 61, "d_model": 32, "encoder_layers": 2,
    "decoder_layers": 3, "encoder_attention_heads": 2, "decoder_attention_heads": 4, "num_mel_bins": 10,
    "max_source_positions": 24, "max_target_positions": 40, "decoder_start_token_id": 21, "eos_token_id": 20,
    "suppress_tokens": [2, 3]}"#;

pub(crate) fn compiled(
    model: &EncoderDecoder,
    options: DecoderOptions,
    kind: BackendKind,
) -> Result<EncoderDecoderModule> {
    let compiling = OptimizeOptions::new().require(kind).cache(EngineCache::off());
    model.optimize_trt(&options.tokens(Tokens::UpTo(8)), &compiling)
}

pub(crate) fn weights(config: &EncoderDecoderConfig, seed: u64) -> Weights {
    let weights = config.random_weights(seed).expect("weights").into_iter();
    let scaled = |(name, tensor): (String, HostTensor)| {
        let mut values = tensor.to_vec::<f32>().expect("f32");
        let is_table = name.contains("embed_tokens") || name.contains("shared");
        // A token decides its successor alone where embeddings are large against what layers add.
        let factor = match tensor.shape().len() {
            _ if is_table => 0.3,
            2 | 3 => 2.0,
            _ => 1.0,
        };
        values.iter_mut().for_each(|value| *value *= factor);
        let tensor = Tensor::from_vec(values, tensor.shape(), &Device::Cpu).expect("a tensor");
        (name, tensor)
    };
    weights.map(scaled).collect()
}

fn best(logits: &Tensor) -> candle_core::Result<u32> {
    let logits = logits.flatten_all()?.to_vec1::<f32>()?;
    Ok((0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best }) as u32)
}

pub(crate) fn row(tokens: &[u32]) -> candle_core::Result<Tensor> {
    Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)
}

pub(crate) fn builder(weights: &Weights) -> VarBuilder<'static> {
    VarBuilder::from_tensors(weights.clone(), DType::F32, &Device::Cpu)
}

/// Whether texts differ enough to prove something.
fn telling(texts: &[Vec<u32>]) -> bool {
    let different: HashSet<_> = texts.concat().into_iter().collect();
    different.len() > 3 && texts.iter().collect::<HashSet<_>>().len() == texts.len()
}

fn native_t5(json: &str, weights: &Weights, source: &[u32], count: usize) -> Vec<u32> {
    let config: t5::Config = serde_json::from_str(json).expect("Candle's configuration");
    let run = || -> candle_core::Result<Vec<u32>> {
        let mut model = t5::T5ForConditionalGeneration::load(builder(weights), &config)?;
        let encoded = model.encode(&row(source)?)?;
        let mut tokens = vec![0];
        for _ in 0..count {
            let last = tokens[tokens.len() - 1];
            tokens.push(best(&model.decode(&row(&[last])?, &encoded)?)?);
        }
        Ok(tokens.split_off(1))
    };
    run().expect("Candle's tokens")
}

fn t5(more: &str) {
    let json = format!("{T5}{more}}}");
    let config = EncoderDecoderConfig::from_json(&json).expect("a configuration");
    let options = GenerateOptions::new().max_tokens(24).stop_tokens([]);
    let mut tried = 0;
    for seed in 1..=30 {
        let weights = weights(&config, seed);
        let sources: [Vec<u32>; 2] =
            [(0..45).map(|i| (i * 13 + 5) % 61).collect(), vec![7, 50, 4, 1]];
        let expected: Vec<_> =
            sources.iter().map(|source| native_t5(&json, &weights, source, 24)).collect();
        if !telling(&expected) {
            continue;
        }
        let model = EncoderDecoder::new(config.clone(), weights);
        for kind in runtimes() {
            let options_of = DecoderOptions::new(32).source(48);
            let module = compiled(&model, options_of.clone(), kind.clone()).expect("compiled");
            for (source, expected) in sources.iter().zip(&expected) {
                let got = module.generate(Source::Tokens(source), &[], &options).expect("begins");
                let got: Vec<u32> = got.collect::<Result<_>>().expect("tokens");
                assert_eq!(&got, expected, "{kind}, seed {seed}, {} tokens", source.len());
            }
            if tried == 0 {
                let module = compiled(&model, options_of.batch(2), kind.clone()).expect("compiled");
                let both = [Source::Tokens(&sources[0]), Source::Tokens(&sources[1])];
                let mut texts =
                    module.generate_batch(&both, &[&[], &[]], &options).expect("begins");
                texts.by_ref().for_each(|row| assert_eq!(row.expect("tokens").len(), 2));
                for (i, expected) in expected.iter().enumerate() {
                    assert_eq!(texts.generated(i), expected, "{kind}, text {i} of two");
                }
            }
        }
        tried += 1;
        if tried == 2 {
            return;
        }
    }
    panic!("random weights give texts of few tokens");
}

#[test]
fn t5_has_the_weight_of_its_embeddings_twice() {
    t5("");
}

#[test]
fn t5_of_version_1_1_has_gates_and_a_head() {
    t5(r#", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false"#);
}

fn native_whisper(
    weights: &Weights,
    features: &HostTensor,
    prompt: &[u32],
    count: usize,
) -> Vec<u32> {
    let config: whisper::Config = serde_json::from_str(WHISPER).expect("Candle's configuration");
    let run = || -> candle_core::Result<Vec<u32>> {
        let mut model = whisper::model::Whisper::load(&builder(weights), config)?;
        let values = features.to_vec::<f32>().expect("f32");
        let features = Tensor::from_vec(values, features.shape(), &Device::Cpu)?.unsqueeze(0)?;
        let encoded = model.encoder.forward(&features, true)?;
        let mut tokens = prompt.to_vec();
        for i in 0..count {
            let states = model.decoder.forward(&row(&tokens)?, &encoded, i == 0)?;
            let last = states.narrow(1, tokens.len() - 1, 1)?;
            tokens.push(best(&model.decoder.final_linear(&last)?)?);
        }
        Ok(tokens.split_off(prompt.len()))
    };
    run().expect("Candle's tokens")
}

/// Features as if of a sound, by a seed.
pub(crate) fn features(seed: usize) -> HostTensor {
    let values = (0..10 * 48).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0);
    HostTensor::from_vec([10, 48], values.collect()).expect("features")
}

#[test]
fn whisper_hears_what_candle_hears() {
    let config = EncoderDecoderConfig::from_json(WHISPER).expect("a configuration");
    let options = GenerateOptions::new().max_tokens(24).stop_tokens([]);
    let mut tried = 0;
    for seed in 1..=30 {
        let weights = weights(&config, seed);
        let sounds = [features(1), features(2)];
        // The second prompt takes more than one chunk.
        let prompts: [Vec<u32>; 2] = [vec![21, 22, 23], (30..41).collect()];
        let heard = |(sound, prompt): (_, &Vec<u32>)| native_whisper(&weights, sound, prompt, 24);
        let expected: Vec<_> = sounds.iter().zip(&prompts).map(heard).collect();
        if !telling(&expected) {
            continue;
        }
        let model = EncoderDecoder::new(config.clone(), weights.clone());
        for kind in runtimes() {
            let module = compiled(&model, DecoderOptions::new(40), kind.clone()).expect("compiled");
            for ((sound, prompt), expected) in sounds.iter().zip(&prompts).zip(&expected) {
                let got =
                    module.generate(Source::Features(sound), prompt, &options).expect("begins");
                let got: Vec<u32> = got.collect::<Result<_>>().expect("tokens");
                assert_eq!(&got, expected, "{kind}, seed {seed}, {} tokens", prompt.len());
            }
        }
        tried += 1;
        if tried == 2 {
            return;
        }
    }
    panic!("random weights give texts of few tokens");
}

/// Tuned models may have a last layer of their own, and positions that are no sines.
#[test]
fn whisper_takes_a_last_layer_and_positions_that_the_file_has() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let config = EncoderDecoderConfig::from_json(WHISPER)?;
    let plain = config.random_weights(3)?;
    let scores = |weights: &HashMap<String, HostTensor>, text: &[u32]| {
        let model = EncoderDecoder::new(config.clone(), weights.clone());
        let module = compiled(&model, DecoderOptions::new(40), kind.clone())?;
        module.score(Source::Features(&features(1)), text)
    };
    let text: Vec<u32> = (0..12).map(|i| (i * 7 + 2) % 61).collect();
    let expected = scores(&plain, &text)?;

    // The rows of the last layer in another order: the first token is as likely as the one whose row it has.
    let mut own = plain.clone();
    let embeddings = plain["model.decoder.embed_tokens.weight"].to_vec::<f32>()?;
    let turned: Vec<f32> = embeddings.chunks(32).rev().flatten().copied().collect();
    own.insert("proj_out.weight".into(), HostTensor::from_vec([61, 32], turned)?);
    let got = scores(&own, &[60 - text[0]])?;
    assert!((got[0] - expected[0]).abs() < 1e-5, "{} {}", got[0], expected[0]);

    let mut own = plain;
    let sines = |at: usize, i: usize| {
        let angle = at as f32 * (-(10_000f32.ln()) * (i % 16) as f32 / 15.0).exp();
        if i < 16 { angle.sin() } else { angle.cos() }
    };
    for (factor, same) in [(1.0, true), (-1.0, false)] {
        let table = (0..24).flat_map(|at| (0..32).map(move |i| factor * sines(at, i)));
        let table = HostTensor::from_vec([24, 32], table.collect())?;
        own.insert("model.encoder.embed_positions.weight".into(), table);
        let got = scores(&own, &text)?;
        let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(off < 1e-4, same, "{off}");
    }
    Ok(())
}

#[test]
fn sources_that_do_not_fit_are_refused_and_the_next_one_is_right() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let config = EncoderDecoderConfig::from_json(&format!("{T5}}}"))?;
    let weights = config.random_weights(3)?;
    let model = EncoderDecoder::new(config, weights);
    let module = compiled(&model, DecoderOptions::new(16).source(8), kind.clone())?;
    let options = GenerateOptions::new().max_tokens(6).stop_tokens([]);
    let text = || -> Result<Vec<u32>> {
        module.generate(Source::Tokens(&[5, 6, 1]), &[], &options)?.collect()
    };
    let refused = |source: Source<'_>, prompt: &[u32]| {
        module.generate(source, prompt, &options).err().map(|error| error.kind())
    };
    let first = text()?;
    assert_eq!(refused(Source::Tokens(&[]), &[]), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(Source::Tokens(&[5, 61]), &[]), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(Source::Tokens(&[5; 9]), &[]), Some(ErrorKind::OutOfProfile));
    assert_eq!(refused(Source::Tokens(&[5; 8]), &[61]), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(Source::Tokens(&[5; 8]), &[0; 17]), Some(ErrorKind::OutOfProfile));
    assert_eq!(refused(Source::Features(&features(1)), &[]), Some(ErrorKind::InvalidArgument));
    // A caller that goes away.
    let mut left = module.generate(Source::Tokens(&[9; 8]), &[], &options)?;
    left.next().transpose()?;
    drop(left);
    assert_eq!(text()?, first);
    assert_eq!(module.score(Source::Tokens(&[5, 6, 1]), &first)?.len(), 6);

    let config = EncoderDecoderConfig::from_json(WHISPER)?;
    let weights = config.random_weights(3)?;
    let module = compiled(&EncoderDecoder::new(config, weights), DecoderOptions::new(40), kind)?;
    let wrong = HostTensor::from_vec([10, 47], vec![0f32; 470])?;
    let error = module.generate(Source::Features(&wrong), &[], &options).expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::ShapeMismatch);
    assert!(module.generate(Source::Tokens(&[5]), &[], &options).is_err());
    Ok(())
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let t5 = format!("{T5}}}");
    for (json, from, to, named) in [
        (&*t5, "\"t5\"", "\"bart\"", "bart"),
        (&*t5, "\"d_kv\": 8,", "", "d_kv"),
        (&*t5, "_buckets\": 128", "_buckets\": 6", "6 buckets"),
        (&*t5, "max_distance\": 256", "max_distance\": 64", "64"),
        (&*t5, "\"eos_token_id\": 1", "\"eos_token_id\": 61", "token 61"),
        (&*t5, "\"d_ff\"", "\"feed_forward_proj\": \"gelu_x\", \"d_ff\"", "gelu_x"),
        (WHISPER, "decoder_attention_heads\": 4", "decoder_attention_heads\": 3", "3 heads"),
        (WHISPER, "\"d_model\": 32", "\"encoder_ffn_dim\": 64, \"d_model\": 32", "encoder_ffn_dim"),
        (WHISPER, "num_mel_bins\": 10", "num_mel_bins\": 0", "mel_bins"),
    ] {
        let error = EncoderDecoderConfig::from_json(&json.replace(from, to)).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{error}");
    }
}

/// Version 5 of transformers leaves these tokens out of `config.json`.
#[test]
fn tokens_of_a_generation_config_are_taken() -> Result<()> {
    let config = EncoderDecoderConfig::from_json(&WHISPER.replace("[2, 3]", "null"))?;
    let text = r#"{"eos_token_id": [20, 19], "decoder_start_token_id": 22, "suppress_tokens": [5], "top_k": 50}"#;
    let taken = config.clone().with_generation_config(text)?;
    assert_eq!((taken.start_token, taken.end_tokens.as_slice()), (22, &[20, 19][..]));
    let EncoderDecoderFamily::Whisper { suppressed, .. } = &taken.family else { panic!("Whisper") };
    assert_eq!(suppressed, &[5]);
    assert_eq!(taken.clone().with_generation_config("{}")?, taken);
    for wrong in ["", "[]", r#"{"eos_token_id": 61}"#, r#"{"suppress_tokens": [-1]}"#] {
        let error = config.clone().with_generation_config(wrong).expect_err(wrong);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    Ok(())
}

/// Scores depend on the scale of the logits and on the buckets of far distances, in which Candle and the authors differ. Written
/// by `tests/data/t5_reference.py`.
#[test]
fn t5_scores_a_text_as_transformers_does() -> Result<()> {
    let reference: HashMap<String, Vec<f32>> =
        serde_json::from_str(include_str!("../data/t5_reference.json")).expect("JSON");
    let plain = T5
        .replace("num_decoder_layers\": 3", "num_decoder_layers\": 2")
        .replace("num_buckets\": 128", "num_buckets\": 32")
        .replace("max_distance\": 256", "max_distance\": 128");
    let gated = r#", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": false"#;
    // Version 5 of the package writes of the same model that embeddings are tied.
    let later = r#", "feed_forward_proj": "gated-gelu", "tie_word_embeddings": true, "scale_decoder_outputs": false"#;
    let multilingual = r#", "tie_word_embeddings": true"#;
    let source: Vec<u32> = (0..40).map(|i| (i * 13 + 5) % 61).collect();
    let text: Vec<u32> = (0..44).map(|i: u32| (i * i * 7 + 3 * i + 11) % 61).collect();
    for (name, written, more) in [
        ("tied", "t5", ""),
        ("tied", "t5", r#", "tie_word_embeddings": true, "scale_decoder_outputs": true"#),
        ("gated", "t5", gated),
        ("gated", "t5", later),
        ("gated", "mt5", multilingual),
        ("gated", "mt5", ""),
    ] {
        let config = |more| EncoderDecoderConfig::from_json(&format!("{plain}{more}}}"));
        let weights = config(if name == "tied" { "" } else { gated })?.random_weights(7)?;
        let json = format!("{plain}{more}}}").replace("\"t5\"", &format!("\"{written}\""));
        let config = EncoderDecoderConfig::from_json(&json)?;
        let model = EncoderDecoder::new(config, weights);
        for kind in runtimes() {
            let module = compiled(&model, DecoderOptions::new(48).source(48), kind.clone())?;
            let got = module.score(Source::Tokens(&source), &text)?;
            assert_eq!(got.len(), 44);
            for (at, (got, expected)) in got.iter().zip(&reference[name]).enumerate() {
                assert!(
                    (got - expected).abs() < 1e-3,
                    "{kind}, {written} {more}, token {at}: {got} {expected}"
                );
            }
        }
    }
    Ok(())
}
