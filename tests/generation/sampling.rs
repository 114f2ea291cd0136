//! The choice of tokens, against Candle's `LogitsProcessor`.

use accelerant::ErrorKind;
use accelerant::generate::{GenerateOptions, Sampler};
use candle_core::{Device, Tensor};
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::utils::apply_repeat_penalty;
use rand::SeedableRng;
use rand::distr::{Distribution, weighted::WeightedIndex};
use rand::rngs::StdRng;

fn logits(step: usize) -> Vec<f32> {
    (0..97).map(|i| ((i * i + 31 * step) % 89) as f32 / 9.0 - 4.0 + i as f32 * 1e-4).collect()
}

/// 200 tokens of both with one seed.
fn compare(options: GenerateOptions, sampling: Sampling, penalty: f32) {
    let mut own = Sampler::new(&options.seed(11)).expect("options");
    let mut candle = LogitsProcessor::from_sampling(11, sampling);
    let mut before = vec![5, 6, 5];
    for step in 0..200 {
        let logits = logits(step);
        let tensor = Tensor::new(&logits[..], &Device::Cpu).expect("a tensor");
        let start = before.len().saturating_sub(64);
        let tensor = apply_repeat_penalty(&tensor, penalty, &before[start..]).expect("a penalty");
        let expected = candle.sample(&tensor).expect("a token");
        let got = own.sample(logits, &before).expect("a token");
        assert_eq!(got, expected, "step {step}");
        before.push(got);
    }
}

#[test]
fn the_same_seed_draws_what_candle_draws() {
    let options = || GenerateOptions::new().temperature(0.8);
    let temperature = 0.8;
    compare(GenerateOptions::new(), Sampling::ArgMax, 1.0);
    compare(options(), Sampling::All { temperature }, 1.0);
    compare(options().top_k(7), Sampling::TopK { k: 7, temperature }, 1.0);
    compare(options().top_k(500), Sampling::TopK { k: 500, temperature }, 1.0);
    compare(options().top_p(0.6), Sampling::TopP { p: 0.6, temperature }, 1.0);
    compare(
        options().top_k(20).top_p(0.5),
        Sampling::TopKThenTopP { k: 20, p: 0.5, temperature },
        1.0,
    );
    compare(options().repetition_penalty(1.7), Sampling::All { temperature }, 1.7);
    compare(GenerateOptions::new().repetition_penalty(1.3), Sampling::ArgMax, 1.3);
}

/// Prints what `docs/measured/2026-11-sampling-cpu.md` has: the choice of one token of a large vocabulary.
#[test]
#[ignore = "measures"]
fn how_long_a_choice_takes() {
    use std::time::Instant;
    const VOCABULARY: usize = 128_256;
    const ROUNDS: usize = 200;
    let mut random = StdRng::seed_from_u64(5);
    let logits: Vec<f32> = (0..VOCABULARY)
        .map(|_| 3.0 * (0..12).map(|_| rand::Rng::random::<f32>(&mut random)).sum::<f32>())
        .collect();
    let drawn = || GenerateOptions::new().temperature(0.8);
    let cases = [
        ("copy", None, Sampling::ArgMax),
        (
            "greedy with a penalty",
            Some(GenerateOptions::new().repetition_penalty(1.1)),
            Sampling::ArgMax,
        ),
        ("temperature", Some(drawn()), Sampling::All { temperature: 0.8 }),
        ("top_k 50", Some(drawn().top_k(50)), Sampling::TopK { k: 50, temperature: 0.8 }),
        ("top_p 0.9", Some(drawn().top_p(0.9)), Sampling::TopP { p: 0.9, temperature: 0.8 }),
    ];
    for (name, options, sampling) in cases {
        let mut own = options.map(|options| Sampler::new(&options).expect("options"));
        let mut candle = LogitsProcessor::from_sampling(0, sampling);
        let tensor = Tensor::new(&logits[..], &Device::Cpu).expect("a tensor");
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let copied = std::hint::black_box(logits.clone());
            own.as_mut().map(|own| own.sample(copied, &[1, 2, 3]).expect("a token"));
            times[0].push(start.elapsed());
            let start = Instant::now();
            candle.sample(&tensor).expect("a token");
            times[1].push(start.elapsed());
        }
        let [own, candle] = times.map(|mut times| {
            times.sort_unstable();
            times[ROUNDS / 2].as_micros()
        });
        println!("{name}: {own} us, Candle {candle} us");
    }
}

/// What is drawn of the tokens that reach a sum, all of them sorted.
fn drawn(logits: &[f32], sum: f32, random: &mut StdRng) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - largest).exp()).collect();
    let all: f32 = powers.iter().sum();
    let mut likely: Vec<f32> = powers.iter().map(|power| power / all).collect();
    let mut order: Vec<usize> = (0..likely.len()).collect();
    order.sort_by(|&i, &j| likely[j].total_cmp(&likely[i]));
    let mut reached = 0.0;
    for i in order {
        if reached >= sum {
            likely[i] = 0.0;
        } else {
            reached += likely[i];
        }
    }
    WeightedIndex::new(&likely).expect("weights").sample(random) as u32
}

/// A vocabulary of many tokens, many of them equally likely.
#[test]
fn a_sum_of_probabilities_is_reached_by_the_same_tokens_in_a_large_vocabulary() {
    for spread in [0.0, 0.01, 0.5, 3.0] {
        for p in [1e-6, 0.3, 0.9, 0.999, 0.999_999] {
            let options = GenerateOptions::new().temperature(1.0).top_p(p).seed(3);
            let mut own = Sampler::new(&options).expect("options");
            let mut random = StdRng::seed_from_u64(3);
            for step in 0..20 {
                let logits: Vec<f32> =
                    (0..6000).map(|i| ((i * i + 31 * step) % 97) as f32 / 10.0 * spread).collect();
                let expected = drawn(&logits, p as f32, &mut random);
                let got = own.sample(logits, &[]).expect("a token");
                assert_eq!(got, expected, "spread {spread}, p {p}, step {step}");
            }
        }
    }
}

#[test]
fn the_penalty_looks_back_as_far_as_told() {
    let options = GenerateOptions::new().repetition_penalty(100.0).repetition_window(1);
    let mut sampler = Sampler::new(&options).expect("options");
    let logits = vec![1.0, 3.0, 2.0];
    assert_eq!(sampler.sample(logits.clone(), &[1]).expect("a token"), 2);
    assert_eq!(sampler.sample(logits, &[1, 2]).expect("a token"), 1);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let wrong = [
        GenerateOptions::new().temperature(-1.0),
        GenerateOptions::new().temperature(f64::NAN),
        GenerateOptions::new().top_k(0),
        GenerateOptions::new().top_p(0.0),
        GenerateOptions::new().top_p(1.5),
        GenerateOptions::new().repetition_penalty(0.0),
        GenerateOptions::new().stop_string(""),
    ];
    for options in wrong {
        let error = Sampler::new(&options).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{options:?}");
    }
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let mut sampler = Sampler::new(&GenerateOptions::new().temperature(1.0)).expect("options");
    let error = sampler.sample(vec![0.0, f32::NAN], &[]).expect_err("refused");
    assert!(error.to_string().contains("token 1"), "{error}");
}
