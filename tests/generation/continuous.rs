//! Continuous batching: each request gets what it gets alone, whatever else is in flight.
#![cfg(feature = "tract")]

use std::time::{Duration, Instant};

use accelerant::generate::{
    ContinuousBatcher, ContinuousOptions, Decoder, DecoderConfig, DecoderModule, DecoderOptions,
    End, GenerateOptions, Generation, LogitsRule,
};
use accelerant::{BackendKind, ErrorKind, Result, TimeLimit};

use crate::gate::{Failure, Gate};
use crate::{Once, compiled, runtimes, tiny};

const GEMMA: &str = r#"{"model_type": "gemma3_text", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64, "rope_theta": 10000.0, "rope_local_base_freq": 100.0, "query_pre_attn_scalar": 16,
    "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 8, "sliding_window_pattern": 3,
    "tie_word_embeddings": true}"#;

pub(crate) fn gemma() -> Result<Decoder> {
    let config = DecoderConfig::from_json(GEMMA)?;
    let weights = config.random_weights(3)?;
    Ok(Decoder::new(config, weights))
}

#[derive(Debug)]
struct Panics;

impl LogitsRule for Panics {
    fn apply(&self, _: &mut [f32], generated: &[u32]) -> Result<()> {
        assert!(generated.len() < 2, "three tokens are too many");
        Ok(())
    }
}

/// Prompts of different lengths, each with options of its own.
fn requests() -> Vec<(Vec<u32>, GenerateOptions)> {
    let drawn = |seed: u64| GenerateOptions::new().temperature(1.5).seed(seed);
    let options = [
        GenerateOptions::new().max_tokens(12),
        drawn(1).max_tokens(1000),
        drawn(2).max_tokens(9).top_k(5),
        GenerateOptions::new().max_tokens(6).rule(Once),
        drawn(3).max_tokens(20).stop_tokens(10..30),
        GenerateOptions::new().max_tokens(15).repetition_penalty(1.8),
        drawn(4).max_tokens(1).top_p(0.8),
        GenerateOptions::new().max_tokens(1000),
    ];
    let prompt = |length: usize| (0..length).map(move |i| ((i * i * 7 + 5 * length) % 61) as u32);
    [5, 1, 13, 30, 8, 17, 40, 2]
        .into_iter()
        .zip(options)
        .map(|(length, options)| (prompt(length).collect(), options))
        .collect()
}

type Text = (Vec<u32>, Option<End>);

fn all(mut generation: Generation) -> Result<Text> {
    let tokens = generation.by_ref().collect::<Result<_>>()?;
    Ok((tokens, generation.end()))
}

fn alone(single: &DecoderModule) -> Result<Vec<Text>> {
    requests().iter().map(|(prompt, options)| all(single.generate(prompt, options)?)).collect()
}

fn batcher(module: &DecoderModule) -> Result<ContinuousBatcher> {
    module.continuous(&ContinuousOptions::new())
}

/// Waits until something holds.
pub(crate) fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn requests_in_flight_get_what_they_get_alone() -> Result<()> {
    for decoder in [tiny()?, gemma()?] {
        for kind in runtimes() {
            let options = DecoderOptions::new(40);
            let expected = alone(&compiled(&decoder, options.clone(), kind.clone())?)?;
            let several: std::collections::HashSet<_> = expected[1].0.iter().collect();
            assert!(several.len() > 10, "a text of few tokens proves little: {expected:?}");
            for slots in [1, 3, 8] {
                let batch = options.clone().batch(slots);
                let batcher = batcher(&compiled(&decoder, batch, kind.clone())?)?;
                // All at once, each twice. The last ones are asked first.
                let begun: Vec<_> = requests()
                    .iter()
                    .chain(&requests())
                    .map(|(prompt, options)| batcher.submit(prompt, options))
                    .collect::<Result<_>>()?;
                for (i, generation) in begun.into_iter().enumerate().rev() {
                    let i = i % expected.len();
                    assert_eq!(all(generation)?, expected[i], "request {i} in {slots} on {kind}");
                }
                let counters = batcher.counters();
                assert_eq!((counters.done, counters.running, counters.waiting), (16, 0, 0));
                let generated: usize = expected.iter().map(|(tokens, _)| tokens.len()).sum();
                assert_eq!(counters.generated_tokens, 2 * generated as u64);
                assert_eq!(counters.prompt_tokens, 2 * (5 + 1 + 13 + 30 + 8 + 17 + 40 + 2));
            }
        }
    }
    Ok(())
}

