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

/// A compiled decoder, which generates. Cloning shares the decoder, and threads may share the decoder. Each generation has its
/// own cache.
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
    /// Compiles for the backend that `compiling` leads to.
    ///
    /// TensorRT gets two engines, and writes the caches in place. One engine is for prompts, in chunks of as many tokens as
    /// `options` say, and one is for single tokens. Portable backends get one model in f32, and the caches are its inputs.
    /// That model takes any number of texts up to the [batch](DecoderOptions::batch).
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

    /// The tokens that follow a prompt, one after the other. The first token is computed when the iterator is asked.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an empty prompt, a token that the vocabulary does not
    /// have, options that make no sense, and a module for several texts at once;
    /// [`OutOfProfile`](crate::ErrorKind::OutOfProfile) for a prompt that leaves no room in the cache.
    pub fn generate(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
        Ok(Generation::of(self.generate_batch(&[prompt], options)?))
    }

    /// The tokens that follow several prompts, a token of each at a time. The number of prompts is that which the module was
    /// [made for](DecoderOptions::batch).
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_batch(&self, prompts: &[&[u32]], options: &GenerateOptions) -> Result<Batch> {
        Batch::new(self.inner.clone(), Vec::new(), prompts, options)
    }

    /// The logarithms of the probabilities that the model gives the tokens of a text, each after those before it: one number
    /// for each token but the first. [`perplexity`](super::perplexity) makes one number of them.
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

    /// The module that runs prompts, if prompts have an engine of their own.
    pub fn prompt_module(&self) -> Option<&InferenceModule> {
        self.inner.engines.prompt.as_ref()
    }

    /// The model's configuration, of a [`Decoder`].
    pub fn config(&self) -> Option<&DecoderConfig> {
        self.config.as_deref()
    }

    /// The most tokens that prompt and generation may have together.
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
