//! Language models of the Llama family, and encoder-decoders: their files, and one ONNX graph for each use, assembled by
//! the graph builder. Nothing of running a graph.

mod assemble;
mod attention;
mod beginning;
mod cache;
mod checkpoint;
mod config;
mod defaults;
mod encoder_decoder;
mod ending;
mod families;
mod options;
mod positions;
mod products;
mod rotary;
mod shaped;
mod weights;

#[cfg(feature = "candle")]
mod candle;
#[cfg(feature = "candle")]
mod gguf;

#[cfg(feature = "burn")]
pub(super) use cache::{give_directly, write_in_place};
pub use config::{Activation, DecoderConfig, Projections, Rotary, RotaryScaling, Window};
pub use encoder_decoder::{EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily};
#[cfg(feature = "cuda")]
pub(crate) use options::POSITIONS_OF_A_BLOCK;
pub use options::{AttentionForm, DecoderOptions, ProductForm, Tokens};
pub use weights::DecoderWeights;

use std::sync::Arc;

use super::{OnnxModel, Target};
use crate::error::Result;

/// A language model: its configuration and its weights.
///
/// ```
/// use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions};
/// use accelerant::export::Target;
/// # use accelerant::HostTensor;
/// # let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
/// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
/// let config = DecoderConfig::from_json(text)?;
/// let weights = config.random_weights(7)?;
/// let decoder = Decoder::new(config, weights);
/// let step = decoder.model(Target::portable(), &DecoderOptions::new(64))?;
/// assert_eq!(step.signature().inputs[0].name, "tokens");
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct Decoder {
    config: Arc<DecoderConfig>,
    weights: Arc<dyn DecoderWeights + Send + Sync>,
}

impl Decoder {
    /// A model with this configuration. The weights have the names of the checkpoint.
    pub fn new(
        config: DecoderConfig,
        weights: impl DecoderWeights + Send + Sync + 'static,
    ) -> Self {
        Self { config: Arc::new(config), weights: Arc::new(weights) }
    }

    /// The configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// Makes the graph of one forward pass over some tokens, with the caches as inputs and outputs.
    ///
    /// Inputs, with batch b and t tokens:
    /// - `tokens`: i64 `[b, t]`.
    /// - `positions`: i64 `[b, t]`, the position of each token in its sequence, ascending by 1.
    /// - `last`: i64 `[b, 1]`, the position of the token whose logits are returned; absent if t is fixed at 1.
    /// - `seen`: i64 `[blocks, 512]`, the numbers `0, 1, …` in order; present if the pass
    ///   [reads a part](DecoderOptions::part_of_cache) of the caches. The number of elements is the number of positions read.
    /// - `key.0`, `value.0`, `key.1`, …: the caches, `[b, key-value heads, capacity, head size]`.
    ///
    /// Outputs:
    /// - `next`: i64 `[b, 1]`, the most likely next token, or -1 where the logit of that token is NaN.
    /// - `next_position`: i64 `[b, 1]`.
    /// - `logits`: f32 `[b, vocabulary]`.
    /// - `new_key.0`, `new_value.0`, …: the caches with the tokens written to their positions.
    ///
    /// A token attends to the cache at its own position and at earlier positions. Later positions are never read.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) for a configuration or options that contradict
    /// themselves; [`ErrorKind::ShapeMismatch`](crate::ErrorKind::ShapeMismatch) naming a weight with other sizes; the
    /// errors of the weights.
    pub fn model(&self, target: Target, options: &DecoderOptions) -> Result<OnnxModel> {
        self.config.check()?;
        options.check(self.config.positions)?;
        assemble::assemble(&self.config, &*self.weights, target, options)
            .map_err(|e| e.in_operation("decoder"))
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("config", &self.config).finish_non_exhaustive()
    }
}
