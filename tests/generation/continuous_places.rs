//! Continuous batching with some of the places taken: passes over the texts that are there, and no others.
#![cfg(feature = "tract")]

use std::ops::Range;

use accelerant::generate::{
    ContinuousBatcher, ContinuousOptions, Decoder, DecoderOptions, GenerateOptions, Generation,
};
use accelerant::{BackendKind, Result};

use crate::continuous::{gemma, until};
use crate::gate::Gate;
use crate::{compiled, runtimes, tiny};

const PLACES: usize = 4;
const CAPACITY: usize = 48;

/// Requests whose text alone is known, each with a number.
struct Requests {
    texts: Vec<(Vec<u32>, GenerateOptions, Vec<u32>)>,
}

impl Requests {
    fn new(decoder: &Decoder, kind: BackendKind) -> Result<Self> {
        let single = compiled(decoder, DecoderOptions::new(CAPACITY), kind)?;
        let texts = (0..7).map(|number: u32| {
            let prompt: Vec<u32> = (0..[3, 11, 1, 6, 9, 2, 14][number as usize])
                .map(|i| (i * 7 + number) % 61)
                .collect();
            let options = GenerateOptions::new().max_tokens(1000);
            // Every second one is drawn, from logits.
            let options = match number % 2 {
                0 => options,
                _ => options.temperature(1.5).seed(number.into()),
            };
            let expected = single.generate(&prompt, &options)?.collect::<Result<_>>()?;
            Ok((prompt, options, expected))
        });
        Ok(Self { texts: texts.collect::<Result<_>>()? })
    }

    /// Begins those of these numbers together.
    fn begin(&self, batcher: &ContinuousBatcher, numbers: Range<usize>) -> Result<Vec<Running>> {
        let numbers: Vec<usize> = numbers.map(|number| number % self.texts.len()).collect();
        let of = |number: &usize| {
            let (prompt, options, _) = &self.texts[*number];
            (prompt, options.clone())
        };
        let rest = batcher.submit_all(&numbers.iter().map(of).collect::<Vec<_>>())?;
        let running = |(number, rest)| Running { number, read: Vec::new(), rest };
        Ok(numbers.into_iter().zip(rest).map(running).collect())
    }

    /// Reads the rest of a text, after so many tokens as were read.
    fn expect(&self, text: Running, what: &str) -> Result<()> {
        let (mut got, expected) = (text.read, &self.texts[text.number].2);
        got.extend(text.rest.collect::<Result<Vec<_>>>()?);
        assert_eq!(&got, expected, "text {} {what}", text.number);
        Ok(())
    }
}

struct Running {
    number: usize,
    read: Vec<u32>,
    rest: Generation,
}

fn all_patterns(decoder: &Decoder, kind: BackendKind) -> Result<()> {
    let requests = Requests::new(decoder, kind.clone())?;
    let gate = Gate::before(kind.clone());
    let module = gate.compiled(decoder, DecoderOptions::new(CAPACITY).batch(PLACES))?;
    let batcher = module.continuous(&ContinuousOptions::new())?;
    let passes = |count: usize, texts: usize, what: &str| {
        // The pass that waits was begun before.
        gate.pass(count + 1);
        let all = gate.texts();
        assert_eq!(all[all.len() - count..], vec![texts; count], "{what} on {kind}");
    };
    let mut begun = 0;
    let mut begin = |count: usize| {
        begun += count;
        requests.begin(&batcher, begun - count..begun)
    };
    for stay in 0..1u32 << PLACES {
        let stays = |place: usize| (stay >> place) & 1 == 1;
        let what = format!("where {stay:04b} stayed");
        gate.close();
        let texts = begin(PLACES)?;
        passes(3, PLACES, &what);
        // Requests take the places in their order.
        let (stayed, left): (Vec<_>, Vec<_>) =
            texts.into_iter().enumerate().partition(|(place, _)| stays(*place));
        let count = stayed.len();
        drop(left);
        if count > 0 {
            passes(3, count, &what);
        } else {
            gate.open();
            until("none runs", || batcher.counters().running == 0);
            gate.close();
        }
        let mut new = begin(PLACES - count)?;
        passes(3, PLACES, &what);
        // Those before leave, and the newcomers stay.
        for (_, mut text) in stayed {
            let few = text.rest.by_ref().take(4).collect::<Result<Vec<_>>>()?;
            assert_eq!(few, requests.texts[text.number].2[..4], "{what} on {kind}");
        }
        if count < PLACES {
            passes(2, PLACES - count, &what);
            new.extend(begin(1)?);
        }
        gate.open();
        for text in new {
            requests.expect(text, &what)?;
        }
        until("none runs", || batcher.counters().running == 0);
    }
    Ok(())
}

#[test]
fn texts_come_and_go_in_all_patterns() -> Result<()> {
    for decoder in [tiny()?, gemma()?] {
        for kind in runtimes() {
            all_patterns(&decoder, kind)?;
        }
    }
    Ok(())
}

#[test]
fn a_lone_text_is_computed_alone() -> Result<()> {
    for kind in runtimes() {
        let requests = Requests::new(&tiny()?, kind.clone())?;
        let gate = Gate::before(kind.clone());
        let options = DecoderOptions::new(CAPACITY).batch(PLACES);
        let module = gate.compiled(&tiny()?, options)?;
        let batcher = module.continuous(&ContinuousOptions::new())?;
        for number in 0..4 {
            for text in requests.begin(&batcher, number..number + 1)? {
                requests.expect(text, "alone")?;
            }
        }
        let texts = gate.texts();
        assert!(texts.len() > CAPACITY, "{texts:?}");
        assert!(texts.iter().all(|texts| *texts == 1), "{texts:?} on {kind}");
    }
    Ok(())
}
