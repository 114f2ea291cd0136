//! Texts whose caches stay on the GPU, against the same models on tract.

use accelerant::cache::EngineCache;
use accelerant::generate::{
    ContinuousOptions, Decoder, DecoderConfig, DecoderModule, DecoderOptions, EncoderDecoder,
    EncoderDecoderConfig, GenerateOptions, Source, Tokens, perplexity,
};
use accelerant::precision::Precision;
use accelerant::{BackendKind, DType, HostTensor, OptimizeOptions, Result};

use crate::{gpu, shared};

const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64}"#;
const T5: &str = r#"{"model_type": "t5", "vocab_size": 61, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
    "num_heads": 4, "eos_token_id": 1}"#;
const WHISPER: &str = r#"{"model_type": "whisper", "vocab_size": 61, "d_model": 32, "encoder_layers": 2,
    "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 4, "num_mel_bins": 10,
    "max_source_positions": 24, "max_target_positions": 40, "decoder_start_token_id": 21, "eos_token_id": 20}"#;

fn on(kind: BackendKind) -> OptimizeOptions {
    OptimizeOptions::new().require(kind).precision(Precision::Fp32).cache(EngineCache::off())
}

fn options(capacity: usize) -> DecoderOptions {
    DecoderOptions::new(capacity).tokens(Tokens::UpTo(8))
}

/// Scores and sampling read the logits of each step, and greedy choice does not.
fn greedy_and_drawn() -> [GenerateOptions; 2] {
    let most = GenerateOptions::new().max_tokens(20).stop_tokens([]);
    [most.clone(), most.temperature(1.0).top_k(5).seed(3)]
}

