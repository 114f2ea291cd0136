//! Sound that is longer than a window, and its language, against Candle's model step by step.

use std::time::Duration;

use accelerant::generate::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderModule, GenerateOptions,
    LogitsRule, Segment, TranscribeOptions, WhisperRules, WhisperTokens, log_mel,
};
use accelerant::{BackendKind, ErrorKind, Result, TimeLimit};
use candle_core::{Device, Tensor};
use candle_transformers::models::whisper;

use crate::encoder_decoder::{T5, Weights, builder, compiled, row, weights};
use crate::runtimes;

/// A window has 48 frames, which are 0.48 seconds.
const CONFIG: &str = r#"{"model_type": "whisper", "vocab_size": 57, "d_model": 32, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 4, "num_mel_bins": 10,
    "max_source_positions": 24, "max_target_positions": 40, "decoder_start_token_id": 21, "eos_token_id": 20,
    "suppress_tokens": [2, 3, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30]}"#;
const NO_TIMESTAMPS: u32 = 31;
const FRAMES: usize = 48;
const CAPACITY: usize = 40;

fn config() -> EncoderDecoderConfig {
    EncoderDecoderConfig::from_json(CONFIG).expect("a configuration")
}

fn tokens() -> WhisperTokens {
    WhisperTokens::new(&config(), NO_TIMESTAMPS).expect("tokens")
}

fn sound(count: usize, seed: u64) -> Vec<f32> {
    let sample = |i: usize| {
        let (at, part) = (i as f32, (i / 1900 + seed as usize) % 7);
        0.4 * (at * (0.03 + 0.11 * part as f32)).sin() + 0.002 * (at * 2.1).cos()
    };
    (0..count).map(sample).collect()
}

/// What the test asks of both.
#[derive(Clone, Default)]
struct Asked {
    language: Option<u32>,
    english_alone: bool,
    translate: bool,
    forgets: bool,
    before: Vec<u32>,
}

impl Asked {
    fn options(&self) -> TranscribeOptions {
        let mut options = TranscribeOptions::new(tokens())
            .blank(9)
            .previous_text(!self.forgets)
            .text_before(self.before.clone());
        if let Some(language) = self.language {
            options = options.language(language);
        }
        if self.english_alone {
            options = options.english_alone();
        }
        if self.translate { options.translate() } else { options }
    }
}

/// What Candle's model hears with the loop of the authors' `transcribe`.
#[derive(Default)]
struct Heard {
    parts: Vec<Segment>,
    language: Option<u32>,
    /// Frames from each window to the next.
    steps: Vec<usize>,
    longest_prompt: usize,
    /// A choice was so close that other roundings may choose otherwise.
    close: bool,
}

/// Logits that are changed a little, in some ways: all tokens, and the timestamps against the others.
fn nearly(logits: &[f32]) -> impl Iterator<Item = Vec<f32>> {
    let ways: [fn(usize) -> bool; 4] =
        [|i| i > 31, |i| i <= 31, |i| i * 7919 % 13 > 6, |i| i * 7919 % 13 <= 6];
    ways.into_iter().map(|up| {
        let by = |i: usize| if up(i) { 1e-3 } else { -1e-3 };
        logits.iter().enumerate().map(|(i, logit)| logit + by(i)).collect()
    })
}

struct Native {
    model: whisper::model::Whisper,
    rules: WhisperRules,
}

impl Native {
    fn new(weights: &Weights) -> candle_core::Result<Self> {
        let own: whisper::Config = serde_json::from_str(CONFIG).expect("Candle's configuration");
        let model = whisper::model::Whisper::load(&builder(weights), own)?;
        let rules = WhisperRules::new(&config(), NO_TIMESTAMPS).expect("rules").blank(9);
        Ok(Self { model, rules })
    }

    fn logits(
        &mut self,
        encoded: &Tensor,
        text: &[u32],
        first: bool,
    ) -> candle_core::Result<Vec<f32>> {
        let states = self.model.decoder.forward(&row(text)?, encoded, first)?;
        let last = states.narrow(1, text.len() - 1, 1)?;
        self.model.decoder.final_linear(&last)?.flatten_all()?.to_vec1()
    }

    fn encoded(
        &mut self,
        mel: &[Vec<f32>],
        from: usize,
        count: usize,
    ) -> candle_core::Result<Tensor> {
        let mut values = Vec::new();
        for band in mel {
            values.extend_from_slice(&band[from..from + count]);
            values.extend(std::iter::repeat_n(0.0, FRAMES - count));
        }
        self.model.encoder.forward(&Tensor::from_vec(values, (1, 10, FRAMES), &Device::Cpu)?, true)
    }

