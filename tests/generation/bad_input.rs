//! Ends of a generation, and what is refused. After each the next generation is right.

use accelerant::export::Target;
use accelerant::generate::{
    DecoderConfig, DecoderOptions, End, GenerateOptions, LogitsRule, ProductForm, Tokens,
};
use accelerant::{DType, ErrorKind, Result, TimeLimit};

use crate::{Once, TINY, compiled, runtimes, tiny};

#[test]
fn ends_are_told_and_the_next_generation_is_right() -> Result<()> {
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(24), kind)?;
        let prompt = [3, 1, 4, 1, 5];
        let all = |options: &GenerateOptions| -> Result<(Vec<u32>, Option<End>)> {
            let mut generation = module.generate(&prompt, options)?;
            let tokens = generation.by_ref().collect::<Result<_>>()?;
            Ok((tokens, generation.end()))
        };
        let (text, end) = all(&GenerateOptions::new().max_tokens(10))?;
        assert_eq!((text.len(), end), (10, Some(End::MaxTokens)));
        // The cache holds 24 positions: 5 of the prompt, and 19 of 20 tokens. The last one is not written.
        let (long, end) = all(&GenerateOptions::new().max_tokens(1000))?;
        assert_eq!((long.len(), end), (20, Some(End::CacheFull)));
        assert_eq!(long[..10], text);
        let first = text.iter().position(|token| *token == text[6]).unwrap_or_default();
        let (stopped, end) = all(&GenerateOptions::new().max_tokens(10).stop_tokens([text[6]]))?;
        assert_eq!((&stopped[..], end), (&text[..first], Some(End::StopToken)));
        assert!(all(&GenerateOptions::new().max_tokens(0))?.0.is_empty());
        // A caller that goes away.
        let mut generation = module.generate(&prompt, &GenerateOptions::new())?;
        assert_eq!(generation.next().transpose()?, Some(text[0]));
        drop(generation);
        let limit = TimeLimit::none();
        let mut generation = module.generate(&prompt, &GenerateOptions::new().limit(&limit))?;
        assert_eq!(generation.next().transpose()?, Some(text[0]));
        limit.cancel();
        let error = generation.next().expect("an item").expect_err("cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert!(generation.next().is_none() && generation.end() == Some(End::Failed));
        assert_eq!(all(&GenerateOptions::new().max_tokens(10))?.0, text);
    }
    Ok(())
}

#[test]
fn prompts_of_every_length_and_many_generations_agree() -> Result<()> {
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(24), kind)?;
        let options = GenerateOptions::new().max_tokens(4);
        let mut text: Vec<u32> = vec![7];
        // Each prompt is the one before and its first token: what is generated in steps is what a prompt gives.
        let all: Vec<u32> = module
            .generate(&text, &GenerateOptions::new().max_tokens(20))?
            .collect::<Result<_>>()?;
        for token in &all[..16] {
            let next = module.generate(&text, &options)?.collect::<Result<Vec<_>>>()?;
            let at = text.len() - 1;
            assert_eq!(next, all[at..at + 4], "a prompt of {}", text.len());
            text.push(*token);
        }
    }
    Ok(())
}

#[test]
fn texts_of_a_batch_are_those_of_single_generations() -> Result<()> {
    for kind in runtimes() {
        let decoder = tiny()?;
        let single = compiled(&decoder, DecoderOptions::new(32), kind.clone())?;
        let batch = compiled(&decoder, DecoderOptions::new(32).batch(3), kind)?;
        let prompts: [&[u32]; 3] =
            [&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13], &[9], &[20, 30, 40, 50]];
        for options in [GenerateOptions::new(), GenerateOptions::new().temperature(1.0).seed(4)] {
            let options = options.max_tokens(9);
            let mut texts = batch.generate_batch(&prompts, &options)?;
            for row in texts.by_ref() {
                assert_eq!(row?.len(), 3);
            }
            for (i, prompt) in prompts.iter().enumerate() {
                let options = options.clone().seed(4 + i as u64);
                let alone: Vec<u32> = single.generate(prompt, &options)?.collect::<Result<_>>()?;
                assert_eq!(texts.generated(i), alone, "text {i}");
            }
        }
    }
    Ok(())
}

