//! Models of an encoder and a decoder: one graph that encodes, and one that writes the next token. T5 reads text, and Whisper
//! reads sound. Nothing of running a graph.

mod config;
mod layers;
mod t5;
mod weights;
mod whisper;

pub use config::{EncoderDecoderConfig, EncoderDecoderFamily};

use std::sync::Arc;

use self::layers::Layers;
use super::{DecoderOptions, DecoderWeights};
use crate::error::Result;
use crate::export::{OnnxModel, Target};

/// A model that reads a text or sound, and writes a text: its configuration and its weights.
///
/// ```
/// use accelerant::export::Target;
/// use accelerant::generate::{DecoderOptions, EncoderDecoder, EncoderDecoderConfig};
///
/// let config = EncoderDecoderConfig::from_json(
///     r#"{"model_type": "t5", "vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2,
///         "relative_attention_num_buckets": 8, "decoder_start_token_id": 0, "eos_token_id": 1}"#,
/// )?;
/// let weights = config.random_weights(7)?;
/// let model = EncoderDecoder::new(config, weights);
/// let options = DecoderOptions::new(32).source(16);
/// let encoder = model.encoder(Target::portable(), &options)?;
/// let step = model.decoder(Target::portable(), &options)?;
/// assert_eq!(encoder.signature().outputs[1].name, "cross_key.0");
/// assert_eq!(step.signature().inputs.last().map(|input| &*input.name), Some("cross_value.0"));
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct EncoderDecoder {
    config: Arc<EncoderDecoderConfig>,
    weights: Arc<dyn DecoderWeights + Send + Sync>,
}

impl EncoderDecoder {
    /// A model of this configuration. The weights have the checkpoint's names.
    pub fn new(
        config: EncoderDecoderConfig,
        weights: impl DecoderWeights + Send + Sync + 'static,
    ) -> Self {
        Self { config: Arc::new(config), weights: Arc::new(weights) }
    }

    /// The configuration.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.config
    }

    /// The encoder, and the keys and values that all tokens of the decoder attend to.
    ///
    /// Inputs, with batch b and s [source](DecoderOptions::source) tokens:
    /// - of T5 `source`: i64 `[b, s]`, and `lengths`: i64 `[b, 1]`, how many of the tokens are real;
    /// - of Whisper `features`: f32 `[b, mel bins, 2 * source positions]`.
    ///
    /// Outputs:
    /// - of T5 `source_sight`: what is added to the scores of source tokens, `[b, 1, 1, s]`;
    /// - `cross_key.0`, `cross_value.0`, …: `[b, heads, s, head size]`.
    ///
    /// # Errors
    /// As [`Decoder::model`](super::Decoder::model).
    pub fn encoder(&self, target: Target, options: &DecoderOptions) -> Result<OnnxModel> {
        let layers = self.layers("encoder", target, options)?;
        match &self.config.family {
            EncoderDecoderFamily::T5 { .. } => t5::encoder(&layers),
            EncoderDecoderFamily::Whisper { .. } => whisper::encoder(&layers),
        }
        .and_then(|()| layers.finish())
        .map_err(|e| e.in_operation("encoder"))
    }

    /// One forward pass of the decoder over some tokens. Its inputs and outputs are those of
    /// [`Decoder::model`](super::Decoder::model). The outputs of the [encoder](Self::encoder) are further inputs.
    ///
    /// # Errors
    /// As [`Decoder::model`](super::Decoder::model).
    pub fn decoder(&self, target: Target, options: &DecoderOptions) -> Result<OnnxModel> {
        let layers = self.layers("decoder", target, options)?;
        match &self.config.family {
            EncoderDecoderFamily::T5 { .. } => t5::decoder(&layers),
            EncoderDecoderFamily::Whisper { .. } => whisper::decoder(&layers),
        }
        .and_then(|()| layers.finish())
        .map_err(|e| e.in_operation("decoder"))
    }

    fn layers<'a>(
        &'a self,
        name: &str,
        target: Target,
        options: &'a DecoderOptions,
    ) -> Result<Layers<'a>> {
        self.config.check()?;
        options.check(self.config.positions)?;
        Ok(Layers::new(name, &self.config, &*self.weights, target, options))
    }
}

impl std::fmt::Debug for EncoderDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EncoderDecoder").field("config", &self.config).finish_non_exhaustive()
    }
}
