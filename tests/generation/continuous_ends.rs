//! Continuous batching: text and streams, what is refused, draws from many logits, and the end of a batcher.
#![cfg(feature = "tract")]

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;

use accelerant::generate::{
    ContinuousBatcher, ContinuousOptions, Decoder, DecoderConfig, DecoderOptions, End,
    GenerateOptions, LogitsRule,
};
use accelerant::{BackendKind, ErrorKind, Result};

use crate::continuous::until;
use crate::gate::Gate;
use crate::stream::all;
use crate::{TINY, compiled, tiny};

fn batcher(decoder: &Decoder, texts: usize) -> Result<ContinuousBatcher> {
    let options = DecoderOptions::new(40).batch(texts);
    compiled(decoder, options, BackendKind::Tract)?.continuous(&ContinuousOptions::new())
}

fn letters(tokens: &[u32]) -> std::result::Result<String, Infallible> {
    Ok(tokens.iter().map(|&token| char::from(b'A' + token as u8)).collect())
}

#[test]
fn text_and_streams_are_those_of_a_generation_alone() -> Result<()> {
    let single = compiled(&tiny()?, DecoderOptions::new(40), BackendKind::Tract)?;
    let batcher = batcher(&tiny()?, 2)?;
    let options = GenerateOptions::new().max_tokens(30).temperature(1.5).seed(5);
    let tokens: Vec<u32> = single.generate(&[4, 2], &options)?.collect::<Result<_>>()?;
    let Ok(whole) = letters(&tokens);
    let text: Vec<String> =
        batcher.submit(&[4, 2], &options)?.text(letters).collect::<Result<_>>()?;
    assert_eq!(text.concat(), whole);
    assert_eq!(all(batcher.submit(&[4, 2], &options)?.into_stream())?, tokens);
    let (stop, options) = (&whole[6..8], options.clone().stop_string(&whole[6..8]));
    let stopped = batcher.submit(&[4, 2], &options)?.text(letters);
    let stopped = all(stopped.into_stream())?.concat();
    assert_eq!(Some(&*stopped), whole.split(stop).next());
    let mut stopped = batcher.submit(&[4, 2], &options)?.text(letters);
    assert!(stopped.by_ref().all(|piece| piece.is_ok()));
    assert_eq!(stopped.end(), Some(End::StopString));
    let counters = batcher.counters();
    assert_eq!((counters.failed, counters.withdrawn), (0, 0));
    Ok(())
}

/// A stop string is found by the caller's thread, and frees the slot of a text that could go on.
#[test]
fn a_stop_string_frees_the_slot() -> Result<()> {
    let gate = Gate::default();
    let module = gate.compiled(&tiny()?, DecoderOptions::new(60).batch(1))?;
    let batcher = module.continuous(&ContinuousOptions::new())?;
    let options = GenerateOptions::new().max_tokens(50);
    let first: Vec<u32> = batcher.submit(&[7], &options)?.take(3).collect::<Result<_>>()?;
    let Ok(stop) = letters(&first);
    until("the slot is free", || batcher.counters().running == 0);
    let passes = gate.widths().len();
    gate.close();
    let mut text = batcher.submit(&[7], &options.stop_string(stop))?.text(letters);
    let waits = batcher.submit(&[8], &GenerateOptions::new().max_tokens(2))?;
    gate.pass(3);
    assert!(text.next().is_none() && text.end() == Some(End::StopString));
    gate.open();
    // The handle is still there.
    assert_eq!(waits.collect::<Result<Vec<_>>>()?.len(), 2);
    assert_eq!(text.tokens().len(), 3);
    // Another pass may have begun when the stop string was found.
    let passes = gate.widths().len() - passes;
    assert!((3 + 2..=3 + 1 + 2).contains(&passes), "{passes}");
    Ok(())
}