    fn transcribe(&mut self, samples: &[f32], asked: &Asked) -> candle_core::Result<Heard> {
        let content = samples.len() / 160;
        let mel = log_mel(samples, 10, content + FRAMES).expect("features");
        let mel: Vec<f32> = mel.to_vec().expect("f32");
        let mel: Vec<Vec<f32>> = mel.chunks(content + FRAMES).map(<[f32]>::to_vec).collect();
        let mut heard = Heard { language: asked.language, ..Heard::default() };
        if asked.language.is_none() && !asked.english_alone {
            let encoded = self.encoded(&mel, 0, FRAMES)?;
            let logits = self.logits(&encoded, &[21], true)?;
            let of = |tokens: std::ops::Range<usize>| {
                let mut all: Vec<f32> = logits[tokens].to_vec();
                all.sort_by(f32::total_cmp);
                all
            };
            heard.close |= of(22..26)[3] - of(22..26)[2] < 2e-3;
            heard.language = (22..26)
                .rev()
                .max_by(|a: &u32, b: &u32| logits[*a as usize].total_cmp(&logits[*b as usize]));
        }
        let mut all = asked.before.clone();
        let (mut seek, mut since) = (0, 0);
        while seek < content {
            let size = FRAMES.min(content - seek);
            let encoded = self.encoded(&mel, seek, size)?;
            let mut prompt = Vec::new();
            if all.len() > since {
                let known = &all[since..];
                prompt.push(29);
                prompt.extend_from_slice(&known[known.len().saturating_sub(CAPACITY / 2 - 1)..]);
            }
            prompt.push(21);
            if let Some(language) = heard.language {
                prompt.extend([language, if asked.translate { 26 } else { 27 }]);
            }
            heard.longest_prompt = heard.longest_prompt.max(prompt.len());
            let begin = prompt.len();
            let mut text = prompt;
            for i in 0..CAPACITY / 2 {
                let logits = self.logits(&encoded, &text, i == 0)?;
                let chosen = |mut logits: Vec<f32>| {
                    self.rules.apply(&mut logits, &text[begin..]).expect("applied");
                    (0..logits.len()).fold(0, |a, b| if logits[b] > logits[a] { b } else { a })
                };
                heard.close |=
                    nearly(&logits).map(&chosen).collect::<std::collections::HashSet<_>>().len()
                        > 1;
                let best = chosen(logits);
                text.push(best as u32);
                if best == 20 || text.len() > CAPACITY {
                    break;
                }
            }
            let said: Vec<u32> =
                text[begin..].iter().copied().filter(|token| *token != 20).collect();
            let step = self.read(&said, seek, size, &mut all, &mut heard.parts);
            heard.steps.push(step);
            seek += step;
            if asked.forgets {
                since = all.len();
            }
        }
        Ok(heard)
    }

    /// A port of the authors' loop over the tokens of one window. Gives the frames to the next one.
    fn read(
        &self,
        tokens: &[u32],
        seek: usize,
        size: usize,
        all: &mut Vec<u32>,
        parts: &mut Vec<Segment>,
    ) -> usize {
        let begin = NO_TIMESTAMPS + 1;
        let times: Vec<bool> = tokens.iter().map(|token| *token >= begin).collect();
        let single = times.len() >= 2 && times[times.len() - 2..] == [false, true];
        let mut slices: Vec<usize> = (0..tokens.len().saturating_sub(1))
            .filter(|i| times[*i] && times[i + 1])
            .map(|i| i + 1)
            .collect();
        let mut add = |from: usize, to: usize, tokens: &[u32]| {
            let said: Vec<u32> = tokens.iter().copied().filter(|token| *token < 20).collect();
            if from != to && !said.is_empty() {
                all.extend_from_slice(tokens);
                let time = |frame: usize| Duration::from_millis(10 * (seek + frame) as u64);
                parts.push(Segment { start: time(from), end: Some(time(to)), tokens: said });
            }
        };
        if slices.is_empty() {
            let stamps: Vec<u32> = tokens.iter().copied().filter(|token| *token >= begin).collect();
            let end = match stamps.last() {
                Some(last) if *last != begin => 2 * (last - begin) as usize,
                _ => size,
            };
            add(0, end, tokens);
            return size;
        }
        if single {
            slices.push(tokens.len());
        }
        let mut last = 0;
        for slice in slices {
            let own = &tokens[last..slice];
            let at = |token: u32| 2 * (token - begin) as usize;
            add(at(own[0]), at(own[own.len() - 1]), own);
            last = slice;
        }
        if single { size } else { 2 * (tokens[last - 1] - begin) as usize }
    }
}