#[test]
fn a_decoder_writes_and_scores_what_it_does_on_the_host() -> Result<()> {
    if !gpu("a_decoder_writes_and_scores_what_it_does_on_the_host") {
        return Ok(());
    }
    let _shared = shared();
    let config = DecoderConfig::from_json(LLAMA)?;
    let decoder = Decoder::new(config.clone(), config.random_weights(3)?);
    let host = decoder.optimize_trt(&options(64), &on(BackendKind::Tract))?;
    let device = decoder.optimize_trt(&options(64), &on(BackendKind::TensorRtRtx))?;
    for prompt in [&[5][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
        for options in greedy_and_drawn() {
            let expected: Vec<u32> = host.generate(prompt, &options)?.collect::<Result<_>>()?;
            for _ in 0..2 {
                let got: Vec<u32> = device.generate(prompt, &options)?.collect::<Result<_>>()?;
                assert_eq!(got, expected);
            }
        }
    }
    let text: Vec<u32> = (0..60).map(|i: u32| (i * i * 7 + 3 * i + 11) % 61).collect();
    let expected = host.score(&text)?;
    for (got, expected) in device.score(&text)?.iter().zip(&expected) {
        assert!((got - expected).abs() < 1e-3, "{got} {expected}");
    }
    let half = OptimizeOptions::new().require(BackendKind::TensorRtRtx).cache(EngineCache::off());
    let half = decoder.optimize_trt(&options(64).dtype(DType::F16), &half)?;
    let (got, expected) = (perplexity(&half.score(&text)?), perplexity(&expected));
    assert!((got / expected - 1.0).abs() < 1e-3, "{got} {expected}");
    Ok(())
}

/// Passes read one block of 512 positions of the caches, then two, then all three.
#[test]
fn texts_that_grow_over_blocks_of_the_cache_are_those_of_the_host() -> Result<()> {
    if !gpu("texts_that_grow_over_blocks_of_the_cache_are_those_of_the_host") {
        return Ok(());
    }
    let _shared = shared();
    let long = LLAMA.replace("embeddings\": 64", "embeddings\": 1536");
    let windows =
        long.replace("llama", "mistral").replace("\"rms", "\"sliding_window\": 520, \"rms");
    for json in [long, windows] {
        let config = DecoderConfig::from_json(&json)?;
        let decoder = Decoder::new(config.clone(), config.random_weights(3)?);
        let options = DecoderOptions::new(1536).tokens(Tokens::UpTo(64));
        let host = decoder.optimize_trt(&options, &on(BackendKind::Tract))?;
        let device = decoder.optimize_trt(&options, &on(BackendKind::TensorRtRtx))?;
        let seen = |input: &accelerant::TensorSpec| input.name == "seen";
        assert!(device.module().signature().inputs.iter().any(seen));
        for (len, most) in [(500, 30), (1015, 20), (3, 4)] {
            let prompt: Vec<u32> = (0..len).map(|i: u32| (i * i * 7 + 3 * i + 11) % 61).collect();
            let options = GenerateOptions::new().max_tokens(most).stop_tokens([]);
            let expected: Vec<u32> = host.generate(&prompt, &options)?.collect::<Result<_>>()?;
            let got: Vec<u32> = device.generate(&prompt, &options)?.collect::<Result<_>>()?;
            assert_eq!(got, expected, "{len}");
        }
    }
    Ok(())
}

/// On a GPU a tie may go the other way. Then each greedy token is as likely to the judge as the judge's own, given those
/// before. A text that was drawn goes on in another way behind a tie, and is about as likely as the host's. The judge has a
/// cache with room for the last token, which a text does not write to its own.
fn differs_by_ties(
    judge: &DecoderModule,
    prompt: &[u32],
    got: &[u32],
    expected: &[u32],
    greedy: Option<&GenerateOptions>,
    name: &str,
) -> Result<()> {
    let likely = |text: &[u32]| -> Result<Vec<f32>> {
        let scores = judge.score(&[prompt, text].concat())?;
        Ok(scores[prompt.len() - 1..].to_vec())
    };
    let scores = likely(got)?;
    let mean = |scores: &[f32]| scores.iter().sum::<f32>() / scores.len() as f32;
    if got.len() >= 20 {
        let least = mean(&likely(expected)?) - 0.7;
        assert!(mean(&scores) > least, "{name}: {got:?}, not {expected:?}");
    }
    let Some(first) = greedy.map(|options| options.clone().max_tokens(1)) else { return Ok(()) };
    for (at, score) in scores.iter().enumerate() {
        let before = [prompt, &got[..at]].concat();
        let best: Vec<u32> = judge.generate(&before, &first)?.collect::<Result<_>>()?;
        let most = judge.score(&[&before[..], &best].concat())?;
        let most = most.last().copied().unwrap_or_default();
        assert!(
            most - score < 5e-3,
            "{name}, token {at}: {} by {score}, {best:?} by {most}",
            got[at]
        );
    }
    Ok(())
}

/// Requests join and leave while others go on, on chunks near the end of the cache too. Where all texts are greedy the passes
/// are ahead of the host.
#[test]
fn requests_in_flight_get_what_they_get_on_the_host() -> Result<()> {
    if !gpu("requests_in_flight_get_what_they_get_on_the_host") {
        return Ok(());
    }
    let _shared = shared();
    let config = DecoderConfig::from_json(LLAMA)?;
    let decoder = Decoder::new(config.clone(), config.random_weights(3)?);
    let host = decoder.optimize_trt(&options(64), &on(BackendKind::Tract))?;
    let device = decoder.optimize_trt(&options(64).batch(3), &on(BackendKind::TensorRtRtx))?;
    let longer = DecoderConfig::from_json(&LLAMA.replace("embeddings\": 64", "embeddings\": 96"))?;
    let judge = Decoder::new(longer, config.random_weights(3)?)
        .optimize_trt(&options(96), &on(BackendKind::Tract))?;
    let batcher = device.continuous(&ContinuousOptions::new())?;
    let prompt = |length: u32| (0..length).map(|i| (i * i * 7 + 5 * length) % 61).collect();
    let prompts: Vec<Vec<u32>> = [5, 1, 40, 13, 62, 8, 17, 2, 33].into_iter().map(prompt).collect();
    let most = [60, 7, 1000, 20, 1000, 1, 30, 1000, 12];
    let greedy = |i: usize| GenerateOptions::new().max_tokens(most[i]).stop_tokens([]);
    let drawn = |i: usize| greedy(i).temperature(1.0).top_k(5).seed(i as u64);
    let mixed = |i: usize| if i.is_multiple_of(2) { drawn(i) } else { greedy(i) };
    let drawn_at = |kind: usize, i: usize| kind == 1 || kind == 2 && i.is_multiple_of(2);
    let kinds = [&greedy as &dyn Fn(usize) -> GenerateOptions, &drawn, &mixed];
    for (kind, options) in kinds.into_iter().enumerate() {
        let expected: Vec<Vec<u32>> = prompts
            .iter()
            .enumerate()
            .map(|(i, prompt)| host.generate(prompt, &options(i))?.collect())
            .collect::<Result<_>>()?;
        for round in 0..4 {
            // One that goes away, and others that join after the first tokens of those before.
            let mut left = batcher.submit(&[9, 8], &greedy(2))?;
            let mut begun = Vec::new();
            for (i, prompt) in prompts.iter().enumerate() {
                let mut generation = batcher.submit(prompt, &options(i))?;
                let ready: Vec<u32> = generation
                    .by_ref()
                    .take(if i < 3 { round } else { 0 })
                    .collect::<Result<_>>()?;
                begun.push((ready, generation));
                if i == 4 {
                    left.next().transpose()?;
                }
            }
            drop(left);
            for (i, (mut got, generation)) in begun.into_iter().enumerate() {
                got.extend(generation.collect::<Result<Vec<_>>>()?);
                let (name, expected) = (format!("request {i}, round {round}"), &expected[i]);
                assert_eq!(got.len(), expected.len(), "{name}");
                if got != *expected {
                    let own = options(i);
                    let greedy = (!drawn_at(kind, i)).then_some(&own);
                    differs_by_ties(&judge, &prompts[i], &got, expected, greedy, &name)?;
                }
            }
        }
    }
    // A text alone is as ahead as a generation is, and a newcomer waits for no more than that.
    let before = batcher.counters().passes;
    assert_eq!(batcher.submit(&[5], &greedy(0))?.count(), 60);
    let passes = batcher.counters().passes - before;
    assert!((60..=60 + 3).contains(&passes), "{passes}");
    Ok(())
}

#[test]
fn what_an_encoder_gives_stays_on_the_device() -> Result<()> {
    if !gpu("what_an_encoder_gives_stays_on_the_device") {
        return Ok(());
    }
    let _shared = shared();
    let sound = |seed: usize| {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.0 - 1.0;
        HostTensor::from_vec([10, 48], (0..480).map(value).collect())
    };
    let (first, second) = (sound(1)?, sound(2)?);
    for (json, sources) in [
        (T5, [Source::Tokens(&[5, 6, 7, 8, 1]), Source::Tokens(&[40, 30, 1])]),
        (WHISPER, [Source::Features(&first), Source::Features(&second)]),
    ] {
        let config = EncoderDecoderConfig::from_json(json)?;
        let model = EncoderDecoder::new(config.clone(), config.random_weights(3)?);
        let options = options(40).source(16);
        let host = model.optimize_trt(&options, &on(BackendKind::Tract))?;
        let device = model.optimize_trt(&options, &on(BackendKind::TensorRtRtx))?;
        // The second source overwrites what the encoder gave for the first.
        for source in [sources[0], sources[1], sources[0]] {
            for options in greedy_and_drawn() {
                let expected = host.generate(source, &[], &options)?.collect::<Result<Vec<_>>>()?;
                let got = device.generate(source, &[], &options)?.collect::<Result<Vec<_>>>()?;
                assert_eq!(got, expected, "{source:?}");
            }
        }
    }
    Ok(())
}

/// Burn's caches are written in place too, where a forward writes them with `DecoderPass::written`.
#[cfg(feature = "burn")]
mod of_burn {
    use accelerant::burn::{DecoderPass, OptimizeDecoder};
    use burn::module::Module;
    use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
    use burn::tensor::{Device, Tensor};

    use super::*;

    /// The next token follows from weighted sums of the tokens so far.
    #[derive(Module, Debug)]
    struct Sums {
        table: Embedding,
        mixed: Linear,
        head: Linear,
    }

    impl Sums {
        fn forward(&self, pass: DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>) {
            let states = self.table.forward(pass.tokens.clone());
            let first = pass.written(0, states.clone().unsqueeze_dim(1));
            let second = pass.written(1, self.mixed.forward(states).unsqueeze_dim(1));
            let seen = pass.unseen(40).bool_not().float();
            let both = (first.clone() * second.clone() + second.clone()).squeeze_dim::<3>(1);
            let states = seen.matmul(both).tanh();
            (self.head.forward(pass.of_last(states)), vec![first, second])
        }
    }

    #[test]
    fn a_decoder_of_burn_writes_its_caches_in_place() -> Result<()> {
        if !gpu("a_decoder_of_burn_writes_its_caches_in_place") {
            return Ok(());
        }
        let _shared = shared();
        let device = Device::default();
        let model = Sums {
            table: EmbeddingConfig::new(61, 16).init(&device),
            mixed: LinearConfig::new(16, 16).init(&device),
            head: LinearConfig::new(16, 61).init(&device),
        };
        let compiled = |kind: BackendKind| {
            model.optimize_decoder(&[[1, 16]; 2], Sums::forward, &options(40), &on(kind))
        };
        let (host, fast) = (compiled(BackendKind::Tract)?, compiled(BackendKind::TensorRtRtx)?);
        let executable = fast.module().device().expect("a device");
        assert_eq!(
            (3..5).map(|i| executable.aliased_input(i)).collect::<Vec<_>>(),
            [Some(2), Some(3)]
        );
        for prompt in [&[5][..], &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] {
            for (options, is_greedy) in greedy_and_drawn().into_iter().zip([true, false]) {
                let expected: Vec<u32> = host.generate(prompt, &options)?.collect::<Result<_>>()?;
                for _ in 0..2 {
                    let got: Vec<u32> = fast.generate(prompt, &options)?.collect::<Result<_>>()?;
                    if got != expected {
                        let greedy = is_greedy.then_some(&options);
                        differs_by_ties(&host, prompt, &got, &expected, greedy, "of Burn")?;
                    }
                }
            }
        }
        Ok(())
    }
}
