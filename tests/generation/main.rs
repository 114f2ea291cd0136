//! Generation: decoders and encoder-decoders against Candle's models, the choice of tokens, ends, text and bad input. What runs
//! a decoder on a GPU is in `device_cuda`.
#![cfg(feature = "candle")]

mod attention;
mod bad_input;
mod chat;
mod continuous;
mod continuous_ends;
mod continuous_places;
mod encoder_decoder;
mod engines;
mod families;
mod gate;
mod gguf;
mod hostile;
mod reference;
mod safetensors;
mod sampling;
mod score;
mod spoiled;
mod stream;
mod text;
mod transcribe;
mod transcribe_reference;
mod whisper;

use accelerant::generate::{
    Decoder, DecoderConfig, DecoderModule, DecoderOptions, LogitsRule, Tokens,
};
use accelerant::{BackendKind, OptimizeOptions, Result, cache::EngineCache};

/// A model of a few thousand weights.
pub(crate) const TINY: &str = r#"{
    "model_type": "llama", "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "max_position_embeddings": 64,
    "rope_theta": 10000.0, "tie_word_embeddings": false, "eos_token_id": null
}"#;

pub(crate) fn tiny() -> Result<Decoder> {
    let config = DecoderConfig::from_json(TINY)?;
    let weights = config.random_weights(3)?;
    Ok(Decoder::new(config, weights))
}

/// On a runtime that runs here, with prompts in chunks of 8 tokens.
pub(crate) fn compiled(
    decoder: &Decoder,
    options: DecoderOptions,
    kind: BackendKind,
) -> Result<DecoderModule> {
    let compiling = OptimizeOptions::new().require(kind).cache(EngineCache::off());
    decoder.optimize_trt(&options.tokens(Tokens::UpTo(8)), &compiling)
}

/// The runtimes that the tests are asked to run on, of those that run here.
pub(crate) fn runtimes() -> Vec<BackendKind> {
    let mut all = Vec::new();
    if cfg!(feature = "tract") {
        all.push(BackendKind::Tract);
    }
    if cfg!(feature = "ort")
        && std::env::var_os("ORT_DYLIB_PATH").is_some_and(|path| !path.is_empty())
    {
        all.push(BackendKind::Ort);
    }
    all
}

/// Allows each token once.
#[derive(Debug)]
pub(crate) struct Once;

impl LogitsRule for Once {
    fn apply(&self, logits: &mut [f32], generated: &[u32]) -> Result<()> {
        generated.iter().for_each(|token| logits[*token as usize] = f32::NEG_INFINITY);
        Ok(())
    }
}