fn module(weights: &Weights, kind: &BackendKind) -> EncoderDecoderModule {
    let model = EncoderDecoder::new(config(), weights.clone());
    compiled(&model, DecoderOptions::new(CAPACITY), kind.clone()).expect("compiled")
}

#[test]
fn long_sound_is_written_down_as_candle_and_the_authors_loop_do() {
    let asked = [
        Asked::default(),
        Asked { language: Some(24), translate: true, before: vec![5, 6, 7], ..Asked::default() },
        Asked { forgets: true, before: vec![4], ..Asked::default() },
        Asked { english_alone: true, ..Asked::default() },
    ];
    let (mut by_time, mut whole, mut parts, mut full, mut tried) = (0, 0, 0, 0, 0);
    let mut languages = std::collections::HashSet::new();
    for seed in 1..=8 {
        let weights = weights(&config(), seed);
        let samples = sound(31_000 + 777 * seed as usize, seed);
        let mut native = Native::new(&weights).expect("Candle's model");
        let expected: Vec<Heard> = asked
            .iter()
            .map(|asked| native.transcribe(&samples, asked).expect("Candle's tokens"))
            .collect();
        for heard in expected.iter().filter(|heard| !heard.close) {
            whole += heard.steps.iter().filter(|step| **step == FRAMES).count();
            by_time +=
                heard.steps[..heard.steps.len() - 1].iter().filter(|step| **step < FRAMES).count();
            parts += heard.parts.len();
            full += usize::from(heard.longest_prompt == CAPACITY / 2 + 3);
            languages.extend(heard.language);
        }
        for kind in runtimes() {
            let module = module(&weights, &kind);
            for (asked, expected) in asked.iter().zip(&expected).filter(|(_, heard)| !heard.close) {
                let mut got = module.transcribe(&samples, &asked.options()).expect("begins");
                let text: Vec<Segment> = got.by_ref().collect::<Result<_>>().expect("parts");
                assert_eq!(text, expected.parts, "{kind}, seed {seed}");
                assert_eq!(got.language(), expected.language, "{kind}, seed {seed}");
                assert_eq!(got.heard(), Duration::from_millis(10 * (samples.len() / 160) as u64));
            }
            tried += 1;
        }
    }
    eprintln!("{by_time} {whole} {parts} {full} {languages:?}");
    assert!(
        tried == 0 || by_time > 10 && whole > 10 && parts > 40 && full > 2 && languages.len() > 2
    );
}

#[test]
fn the_language_is_the_likeliest_of_the_language_tokens() {
    for kind in runtimes() {
        let mut found = std::collections::HashSet::new();
        for seed in 1..=8 {
            let weights = weights(&config(), seed);
            let mut native = Native::new(&weights).expect("Candle's model");
            let features = log_mel(&sound(9000, seed), 10, FRAMES).expect("features");
            let values: Vec<f32> = features.to_vec().expect("f32");
            let mel: Vec<Vec<f32>> = values.chunks(FRAMES).map(<[f32]>::to_vec).collect();
            let encoded = native.encoded(&mel, 0, FRAMES).expect("encoded");
            let logits = native.logits(&encoded, &[21], true).expect("logits");
            let sum: f32 = logits[22..26].iter().map(|logit| logit.exp()).sum();
            let got =
                module(&weights, &kind).detect_language(&features, &tokens()).expect("languages");
            assert_eq!(got.len(), 4);
            assert!(got.is_sorted_by(|a, b| a.1 >= b.1), "{got:?}");
            for (token, probability) in &got {
                let expected = logits[*token as usize].exp() / sum;
                assert!((probability - expected).abs() < 1e-4, "{kind}, {got:?}, {expected}");
            }
            found.insert(got[0].0);
        }
        assert!(found.len() > 1, "{found:?}");
    }
}

