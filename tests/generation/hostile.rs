//! Generations beside each other, in threads and by turns, and numbers at the ends of their ranges.

use accelerant::generate::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, End, GenerateOptions, Sampler, Source,
};
use accelerant::{ErrorKind, Result, TimeLimit};

use crate::{compiled, encoder_decoder, runtimes, tiny};

#[test]
fn generations_in_threads_are_those_of_one_after_the_other() -> Result<()> {
    for kind in runtimes() {
        let module = &compiled(&tiny()?, DecoderOptions::new(48), kind)?;
        let asked = |i: u32| {
            let prompt: Vec<u32> = (0..1 + 5 * i).map(|at| (at * 7 + i) % 61).collect();
            let options = GenerateOptions::new().max_tokens(12).seed(u64::from(i));
            let options =
                if i.is_multiple_of(2) { options } else { options.temperature(1.1).top_k(9) };
            (prompt, options)
        };
        let run = |i: u32| -> Result<Vec<u32>> {
            let (prompt, options) = asked(i);
            module.generate(&prompt, &options)?.collect()
        };
        let expected: Vec<_> = (0..6).map(run).collect::<Result<_>>()?;
        let got: Vec<Result<()>> = std::thread::scope(|scope| {
            let each = |i: u32| {
                let (run, expected) = (&run, &expected);
                scope.spawn(move || {
                    for round in 0..8 {
                        let i = (i + round) % 6;
                        assert_eq!(run(i)?, expected[i as usize]);
                        // Some leave in the middle.
                        let (prompt, options) = asked(i);
                        assert!(first_token(module, &prompt, &options)?.is_some());
                    }
                    Ok(())
                })
            };
            let threads: Vec<_> = (0..4).map(each).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread")).collect()
        });
        got.into_iter().collect::<Result<()>>()?;
    }
    Ok(())
}

fn first_token(
    module: &accelerant::generate::DecoderModule,
    prompt: &[u32],
    options: &GenerateOptions,
) -> Result<Option<u32>> {
    module.generate(prompt, options)?.next().transpose()
}

#[test]
fn generations_that_take_turns_do_not_see_each_other() -> Result<()> {
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(32), kind.clone())?;
        let options = GenerateOptions::new().max_tokens(14);
        let drawn = options.clone().temperature(0.9).seed(5);
        let alone = |prompt: &[u32], options: &GenerateOptions| -> Result<Vec<u32>> {
            module.generate(prompt, options)?.collect()
        };
        let expected =
            [alone(&[1, 2, 3], &options)?, alone(&[50; 11], &drawn)?, alone(&[9], &options)?];
        let mut all = [
            module.generate(&[1, 2, 3], &options)?,
            module.generate(&[50; 11], &drawn)?,
            module.generate(&[9], &options)?,
        ];
        let mut texts = [const { Vec::new() }; 3];
        for _ in 0..14 {
            for (generation, text) in all.iter_mut().zip(&mut texts) {
                text.extend(generation.next().transpose()?);
            }
        }
        assert_eq!(texts, expected);
        // Whisper's encoder ran for each.
        let config = EncoderDecoderConfig::from_json(encoder_decoder::WHISPER)?;
        let weights = config.random_weights(4)?;
        let heard = encoder_decoder::compiled(
            &EncoderDecoder::new(config, weights),
            DecoderOptions::new(40),
            kind,
        )?;
        let sounds = [encoder_decoder::features(1), encoder_decoder::features(7)];
        let options = GenerateOptions::new().max_tokens(9).temperature(0.8).stop_tokens([]);
        let begin = |i: usize| heard.generate(Source::Features(&sounds[i]), &[21], &options);
        let expected: Vec<Vec<u32>> =
            (0..2).map(|i| -> Result<_> { begin(i)?.collect() }).collect::<Result<_>>()?;
        let (mut first, mut second) = (begin(0)?, begin(1)?);
        for (one, other) in expected[0].iter().zip(&expected[1]) {
            assert_eq!(first.next().transpose()?.as_ref(), Some(one));
            assert_eq!(second.next().transpose()?.as_ref(), Some(other));
        }
        assert_eq!([expected[0].len(), expected[1].len()], [9, 9]);
    }
    Ok(())
}

