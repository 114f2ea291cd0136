//! What is around Whisper's model, against the Python package transformers and Candle.

use accelerant::Result;
use accelerant::generate::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, GenerateOptions, LogitsRule, Source,
    WhisperRules, log_mel, segments,
};
use candle_transformers::models::whisper::{Config, audio::pcm_to_mel};
use serde_json::Value;

use crate::encoder_decoder::{WHISPER, compiled, features};
use crate::runtimes;

/// Written by `tests/data/whisper_reference.py`.
fn reference() -> Value {
    serde_json::from_str(include_str!("../data/whisper_reference.json")).expect("JSON")
}

fn sound() -> Vec<f32> {
    let at = |i: u32| f64::from(i);
    let sample = |i: u32| {
        0.3 * (at(i) * 0.05).sin()
            + 0.2 * (at(i) * at(i) * 1e-5).sin()
            + 0.001 * (at(i) * 2.9).cos()
    };
    (0..9600).map(|i| sample(i) as f32).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("one") as f32).collect()
}

#[test]
fn features_are_those_of_transformers() -> Result<()> {
    for bands in [80, 128] {
        let got = log_mel(&sound(), bands, 100)?.to_vec::<f32>()?;
        let reference = reference();
        let frames = reference["features"][bands.to_string()].as_array().expect("frames");
        assert_eq!(frames.len(), 12);
        for (i, frame) in frames.iter().enumerate() {
            for (band, expected) in numbers(frame).into_iter().enumerate() {
                let got = got[band * 100 + 9 * i];
                assert!(
                    (got - expected).abs() < 1e-3,
                    "{got} {expected}, band {band}, frame {}",
                    9 * i
                );
            }
        }
    }
    Ok(())
}

/// Candle takes windows from their beginning and counts each frequency twice, where the authors take windows about their
/// middle and count once.
#[test]
fn features_are_those_of_candle_but_for_the_place_of_windows() -> Result<()> {
    const BANDS: usize = 80;
    let samples = sound();
    let got = log_mel(&samples, BANDS, 100)?.to_vec::<f32>()?;
    // The filters of the feature extractor, one frequency at a time.
    let config: Config = serde_json::from_str(&WHISPER.replace("bins\": 10", "bins\": 80"))
        .expect("a configuration");
    let filters: Vec<f32> = (0..BANDS).flat_map(triangle).collect();
    let mirrored: Vec<f32> =
        (1..=200).rev().map(|i| samples[i]).chain(samples.iter().copied()).collect();
    let candle = pcm_to_mel(&config, &mirrored, &filters);
    let length = candle.len() / BANDS;
    let twice = 2f32.log10() / 4.0;
    let mut compared = 0;
    for band in 0..BANDS {
        for frame in 0..50 {
            let (got, candle) = (got[band * 100 + frame], candle[band * length + frame] - twice);
            assert!((got - candle).abs() < 1e-3, "{got} {candle}, band {band}, frame {frame}");
            compared += usize::from(got > -0.4);
        }
    }
    assert!(compared > 500, "{compared}");
    Ok(())
}

/// A band of Slaney's scale, as `librosa.filters.mel` has it.
fn triangle(band: usize) -> Vec<f32> {
    let mel = |hertz: f64| {
        if hertz < 1000.0 {
            hertz * 3.0 / 200.0
        } else {
            15.0 + (hertz / 1000.0).ln() / (6.4f64.ln() / 27.0)
        }
    };
    let hertz = |mel: f64| {
        if mel < 15.0 {
            mel * 200.0 / 3.0
        } else {
            1000.0 * (6.4f64.ln() / 27.0 * (mel - 15.0)).exp()
        }
    };
    let edge = |i: usize| hertz(mel(8000.0) * (band + i) as f64 / 81.0);
    let (low, middle, high) = (edge(0), edge(1), edge(2));
    let weight = |bin: usize| {
        let at = 40.0 * bin as f64;
        let height =
            if at < middle { (at - low) / (middle - low) } else { (high - at) / (high - middle) };
        (height.max(0.0) * 2.0 / (high - low)) as f32
    };
    (0..201).map(weight).collect()
}

