//! A text whose states are no numbers leaves nothing behind for the texts after it, and none of its tokens stands for padding.

use accelerant::generate::{
    ContinuousOptions, Decoder, DecoderConfig, DecoderOptions, GenerateOptions,
};
use accelerant::{BackendKind, ErrorKind, HostTensor, Result};

use crate::{TINY, compiled, runtimes, tiny};

/// The tiny model, where one token has no numbers.
fn with_no_numbers(token: usize) -> Result<Decoder> {
    let config = DecoderConfig::from_json(TINY)?;
    let mut weights = config.random_weights(3)?;
    let name = "model.embed_tokens.weight";
    let mut table = weights[name].to_vec::<f32>()?;
    table[token * 32..][..32].fill(f32::NAN);
    weights.insert(name.into(), HostTensor::from_vec([61, 32], table)?);
    Ok(Decoder::new(config, weights))
}

fn options() -> GenerateOptions {
    GenerateOptions::new().max_tokens(6).stop_tokens([])
}

const GOOD: [u32; 3] = [1, 2, 3];

/// What follows [`GOOD`], and a token that is in neither.
fn right_and_another(kind: &BackendKind) -> Result<(Vec<u32>, u32)> {
    let module = compiled(&tiny()?, DecoderOptions::new(48), kind.clone())?;
    let right: Vec<u32> = module.generate(&GOOD, &options())?.collect::<Result<_>>()?;
    let other = (4..61).find(|token| !right.contains(token)).expect("a token");
    Ok((right, other))
}

#[test]
fn the_text_after_one_without_numbers_is_right() -> Result<()> {
    for kind in runtimes() {
        let (right, other) = right_and_another(&kind)?;
        let (good, bad) = (GOOD, [other; 20]);
        let spoiled = with_no_numbers(other as usize)?;
        let module = compiled(&spoiled, DecoderOptions::new(48), kind.clone())?;
        let two = compiled(&spoiled, DecoderOptions::new(48).batch(2), kind.clone())?;
        let batcher = two.continuous(&ContinuousOptions::new())?;
        for _ in 0..2 {
            assert_nan(module.generate(&bad, &options())?, &kind);
            let got: Vec<u32> = module.generate(&good, &options())?.collect::<Result<_>>()?;
            assert_eq!(got, right, "{kind}");
            let both = [batcher.submit(&bad, &options())?, batcher.submit(&bad, &options())?];
            for bad in both {
                assert_nan(bad, &kind);
            }
            let both = [batcher.submit(&good, &options())?, batcher.submit(&good, &options())?];
            for got in both {
                assert_eq!(got.collect::<Result<Vec<u32>>>()?, right, "{kind}, in flight");
            }
        }
    }
    Ok(())
}

/// No token comes of logits that are NaN. tract names its own operation.
fn assert_nan(mut tokens: impl Iterator<Item = Result<u32>>, kind: &BackendKind) {
    let e = tokens.next().expect("an item").expect_err("tokens of NaN");
    assert_eq!(e.kind(), ErrorKind::Execution, "{kind}: {e}");
    assert!(e.to_string().contains("NaN"), "{kind}: {e}");
    assert!(tokens.next().is_none(), "{kind}");
}

/// A text with no numbers beside another one in the same passes is an error, and the other one goes on.
#[test]
fn a_text_without_numbers_ends_alone() -> Result<()> {
    for kind in runtimes() {
        let (right, other) = right_and_another(&kind)?;
        let spoiled = with_no_numbers(other as usize)?;
        let two = compiled(&spoiled, DecoderOptions::new(48).batch(2), kind.clone())?;
        let batcher = two.continuous(&ContinuousOptions::new())?;
        for options in [options(), options().repetition_penalty(1.0001)] {
            let first = batcher.submit(&GOOD, &options)?;
            let second = batcher.submit(&[other; 20], &options)?;
            assert_nan(second, &kind);
            let first = first.collect::<Result<Vec<u32>>>();
            // tract refuses the pass of both.
            if kind != BackendKind::Tract {
                assert_eq!(first?, right, "{kind}");
            }
        }
    }
    Ok(())
}

/// Short texts stand beside long ones in passes of many tokens.
#[test]
fn padding_is_no_token_that_a_text_has_not() -> Result<()> {
    let (short, long) = ([1, 2], [3; 30]);
    for kind in runtimes() {
        let batch = |decoder: &Decoder| -> Result<Vec<Vec<Option<u32>>>> {
            let module = compiled(decoder, DecoderOptions::new(48).batch(2), kind.clone())?;
            module.generate_batch(&[&short, &long], &options())?.collect()
        };
        let right = batch(&tiny()?)?;
        assert!(right.iter().flatten().all(|token| *token != Some(0)));
        assert_eq!(batch(&with_no_numbers(0)?)?, right, "{kind}");
    }
    Ok(())
}