#[test]
fn options_at_the_ends_of_their_ranges_give_tokens_or_are_refused() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&tiny()?, DecoderOptions::new(24), kind)?;
    let plain = || GenerateOptions::new().max_tokens(5);
    let run = |options: &GenerateOptions| -> Result<Vec<u32>> {
        module.generate(&[3, 1, 4], options)?.collect()
    };
    let greedy = run(&plain())?;
    for options in [
        plain().temperature(1e-300),
        plain().temperature(f64::MIN_POSITIVE).top_p(0.5),
        plain().temperature(1e-40).top_k(7),
        plain().temperature(1e-8).repetition_penalty(1.0),
        plain().temperature(1e-6),
        plain().temperature(5.0).top_k(1),
        plain().temperature(5.0).top_p(f64::MIN_POSITIVE),
        plain().temperature(-0.0),
    ] {
        assert_eq!(run(&options)?, greedy, "{options:?}");
    }
    for options in [
        plain().temperature(1e300),
        plain().temperature(f64::MAX).top_p(1.0),
        plain().temperature(1.0).top_k(usize::MAX),
        plain().repetition_penalty(f32::MAX),
        plain().repetition_penalty(f32::MIN_POSITIVE).repetition_window(usize::MAX),
        plain().temperature(1.0).repetition_penalty(1e30).repetition_window(0),
    ] {
        assert_eq!(run(&options)?.len(), 5, "{options:?}");
    }
    for options in [
        plain().temperature(f64::NAN),
        plain().temperature(f64::INFINITY),
        plain().temperature(-1e-9),
        plain().top_p(0.0),
        plain().top_p(2.0),
        plain().top_p(-0.5),
        plain().top_p(f64::NAN).temperature(0.0),
        plain().top_k(0).temperature(0.0),
        plain().repetition_penalty(f32::NAN),
        plain().repetition_penalty(-1.0),
    ] {
        let error = run(&options).expect_err("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{options:?}");
        assert!(Sampler::new(&options).is_err(), "{options:?}");
    }
    // Without an end but that of the cache.
    let mut endless =
        module.generate(&[3, 1, 4], &GenerateOptions::new().max_tokens(usize::MAX))?;
    assert_eq!((endless.by_ref().count(), endless.end()), (22, Some(End::CacheFull)));
    assert!(endless.next().is_none());
    // A limit that was over before.
    let limit = TimeLimit::none();
    limit.cancel();
    let error = run(&plain().limit(&limit)).expect_err("cancelled");
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    // Logits of infinities.
    let mut sampler = Sampler::new(&plain().temperature(1.0))?;
    assert_eq!(sampler.sample(vec![f32::NEG_INFINITY, 1.0], &[7, u32::MAX])?, 1);
    let error = sampler.sample(vec![f32::INFINITY, 1.0], &[]).expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::Execution);
    assert!(sampler.sample(Vec::new(), &[]).is_err());
    assert_eq!(run(&plain())?, greedy);
    Ok(())
}

/// A decoder of text that fails or panics ends its text, and no other one.
#[test]
fn a_caller_that_cannot_spell_ends_its_own_text() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&tiny()?, DecoderOptions::new(24), kind)?;
    let options = GenerateOptions::new().max_tokens(8);
    let expected: Vec<u32> = module.generate(&[5], &options)?.collect::<Result<_>>()?;
    let fails = |tokens: &[u32]| -> std::result::Result<String, String> {
        if tokens.len() > 1 { Err("too long".into()) } else { Ok("a".repeat(tokens.len())) }
    };
    let pieces: Vec<_> = module.generate(&[5], &options)?.text(fails).collect();
    let error = pieces.last().expect("an item").as_ref().expect_err("the last one");
    assert!(
        error.kind() == ErrorKind::Processing && error.to_string().contains("too long"),
        "{error}"
    );
    let panics = |_: &[u32]| -> Result<String> { panic!("no letters") };
    let text = module.generate(&[5], &options)?.text(panics);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| text.count())).is_err());
    assert_eq!(module.generate(&[5], &options)?.collect::<Result<Vec<u32>>>()?, expected);
    Ok(())
}