#[test]
fn prompts_that_do_not_fit_are_refused() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&tiny()?, DecoderOptions::new(16), kind)?;
    let refused =
        |prompt: &[u32]| module.generate(prompt, &GenerateOptions::new()).err().map(|e| e.kind());
    assert_eq!(refused(&[]), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(&[60, 61]), Some(ErrorKind::InvalidArgument));
    assert_eq!(refused(&[1; 17]), Some(ErrorKind::OutOfProfile));
    assert_eq!(refused(&[1; 16]), None);
    // Options are looked at before anything runs.
    for (options, named) in [
        (GenerateOptions::new().temperature(-1.0), "temperature of -1"),
        (GenerateOptions::new().top_k(0), "0 most likely"),
        (GenerateOptions::new().top_p(f64::NAN), "NaN"),
        (GenerateOptions::new().repetition_penalty(f32::INFINITY), "penalty of inf"),
        (GenerateOptions::new().stop_string(""), "empty stop string"),
    ] {
        let error = module.generate(&[1], &options).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{error}");
    }
    let two = module.generate_batch(&[&[1], &[2]], &GenerateOptions::new()).err();
    assert_eq!(two.map(|e| e.kind()), Some(ErrorKind::InvalidArgument));
    Ok(())
}

#[test]
fn graphs_that_make_no_sense_are_refused() -> Result<()> {
    let decoder = tiny()?;
    for (options, named) in [
        (DecoderOptions::new(65), "a cache of 65 for a model of 64 positions"),
        (DecoderOptions::new(16).tokens(Tokens::Fixed(17)), "17 tokens do not fit"),
        (DecoderOptions::new(16).tokens(Tokens::UpTo(0)), "no tokens"),
        (DecoderOptions::new(16).batch(0), "no tokens"),
        (DecoderOptions::new(16).dtype(DType::I32), "not in i32"),
        (DecoderOptions::new(16).form(ProductForm::Parts(0)), "0 parts"),
        (DecoderOptions::new(16).form(ProductForm::Parts(7)), "7 parts"),
    ] {
        let error = decoder.model(Target::portable(), &options).expect_err(named);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
    Ok(())
}

/// A rule that forbids all tokens, and one that fails, end a generation with an error. The next generation is right.
#[test]
fn rules_that_allow_nothing_end_the_generation() -> Result<()> {
    #[derive(Debug)]
    struct Nothing;
    impl LogitsRule for Nothing {
        fn apply(&self, logits: &mut [f32], _: &[u32]) -> Result<()> {
            logits.fill(f32::NEG_INFINITY);
            Ok(())
        }
    }
    for kind in runtimes() {
        let module = compiled(&tiny()?, DecoderOptions::new(64), kind)?;
        for options in [GenerateOptions::new(), GenerateOptions::new().temperature(1.0)] {
            let mut none = module.generate(&[1], &options.clone().rule(Nothing))?;
            assert_eq!(
                none.next().expect("an item").expect_err("nothing").kind(),
                ErrorKind::Execution
            );
            assert_eq!((none.next().is_none(), none.end()), (true, Some(End::Failed)));
            let once = module.generate(&[1], &options.max_tokens(61).rule(Once))?;
            let mut once: Vec<u32> = once.collect::<Result<_>>()?;
            once.sort_unstable();
            assert_eq!(once, (0..61).collect::<Vec<_>>());
        }
    }
    Ok(())
}

#[test]
fn configurations_that_contradict_themselves_are_refused() {
    let changed = |from: &str, to: &str| DecoderConfig::from_json(&TINY.replace(from, to)).err();
    for (from, to, named) in [
        ("\"llama\"", "\"gpt2\"", "gpt2"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "3"),
        ("\"hidden_size\": 32,", "", "hidden_size"),
        ("\"vocab_size\": 61", "\"vocab_size\": -1", "vocab_size"),
        ("\"vocab_size\": 61", "\"vocab_size\": 0", "vocabulary"),
        ("\"eos_token_id\": null", "\"eos_token_id\": \"x\"", "eos_token_id"),
        ("\"tie_word_embeddings\": false", "\"rope_scaling\": {\"rope_type\": \"yarn\"}", "yarn"),
        ("{", "", "JSON"),
    ] {
        let error = changed(from, to).expect("refused");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn a_weight_that_is_missing_or_has_other_sizes_is_named() -> Result<()> {
    let config = DecoderConfig::from_json(TINY)?;
    let name = "model.layers.1.mlp.up_proj.weight";
    let model = |weights| {
        let decoder = accelerant::generate::Decoder::new(config.clone(), weights);
        decoder.model(accelerant::export::Target::portable(), &DecoderOptions::new(8))
    };
    let mut weights = config.random_weights(1)?;
    let weight = weights.remove(name).expect("a weight");
    let error = model(weights.clone()).expect_err("missing");
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some(name)));
    weights.insert(name.into(), weight.reshape([32, 48])?);
    let error = model(weights).expect_err("turned");
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::ShapeMismatch, Some(name)));
    Ok(())
}
