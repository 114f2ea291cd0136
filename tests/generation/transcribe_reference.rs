//! Long sound against the Python package openai-whisper. Written by `tests/data/transcribe_reference.py`.

use std::time::Duration;

use accelerant::generate::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, Segment, TranscribeOptions, WhisperTokens,
};
use accelerant::{HostTensor, Result};
use serde::Deserialize;

use crate::encoder_decoder::compiled;
use crate::runtimes;

#[derive(Deserialize)]
struct Case {
    seed: u64,
    vocabulary: usize,
    suppressed: Vec<u32>,
    which: usize,
    seconds: f64,
    /// Whether the language was asked for.
    asked: bool,
    language: Option<u32>,
    translate: bool,
    previous: bool,
    begin: Vec<u32>,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct Part {
    /// In hundredths of a second.
    start: u64,
    end: u64,
    tokens: Vec<u32>,
}

fn sound(seconds: f64, which: usize) -> Vec<f32> {
    let which = which as f64;
    let sample = |i: usize| {
        let (at, i) = (i as f64, i / 1000);
        let changing = (at * (0.02 + 0.01 * which) * (1.0 + (i / 52 % 5) as f64)).sin();
        0.3 * changing + 0.2 * (at * at * 1e-7 * (1.0 + which)).sin() * (i / 23 % 2) as f64
    };
    (0..(16_000.0 * seconds) as usize).map(|i| sample(i) as f32).collect()
}

fn model(case: &Case) -> Result<(EncoderDecoder, WhisperTokens)> {
    let Case { vocabulary, suppressed, .. } = case;
    let end = vocabulary - 1608;
    let config = EncoderDecoderConfig::from_json(&format!(
        r#"{{"model_type": "whisper", "vocab_size": {vocabulary}, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
            "encoder_attention_heads": 2, "decoder_attention_heads": 2, "num_mel_bins": 80, "max_source_positions": 1500,
            "max_target_positions": 64, "decoder_start_token_id": {}, "eos_token_id": {end},
            "suppress_tokens": {suppressed:?}}}"#,
        end + 1
    ))?;
    let mut weights = config.random_weights(case.seed)?;
    for (name, weight) in &mut weights {
        if name.contains("embed_tokens") {
            let values = weight.to_vec::<f32>()?.into_iter().map(|value| value * FACTOR);
            *weight = HostTensor::from_vec(weight.shape(), values.collect())?;
        }
    }
    let tokens = WhisperTokens::new(&config, end as u32 + 106)?;
    Ok((EncoderDecoder::new(config, weights), tokens))
}

/// As in the script.
const FACTOR: f32 = 2.5;

#[test]
fn long_sound_is_written_down_as_openai_whisper_does() -> Result<()> {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../data/transcribe_reference.json")).expect("JSON");
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    for cases in cases.chunk_by(|a, b| a.seed == b.seed) {
        let (model, tokens) = model(&cases[0])?;
        let module = compiled(&model, DecoderOptions::new(64), kind.clone())?;
        for case in cases {
            let mut options = TranscribeOptions::new(tokens.clone())
                .blank(220)
                .previous_text(case.previous)
                .text_before(case.begin.clone());
            match case.language {
                Some(language) if case.asked => options = options.language(language),
                Some(_) => {}
                None => options = options.english_alone(),
            }
            if case.translate {
                options = options.translate();
            }
            let mut got = module.transcribe(&sound(case.seconds, case.which), &options)?;
            let parts: Vec<Segment> = got.by_ref().collect::<Result<_>>()?;
            let expected = case.parts.iter().map(|part| Segment {
                start: Duration::from_millis(10 * part.start),
                end: Some(Duration::from_millis(10 * part.end)),
                tokens: part.tokens.clone(),
            });
            let case_of = format!("seed {}, sound {}", case.seed, case.which);
            assert_eq!(parts, expected.collect::<Vec<_>>(), "{case_of}");
            assert_eq!(got.language(), case.language, "{case_of}");
        }
    }
    Ok(())
}