#[test]
fn sound_and_options_that_make_no_sense_are_refused_and_the_next_one_is_right() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let weights = weights(&config(), 1);
    let module = module(&weights, &kind);
    let samples = sound(20_000, 1);
    let text = |options: &TranscribeOptions| -> Result<Vec<Segment>> {
        module.transcribe(&samples, options)?.collect()
    };
    let plain = || Asked::default().options();
    let first = text(&plain())?;
    assert!(!first.is_empty());
    // No sound, and less than a frame.
    assert_eq!(module.transcribe(&[], &plain())?.count(), 0);
    assert_eq!(module.transcribe(&[0.5; 159], &plain())?.count(), 0);
    let mut broken = samples.clone();
    broken[11_111] = f32::INFINITY;
    let error = module.transcribe(&broken, &plain()).expect_err("not finite");
    assert!(
        error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("11111"),
        "{error}"
    );
    let other = EncoderDecoderConfig::from_json(
        &CONFIG.replace("start_token_id\": 21", "start_token_id\": 22"),
    )?;
    for (options, named) in [
        (plain().language(26), "token 26 is no language"),
        (plain().language(u32::MAX), "no language"),
        (plain().english_alone().translate(), "English alone"),
        (plain().blank(57), "token 57 is beyond"),
        (plain().text_before([1, 99]), "token 99 is beyond"),
        (TranscribeOptions::new(WhisperTokens::new(&other, NO_TIMESTAMPS)?), "another model"),
        (plain().generate(GenerateOptions::new().temperature(f64::NAN)), "temperature of NaN"),
        (plain().generate(GenerateOptions::new().top_p(2.0)), "2"),
    ] {
        let error = module.transcribe(&samples, &options).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{error}");
    }
    // No tokens are no text, and the windows end all the same.
    assert_eq!(text(&plain().generate(GenerateOptions::new().max_tokens(0)))?, []);
    // Cancelled in the middle: an error, and then nothing.
    let limit = TimeLimit::none();
    let mut cancelled =
        module.transcribe(&samples, &plain().generate(GenerateOptions::new().limit(&limit)))?;
    assert_eq!(cancelled.next().transpose()?.as_ref(), first.first());
    limit.cancel();
    let error = cancelled.find_map(Result::err).expect("an error");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(cancelled.next().is_none());
    // A caller that goes away.
    drop(module.transcribe(&samples, &plain())?.next());
    assert_eq!(text(&plain())?, first);

    let few = compiled(
        &EncoderDecoder::new(config(), weights.clone()),
        DecoderOptions::new(8),
        kind.clone(),
    )?;
    let error = few.transcribe(&samples, &plain())?.collect::<Result<Vec<_>>>();
    assert!(error.is_ok_and(|parts| parts.iter().all(|part| part.tokens.len() <= 4)));
    let two = DecoderOptions::new(CAPACITY).batch(2);
    let two = compiled(&EncoderDecoder::new(config(), weights), two, kind.clone())?;
    let error = two.transcribe(&samples, &plain()).expect_err("two texts");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(two.detect_language(&log_mel(&samples, 10, FRAMES)?, &tokens()).is_err());

    let t5 = EncoderDecoderConfig::from_json(&format!("{T5}}}"))?;
    assert!(WhisperTokens::new(&t5, 31).is_err());
    let weights = t5.random_weights(1)?;
    let t5 = compiled(&EncoderDecoder::new(t5, weights), DecoderOptions::new(CAPACITY), kind)?;
    let error = t5.transcribe(&samples, &plain()).expect_err("T5");
    assert!(error.to_string().contains("not Whisper"), "{error}");
    assert!(WhisperTokens::new(&config(), 57).is_err());
    assert!(WhisperTokens::new(&config(), 26).is_err());
    assert!(WhisperTokens::new(&config(), 3).is_err());
    Ok(())
}

/// Drawn tokens that come of a high temperature are no beginning of the next window.
#[test]
fn the_same_seed_hears_the_same_and_each_window_goes_on() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = module(&weights(&config(), 2), &kind);
    let samples = sound(40_000, 3);
    let mut differ = 0;
    for temperature in [0.3, 1.4] {
        for seed in 0..6 {
            let drawn = GenerateOptions::new().temperature(temperature).seed(seed);
            let options = Asked::default().options().generate(drawn.clone());
            let run = |options: &TranscribeOptions| -> Result<Vec<Segment>> {
                module.transcribe(&samples, options)?.collect()
            };
            let text = run(&options)?;
            assert_eq!(text, run(&options)?);
            assert!(
                text.iter().all(|part| part.end.is_some_and(|end| end > part.start)),
                "{text:?}"
            );
            assert!(text.is_sorted_by_key(|part| part.start), "{text:?}");
            let forgets = run(&options.previous_text(false))?;
            assert!(temperature < 0.5 || text == forgets, "seed {seed}");
            differ += usize::from(text != forgets);
        }
    }
    assert!(differ > 0);
    Ok(())
}
