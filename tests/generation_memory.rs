//! A thousand generations of random lengths, some of them left, cancelled or stopped: memory does not grow, and the texts stay
//! right. One test in a process of its own, since what is measured is the process.
#![cfg(all(feature = "tract", target_os = "linux"))]

use accelerant::cache::EngineCache;
use accelerant::generate::{
    Decoder, DecoderConfig, DecoderModule, DecoderOptions, GenerateOptions, Tokens,
};
use accelerant::{BackendKind, ErrorKind, OptimizeOptions, Result, TimeLimit};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

const TINY: &str = r#"{"model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5,
    "max_position_embeddings": 64}"#;

fn module(kind: BackendKind) -> Result<DecoderModule> {
    let config = DecoderConfig::from_json(TINY)?;
    let weights = config.random_weights(3)?;
    let compiling = OptimizeOptions::new().require(kind).cache(EngineCache::off());
    let options = DecoderOptions::new(48).tokens(Tokens::UpTo(8));
    Decoder::new(config, weights).optimize_trt(&options, &compiling)
}

/// Bytes of this process in memory.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.expect("a number") * 4096.0
}

/// One generation, and how it ended.
fn generate(module: &DecoderModule, random: &mut StdRng) -> Result<&'static str> {
    let prompt: Vec<u32> =
        (0..random.random_range(1..=40)).map(|_| random.random_range(0..61)).collect();
    let limit = TimeLimit::none();
    let mut options = GenerateOptions::new().max_tokens(random.random_range(0..30)).limit(&limit);
    if random.random() {
        options = options.temperature(0.9).top_k(20).seed(random.random());
    }
    let letters = |tokens: &[u32]| -> Result<String> {
        Ok(tokens.iter().map(|&token| char::from(b'A' + token as u8)).collect())
    };
    match random.random_range(0..5) {
        0 => {
            let mut left = module.generate(&prompt, &options)?;
            for _ in 0..random.random_range(0..5) {
                left.next().transpose()?;
            }
            Ok("left")
        }
        1 => {
            let mut cancelled = module.generate(&prompt, &options.max_tokens(10))?;
            cancelled.next().transpose()?;
            limit.cancel();
            match cancelled.next() {
                Some(Err(e)) if e.kind() == ErrorKind::Cancelled => Ok("cancelled"),
                // The cache was full.
                None => Ok("whole"),
                other => panic!("{other:?}"),
            }
        }
        2 => {
            let text = module.generate(&prompt, &options.stop_string("AB").stop_string("Q"))?;
            let text: String = text.text(letters).collect::<Result<_>>()?;
            assert!(!text.contains('Q'), "{text}");
            Ok("stopped")
        }
        3 => {
            let error = module.generate(&[prompt, vec![61]].concat(), &options).err();
            assert!(error.is_some());
            Ok("refused")
        }
        _ => {
            let tokens: Vec<u32> = module.generate(&prompt, &options)?.collect::<Result<_>>()?;
            assert!(tokens.len() <= 29);
            Ok("whole")
        }
    }
}

#[test]
fn a_thousand_generations_leave_nothing_behind() -> Result<()> {
    let mut kinds = vec![BackendKind::Tract];
    if cfg!(feature = "ort")
        && std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty())
    {
        kinds.push(BackendKind::Ort);
    }
    for kind in kinds {
        let module = module(kind.clone())?;
        let options = GenerateOptions::new().max_tokens(12);
        let text = || module.generate(&[3, 1, 4, 1, 5], &options)?.collect::<Result<Vec<u32>>>();
        let expected = text()?;
        let mut random = StdRng::seed_from_u64(26);
        for _ in 0..200 {
            generate(&module, &mut random)?;
        }
        let before = resident();
        let mut ends = std::collections::BTreeMap::new();
        for i in 0..1000 {
            *ends.entry(generate(&module, &mut random)?).or_insert(0) += 1;
            if i % 50 == 0 {
                assert_eq!(text()?, expected, "{kind}, generation {i}");
            }
        }
        let growth = (resident() - before) / 1000.0;
        eprintln!("{kind}: {growth:.0} bytes a generation, {ends:?}");
        assert!(ends.len() == 5 && ends.values().all(|count| *count > 50), "{ends:?}");
        assert!(growth < 1000.0, "{kind}: {growth} bytes a generation");
    }
    Ok(())
}
