//! A decoder that was compiled.

use std::fmt;
use std::sync::Arc;

use super::GenerateOptions;
use super::engines::{Engines, Inner};
use super::generation::Batch;
use super::score::score;
use super::single::Generation;
use crate::error::Result;
#[cfg(feature = "burn")]
use crate::export::OnnxModel;
use crate::export::decoder::{Decoder, DecoderConfig, DecoderOptions};
use crate::export::{Reader, Target};
use crate::runtime::{InferenceModule, OptimizeOptions};

/// A compiled decoder, which generates tokens. Clones share the decoder, and threads can share the decoder. Each generation
/// has its own cache.
///
/// ```
/// use accelerant::OptimizeOptions;
/// use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
/// # let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
/// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
///
/// let config = DecoderConfig::from_json(text)?;
/// let weights = config.random_weights(7)?;
/// let model = Decoder::new(config, weights).optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
/// let tokens: Vec<u32> = model.generate(&[1, 2, 3], &GenerateOptions::new().max_tokens(5))?.collect::<Result<_, _>>()?;
/// assert_eq!(tokens.len(), 5);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct DecoderModule {
    config: Option<Arc<DecoderConfig>>,
    inner: Arc<Inner>,
}

impl Decoder {
    /// Compiles the decoder for the backend that `compiling` selects.
    ///
    /// On TensorRT, the decoder has two engines, and updates the caches in place. One engine processes prompts in chunks, and
    /// the other processes single tokens. On portable backends, the decoder is one model in fp32, with the caches as inputs.
    /// This model takes any number of sequences up to the [batch size](DecoderOptions::batch).
    ///
    /// # Errors
    /// As [`Decoder::model`] and [`InferenceModule::compile`].
    pub fn optimize_trt(
        &self,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<DecoderModule> {
        let model = |target: Target, options: &DecoderOptions| match target.reader() {
            Reader::TensorRt => self.model(target, options),
            _ => self.model(target, &options.clone().with_fewer_texts()),
        };
        let engines = Engines::compile(model, options, compiling)?;
        let config = Arc::new(self.config().clone());
        let inner = Inner::new(engines, options, config.vocabulary, config.end_tokens.clone());
        Ok(DecoderModule { config: Some(config), inner: Arc::new(inner) })
    }
}

impl DecoderModule {
    /// Compiles models of another kind, whose inputs and outputs are those of [`Decoder::model`].
    #[cfg(feature = "burn")]
    pub(crate) fn of_models(
        model: impl Fn(Target, &DecoderOptions) -> Result<OnnxModel>,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<Self> {
        let engines = Engines::compile(model, options, compiling)?;
        let logits = engines.step.signature().outputs.get(2);
        let vocabulary =
            logits.and_then(|spec| spec.shape.dims().last()?.fixed()).unwrap_or_default();
        let inner = Inner::new(engines, options, vocabulary, Vec::new());
        Ok(Self { config: None, inner: Arc::new(inner) })
    }

    /// Generates the tokens after a prompt, as an iterator. The first call of `next` computes the first token.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty prompt, a token outside the vocabulary, invalid
    /// options, and a module with a batch size above 1;
    /// [`OutOfProfile`](crate::ErrorKind::OutOfProfile) for a prompt that fills the cache.
    pub fn generate(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
        Ok(Generation::of(self.generate_batch(&[prompt], options)?))
    }

    /// Generates the tokens after several prompts, one token of each prompt in each step. The number of prompts must be the
    /// [batch size](DecoderOptions::batch).
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_batch(&self, prompts: &[&[u32]], options: &GenerateOptions) -> Result<Batch> {
        Batch::new(self.inner.clone(), Vec::new(), prompts, options)
    }

    /// Returns the log probability of each token given the tokens before it, for all tokens except the first.
    /// [`perplexity`](super::perplexity) turns these numbers into one number.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, perplexity};
    /// # let json = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(json)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    /// # let model = decoder.optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
    /// let scores = model.score(&[1, 2, 3, 4])?;
    /// assert_eq!(scores.len(), 3);
    /// assert!(perplexity(&scores) >= 1.0);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn score(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        score(&self.inner, Vec::new(), tokens, 1)
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The module that runs single tokens.
    pub fn module(&self) -> &InferenceModule {
        &self.inner.engines.step
    }

    /// The module that runs prompts, if prompts have a separate engine.
    pub fn prompt_module(&self) -> Option<&InferenceModule> {
        self.inner.engines.prompt.as_ref()
    }

    /// The configuration of the model, if the module was made of a [`Decoder`].
    pub fn config(&self) -> Option<&DecoderConfig> {
        self.config.as_deref()
    }

    /// The largest number of tokens that prompt and generation have together.
    pub fn capacity(&self) -> usize {
        self.inner.capacity
    }
}

impl fmt::Debug for DecoderModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.module();
        write!(f, "DecoderModule({} on {})", step.signature(), step.description())
    }
}