/// A newcomer joins at each step of a text that fills its cache. Near the end of the cache there is no room for as many
/// tokens as the newcomer's pass takes.
#[test]
fn a_newcomer_may_join_at_any_step() -> Result<()> {
    for decoder in [tiny()?, gemma()?] {
        let single = compiled(&decoder, DecoderOptions::new(24), BackendKind::Tract)?;
        let long = GenerateOptions::new().max_tokens(1000).temperature(1.5).seed(9);
        let expected = all(single.generate(&[3, 1, 4], &long)?)?;
        assert_eq!((expected.0.len(), expected.1), (22, Some(End::CacheFull)));
        let prompt: Vec<u32> = (20..31).collect();
        let short = GenerateOptions::new().max_tokens(3);
        let expected_short = all(single.generate(&prompt, &short)?)?;
        let gate = Gate::default();
        let batcher = batcher(&gate.compiled(&decoder, DecoderOptions::new(24).batch(2))?)?;
        for step in 1..22 {
            gate.close();
            let first = batcher.submit(&[3, 1, 4], &long)?;
            gate.pass(step);
            let second = batcher.submit(&prompt, &short)?;
            // The next pass may have been begun without the newcomer.
            let before = gate.widths().len();
            gate.open();
            assert_eq!(all(first)?, expected, "joined at {step}");
            assert_eq!(all(second)?, expected_short, "joined at {step}");
            let widths = gate.widths();
            assert!(widths[before..].contains(&8), "{widths:?}");
        }
    }
    Ok(())
}

#[test]
fn a_handle_that_is_dropped_frees_its_slot() -> Result<()> {
    let gate = Gate::default();
    let single = compiled(&tiny()?, DecoderOptions::new(60), BackendKind::Tract)?;
    let batcher = batcher(&gate.compiled(&tiny()?, DecoderOptions::new(60).batch(2))?)?;
    let long = GenerateOptions::new().max_tokens(1000).temperature(1.5);
    let expected = all(single.generate(&[9, 8, 7], &long)?)?;
    gate.close();
    let (first, second) = (batcher.submit(&[1], &long)?, batcher.submit(&[2, 3], &long)?);
    let mut waits = batcher.submit(&[9, 8, 7], &long)?;
    gate.pass(4);
    assert_eq!((batcher.counters().running, batcher.counters().waiting), (2, 1));
    drop(first);
    gate.pass(2);
    until("the slot is free", || batcher.counters().waiting == 0);
    gate.pass(1);
    // The first tokens come while the second text goes on.
    assert_eq!(waits.next().transpose()?, Some(expected.0[0]));
    drop(second);
    gate.open();
    let rest: Vec<u32> = waits.collect::<Result<_>>()?;
    assert_eq!(rest, expected.0[1..]);
    until("nothing runs", || batcher.counters().running == 0);
    let counters = batcher.counters();
    assert_eq!((counters.done, counters.withdrawn, counters.failed), (1, 2, 0));
    Ok(())
}

#[test]
fn a_full_queue_refuses_and_what_was_withdrawn_makes_room() -> Result<()> {
    let gate = Gate::default();
    let module = gate.compiled(&tiny()?, DecoderOptions::new(24).batch(2))?;
    let batcher = module.continuous(&ContinuousOptions::new().max_queue(1))?;
    let options = GenerateOptions::new().max_tokens(5);
    let expected = all(batcher.submit(&[5], &options)?)?;
    gate.close();
    let submit = || batcher.submit(&[5], &options);
    let mut begun = vec![submit()?, submit()?, submit()?];
    let error = submit().expect_err("the queue is full");
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    assert_eq!(error.to_string(), "generate: 3 texts wait or are generated already");
    until("two run", || batcher.counters().running == 2);
    drop(begun.pop());
    begun.push(submit()?);
    assert!(submit().is_err_and(|e| e.kind() == ErrorKind::QueueFull));
    gate.open();
    for generation in begun {
        assert_eq!(all(generation)?, expected);
    }
    let counters = batcher.counters();
    assert_eq!((counters.refused, counters.withdrawn, counters.done), (2, 1, 4));
    Ok(())
}