#[test]
fn sound_that_makes_no_sense_is_refused() {
    assert!(log_mel(&[0.0, f32::NAN], 80, 100).is_err());
    assert!(log_mel(&[], 0, 100).is_err());
    assert!(log_mel(&[], 80, 0).is_err());
    let silence =
        log_mel(&[], 80, 100).and_then(|features| features.to_vec::<f32>()).expect("features");
    assert!(silence.iter().all(|value| (value + 1.5).abs() < 1e-6));
}

fn rules(latest: Option<usize>) -> WhisperRules {
    let json = WHISPER.replace("61", "48").replace("[2, 3]", "[]");
    let config = EncoderDecoderConfig::from_json(&json).expect("a configuration");
    WhisperRules::new(&config, 25).expect("rules").latest_start(latest)
}

#[test]
fn rules_allow_what_those_of_transformers_allow() -> Result<()> {
    let reference = reference();
    let cases = reference["rules"].as_array().expect("cases");
    assert_eq!(cases.len(), 80);
    for (i, case) in cases.iter().enumerate() {
        let generated: Vec<u32> =
            numbers(&case["generated"]).into_iter().map(|x| x as u32).collect();
        let mut logits = numbers(&case["logits"]);
        if generated.is_empty() {
            // The rule that no text begins with its end is another one of the package.
            logits[20] = f32::NEG_INFINITY;
        }
        rules(case["latest"].as_u64().map(|steps| steps as usize))
            .apply(&mut logits, &generated)?;
        let allowed: Vec<f32> =
            (0..48).filter(|i| logits[*i] > f32::NEG_INFINITY).map(|i| i as f32).collect();
        assert_eq!(allowed, numbers(&case["allowed"]), "case {i}");
    }
    Ok(())
}

#[test]
fn texts_that_keep_the_rules_are_divided_by_their_times() -> Result<()> {
    let config = EncoderDecoderConfig::from_json(WHISPER)?;
    let model = EncoderDecoder::new(config.clone(), config.random_weights(5)?);
    let rules = WhisperRules::new(&config, 25)?.blank(9);
    for kind in runtimes() {
        let module = compiled(&model, DecoderOptions::new(40), kind)?;
        let mut parts = 0;
        for seed in 0..20 {
            let options = GenerateOptions::new()
                .max_tokens(30)
                .temperature(1.5)
                .seed(seed)
                .rule(rules.clone());
            let sound = features(seed as usize);
            let text: Vec<u32> = module
                .generate(Source::Features(&sound), &[21, 22, 23], &options)?
                .collect::<Result<_>>()?;
            assert!(text.first().is_none_or(|token| *token > 25), "{text:?}");
            assert!(!text.iter().any(|token| [2, 3, 25].contains(token)), "{text:?}");
            let times: Vec<u32> = text.iter().copied().filter(|token| *token > 25).collect();
            assert!(times.is_sorted(), "{text:?}");
            let all = segments(&text, 20, 25);
            assert!(
                all.iter().all(|part| part.end.is_none_or(|end| end >= part.start)),
                "{text:?}"
            );
            let said: usize = all.iter().map(|part| part.tokens.len()).sum();
            assert_eq!(said, text.iter().filter(|token| **token < 20).count());
            parts += all.len();
        }
        assert!(parts > 20, "{parts}");
    }
    Ok(())
}

#[test]
fn rules_for_other_models_are_refused() {
    let config = EncoderDecoderConfig::from_json(WHISPER).expect("a configuration");
    assert!(WhisperRules::new(&config, 61).is_err());
    assert!(WhisperRules::new(&config, 19).is_err());
    let t5 = format!("{}}}", crate::encoder_decoder::T5);
    let t5 = EncoderDecoderConfig::from_json(&t5).expect("a configuration");
    assert!(WhisperRules::new(&t5, 25).is_err());
    assert!(rules(None).apply(&mut [0.0; 20], &[]).is_err());
}
