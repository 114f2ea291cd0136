//! Tokens as text: characters of several tokens, and stop strings over several tokens.

use accelerant::Result;
use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, End, GenerateOptions};

use crate::{compiled, runtimes, tiny};

/// Each token is a byte or two, some of them parts of one character.
fn decode(tokens: &[u32]) -> std::result::Result<String, std::convert::Infallible> {
    let bytes = "añ→ø€ b";
    let bytes: Vec<u8> =
        tokens.iter().map(|&token| bytes.as_bytes()[token as usize % bytes.len()]).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[test]
fn pieces_are_whole_characters_and_together_the_text() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&tiny()?, DecoderOptions::new(48), kind)?;
    let options = GenerateOptions::new().max_tokens(30).temperature(2.0);
    for seed in 0..20 {
        let options = options.clone().seed(seed);
        let tokens: Vec<u32> = module.generate(&[1], &options)?.collect::<Result<_>>()?;
        let pieces: Vec<String> =
            module.generate(&[1], &options)?.text(decode).collect::<Result<_>>()?;
        let Ok(whole) = decode(&tokens);
        assert_eq!(pieces.concat(), whole);
        assert!(pieces.iter().all(|piece| !piece.is_empty()));
    }
    Ok(())
}

/// A model that counts: each token is followed by the next one. Its embeddings are the rows of a unit matrix, and its
/// last layer turns them by one.
fn counting() -> Result<Decoder> {
    let json = r#"{"model_type": "llama", "vocab_size": 16, "hidden_size": 16, "intermediate_size": 4,
        "num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    let config = DecoderConfig::from_json(json)?;
    let mut weights = config.random_weights(1)?;
    for (name, weight) in &mut weights {
        let shape = weight.shape().to_vec();
        let unit = |row: usize, column: usize| if row == column { 1.0f32 } else { 0.0 };
        let values: Vec<f32> = match (name.as_str(), &shape[..]) {
            ("model.embed_tokens.weight", _) => (0..256).map(|i| unit(i / 16, i % 16)).collect(),
            ("lm_head.weight", _) => (0..256).map(|i| unit(i / 16, (i % 16 + 1) % 16)).collect(),
            (_, [size]) => vec![1.0; *size],
            (_, shape) => vec![0.0; shape.iter().product()],
        };
        *weight = accelerant::HostTensor::from_vec(shape, values)?;
    }
    Ok(Decoder::new(config, weights))
}

#[test]
fn a_stop_string_ends_the_text_wherever_tokens_divide_it() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&counting()?, DecoderOptions::new(32), kind)?;
    let letters = |tokens: &[u32]| -> std::result::Result<String, std::convert::Infallible> {
        Ok(tokens
            .iter()
            .map(|token| ["ab", "c", "de", "f", "gh", "i", "jk", "l"][*token as usize % 8])
            .collect())
    };
    let run = |options: GenerateOptions| -> Result<(String, Option<End>)> {
        let mut text = module.generate(&[7], &options.max_tokens(8))?.text(letters);
        let pieces: Vec<String> = text.by_ref().collect::<Result<_>>()?;
        Ok((pieces.concat(), text.end()))
    };
    let whole = "abcdefghijkl";
    assert_eq!(run(GenerateOptions::new())?, (whole.into(), Some(End::MaxTokens)));
    for from in 0..whole.len() {
        for to in from + 1..=whole.len() {
            let got = run(GenerateOptions::new().stop_string(&whole[from..to]))?;
            assert_eq!(got, (whole[..from].into(), Some(End::StopString)), "{}", &whole[from..to]);
        }
    }
    // What only begins like a stop string is given in the end.
    let got = run(GenerateOptions::new().stop_string("klm").stop_string("bd"))?;
    assert_eq!(got, (whole.into(), Some(End::MaxTokens)));
    Ok(())
}

#[test]
fn an_end_in_the_middle_of_a_character_says_so_and_a_stop_string_may_end_there() -> Result<()> {
    let Some(kind) = runtimes().pop() else { return Ok(()) };
    let module = compiled(&counting()?, DecoderOptions::new(32), kind)?;
    // From token 0 on, a byte each: the arrow and the euro have three.
    let spelled = |tokens: &[u32]| -> std::result::Result<String, std::convert::Infallible> {
        let bytes = "a→b€cdefghi".as_bytes();
        let bytes: Vec<u8> = tokens.iter().map(|&token| bytes[token as usize % 16]).collect();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let run = |options: GenerateOptions| -> Result<(String, Option<End>)> {
        let mut text = module.generate(&[15], &options)?.text(spelled);
        let pieces: Vec<String> = text.by_ref().collect::<Result<_>>()?;
        Ok((pieces.concat(), text.end()))
    };
    // Two bytes of three: what is not a character is told by the sign for that, once the text is over.
    let (text, end) = run(GenerateOptions::new().max_tokens(3))?;
    assert_eq!((&*text, end), ("a\u{FFFD}", Some(End::MaxTokens)));
    let (text, end) = run(GenerateOptions::new().max_tokens(9).stop_tokens([6]))?;
    assert_eq!((&*text, end), ("a→b\u{FFFD}", Some(End::StopToken)));
    let (text, end) = run(GenerateOptions::new().max_tokens(9).stop_string("→"))?;
    assert_eq!((&*text, end), ("a", Some(End::StopString)));
    let (text, end) = run(GenerateOptions::new().max_tokens(9).stop_string("b€"))?;
    assert_eq!((&*text, end), ("a→", Some(End::StopString)));
    Ok(())
}