#[test]
fn what_a_generation_refuses_a_batcher_refuses_at_once() -> Result<()> {
    let batcher = batcher(&tiny()?, 2)?;
    let refused = |prompt: &[u32], options: &GenerateOptions| {
        batcher.submit(prompt, options).err().map(|e| e.kind())
    };
    let usual = GenerateOptions::new().max_tokens(2);
    assert_eq!(refused(&[], &usual), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(&[61], &usual), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(&[1; 41], &usual), Some(ErrorKind::OutOfProfile));
    assert_eq!(refused(&[1; 40], &usual), None);
    assert_eq!(refused(&[1], &GenerateOptions::new().top_k(0)), Some(ErrorKind::InvalidArgument));
    let mut nothing = batcher.submit(&[1], &GenerateOptions::new().max_tokens(0))?;
    assert!(nothing.next().is_none() && nothing.end() == Some(End::MaxTokens));
    assert_eq!(batcher.submit(&[1], &usual)?.count(), 2);
    Ok(())
}

/// So many logits are drawn from on several threads.
#[test]
fn draws_of_several_texts_are_those_of_each_alone() -> Result<()> {
    let json = TINY.replace("\"vocab_size\": 61", "\"vocab_size\": 9000");
    let config = DecoderConfig::from_json(&json)?;
    let decoder = Decoder::new(config.clone(), config.random_weights(2)?);
    let single = compiled(&decoder, DecoderOptions::new(40), BackendKind::Tract)?;
    let batcher = batcher(&decoder, 5)?;
    let options =
        |seed: u64| GenerateOptions::new().max_tokens(12).temperature(2.0).top_p(0.9).seed(seed);
    let begun: Vec<_> =
        (0..5).map(|i| batcher.submit(&[i, 7], &options(i.into()))).collect::<Result<_>>()?;
    for (i, generation) in (0..).zip(begun) {
        let expected: Vec<u32> =
            single.generate(&[i, 7], &options(i.into()))?.collect::<Result<_>>()?;
        assert_eq!(generation.collect::<Result<Vec<_>>>()?, expected, "text {i}");
    }
    Ok(())
}

/// Counts who holds it.
#[derive(Debug)]
struct Held(#[allow(dead_code)] Arc<()>);

impl LogitsRule for Held {
    fn apply(&self, _: &mut [f32], _: &[u32]) -> Result<()> {
        Ok(())
    }
}

#[test]
fn the_end_of_a_batcher_ends_its_thread_and_its_requests() -> Result<()> {
    let gate = Gate::default();
    let held = Arc::new(());
    let module = gate.compiled(&tiny()?, DecoderOptions::new(60).batch(1))?;
    let batcher = module.continuous(&ContinuousOptions::new())?;
    let options = GenerateOptions::new().max_tokens(50).rule(Held(held.clone()));
    gate.close();
    let (mut runs, waits) = (batcher.submit(&[1], &options)?, batcher.submit(&[2], &options)?);
    drop(options);
    gate.pass(2);
    let other = batcher.clone();
    drop(batcher);
    assert_eq!((other.counters().running, other.counters().waiting), (1, 1));
    let ending = thread::spawn(|| drop(other));
    let waited = waits.last();
    gate.open();
    ending.join().expect("no panic");
    // Nobody has what requests had, so the thread is gone.
    assert_eq!(Arc::strong_count(&held), 1);
    let passes = gate.widths().len();
    for generation in [runs.by_ref().last(), waited] {
        let error = generation.expect("an item").expect_err("an end");
        assert_eq!(error.kind(), ErrorKind::ShutDown, "{error}");
    }
    assert_eq!(runs.end(), Some(End::Failed));
    // The caches are free for the next one.
    let next = module.continuous(&ContinuousOptions::new())?;
    assert_eq!(next.submit(&[1], &GenerateOptions::new().max_tokens(4))?.count(), 4);
    assert_eq!(gate.widths().len(), passes + 4);
    Ok(())
}