/// Several texts find places together, or none of them takes one.
#[test]
fn several_texts_are_all_taken_or_none() -> Result<()> {
    let gate = Gate::default();
    let module = gate.compiled(&tiny()?, DecoderOptions::new(24).batch(2))?;
    let batcher = module.continuous(&ContinuousOptions::new().max_queue(1))?;
    let options = GenerateOptions::new().max_tokens(5);
    let expected = all(batcher.submit(&[5], &options)?)?;
    gate.close();
    let first = batcher.submit(&[5], &options)?;
    until("one runs", || batcher.counters().running == 1);
    let several = |count: usize| batcher.submit_all(&vec![([5], options.clone()); count]);
    let error = several(3).expect_err("there is room for two");
    assert_eq!(error.kind(), ErrorKind::QueueFull);
    let text =
        "generate: 1 texts wait or are generated already, and 3 more are beyond the 3 that fit";
    assert_eq!(error.to_string(), text);
    // One wrong prompt among them, and none is begun.
    let empty: &[u32] = &[];
    let mixed = batcher.submit_all(&[(&[5][..], options.clone()), (empty, options.clone())]);
    assert_eq!(mixed.err().map(|e| e.kind()), Some(ErrorKind::InvalidArgument));
    let counters = batcher.counters();
    assert_eq!(
        (counters.running + counters.waiting, counters.refused, counters.withdrawn),
        (1, 3, 0)
    );
    let nothing = batcher.submit_all(&[([5], options.clone().max_tokens(0))])?;
    assert_eq!(nothing.into_iter().map(Iterator::count).sum::<usize>(), 0);
    let begun = several(2)?;
    gate.open();
    for generation in begun.into_iter().chain([first]) {
        assert_eq!(all(generation)?, expected);
    }
    assert!(batcher.submit_all::<&[u32]>(&[])?.is_empty());
    Ok(())
}

#[test]
fn a_pass_that_fails_fails_its_requests_and_the_next_one_is_right() -> Result<()> {
    let gate = Gate::default();
    let batcher = batcher(&gate.compiled(&tiny()?, DecoderOptions::new(60).batch(2))?)?;
    let options = GenerateOptions::new().max_tokens(20);
    let expected = all(batcher.submit(&[5, 6], &options)?)?;
    for failure in [Failure::Error, Failure::Panic] {
        gate.close();
        let begun = [batcher.submit(&[1], &options)?, batcher.submit(&[2, 3], &options)?];
        let waits = batcher.submit(&[5, 6], &options)?;
        until("two run", || batcher.counters().running == 2);
        gate.fail(failure);
        gate.open();
        for generation in begun {
            let error = all(generation).expect_err("a failure");
            assert_eq!(error.kind(), ErrorKind::Execution);
            assert!(error.to_string().contains("asked to"), "{error}");
        }
        assert_eq!(all(waits)?, expected);
        assert_eq!(all(batcher.submit(&[5, 6], &options)?)?, expected);
    }
    assert_eq!(batcher.counters().failed, 4);
    Ok(())
}

#[test]
fn limits_and_rules_end_their_own_request_alone() -> Result<()> {
    let gate = Gate::default();
    let batcher = batcher(&gate.compiled(&tiny()?, DecoderOptions::new(60).batch(3))?)?;
    let options = GenerateOptions::new().max_tokens(30);
    let expected = all(batcher.submit(&[5, 6], &options)?)?;
    let limit = TimeLimit::none();
    gate.close();
    let limited = GenerateOptions::new().max_tokens(30).limit(&limit);
    let late = options.clone().limit(&TimeLimit::of(Duration::ZERO));
    let (cancelled, panics) = (
        batcher.submit(&[5, 6], &limited)?,
        batcher.submit(&[5, 6], &options.clone().rule(Panics))?,
    );
    let good = batcher.submit(&[5, 6], &options)?;
    gate.pass(3);
    // It waits, for no slot is free.
    let waits = batcher.submit(&[5, 6], &late)?;
    limit.cancel();
    gate.open();
    assert_eq!(all(good)?, expected);
    for (generation, kind) in [(cancelled, ErrorKind::Cancelled), (waits, ErrorKind::TimedOut)] {
        let mut generation = generation;
        let last = generation.by_ref().last().expect("an item");
        assert_eq!(last.expect_err("an end").kind(), kind);
        assert_eq!(generation.end(), Some(End::Failed));
    }
    let mut tokens: Vec<_> = panics.collect();
    let error = tokens.pop().expect("an item").expect_err("a panic");
    assert!(error.to_string().contains("three tokens are too many"), "{error}");
    assert_eq!(tokens.into_iter().collect::<Result<Vec<_>>>()?, expected.0[..2]);
    assert_eq!(all(batcher.submit(&[5, 6], &options)?)?, expected);
    Ok(())
}
