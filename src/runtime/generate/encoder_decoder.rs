//! An encoder-decoder that was compiled: a text or sound goes in, and tokens come out.

use std::fmt;
use std::sync::Arc;

use super::GenerateOptions;
use super::engines::{Engines, Inner};
use super::generation::Batch;
use super::score::{first_logits, score};
use super::single::Generation;
use crate::error::{Error, ErrorKind, Result};
use crate::export::Target;
use crate::export::decoder::{
    DecoderOptions, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderFamily,
};
use crate::runtime::{InferenceModule, OptimizeOptions};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// The source of an encoder.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Source<'a> {
    /// The tokens of a source text for T5, with the end token.
    Tokens(&'a [u32]),
    /// The audio features for Whisper, f32 `[mel bins, frames]`, as [`log_mel`](super::log_mel) returns.
    Features(&'a HostTensor),
}

/// A compiled encoder-decoder. Clones share the model, and threads can share the model. The encoder runs once for each
/// generation. The keys and values of the encoder stay in the same memory as the caches.
///
/// ```
/// use accelerant::OptimizeOptions;
/// use accelerant::generate::{DecoderOptions, EncoderDecoder, EncoderDecoderConfig, GenerateOptions, Source};
///
/// let config = EncoderDecoderConfig::from_json(
///     r#"{"model_type": "t5", "vocab_size": 32, "d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2,
///         "relative_attention_num_buckets": 8, "eos_token_id": 1}"#,
/// )?;
/// let weights = config.random_weights(7)?;
/// let model = EncoderDecoder::new(config, weights)
///     .optimize_trt(&DecoderOptions::new(32).source(16), &OptimizeOptions::new())?;
/// let options = GenerateOptions::new().max_tokens(5).stop_tokens([]);
/// let translated = model.generate(Source::Tokens(&[9, 8, 7, 1]), &[], &options)?;
/// assert_eq!(translated.count(), 5);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct EncoderDecoderModule {
    config: Arc<EncoderDecoderConfig>,
    source: usize,
    inner: Arc<Inner>,
}

impl EncoderDecoder {
    /// Compiles the encoder and the decoder for the backend that `compiling` selects. The decoder is compiled as
    /// [`Decoder::optimize_trt`](crate::generate::Decoder::optimize_trt) describes.
    ///
    /// # Errors
    /// As [`Decoder::model`](crate::generate::Decoder::model) and [`InferenceModule::compile`].
    pub fn optimize_trt(
        &self,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<EncoderDecoderModule> {
        let model = |target: Target, options: &DecoderOptions| self.decoder(target, options);
        let mut engines = Engines::compile(model, options, compiling)?;
        let encoder = |target: Target, options: &DecoderOptions| self.encoder(target, options);
        engines.compile_encoder(encoder, options, compiling)?;
        let config = Arc::new(self.config().clone());
        let inner = Inner::new(engines, options, config.vocabulary, config.end_tokens.clone());
        let source = config.source(options.source);
        Ok(EncoderDecoderModule { config, source, inner: Arc::new(inner) })
    }
}

impl EncoderDecoderModule {
    /// Generates the tokens for a source, after a prompt. An empty prompt means the
    /// [start token](EncoderDecoderConfig::start_token) of the model. The first call of `next` runs the encoder.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a source of another kind, an empty source, a token outside the vocabulary, invalid
    /// options, and a module with a batch size above 1; [`ErrorKind::OutOfProfile`] for a source or prompt that is too long;
    /// [`ErrorKind::ShapeMismatch`] for features of another shape.
    pub fn generate(
        &self,
        source: Source<'_>,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<Generation> {
        Ok(Generation::of(self.generate_batch(&[source], &[prompt], options)?))
    }

    /// Generates for several sources and prompts, one token of each in each step. The number of sources and of prompts must be
    /// the [batch size](DecoderOptions::batch).
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_batch(
        &self,
        sources: &[Source<'_>],
        prompts: &[&[u32]],
        options: &GenerateOptions,
    ) -> Result<Batch> {
        let source = self.read(sources).map_err(|e| e.in_operation("generate"))?;
        let start = [self.config.start_token];
        let prompts: Vec<&[u32]> =
            prompts.iter().map(|prompt| if prompt.is_empty() { &start } else { *prompt }).collect();
        Batch::new(self.inner.clone(), source, &prompts, options)
    }

    /// Returns the log probability of each token of a target text for a source, given the tokens before it. The target text
    /// does not contain the start token.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn score(&self, source: Source<'_>, tokens: &[u32]) -> Result<Vec<f32>> {
        let source = self.read(&[source]).map_err(|e| e.in_operation("score"))?;
        score(&self.inner, source, &[&[self.config.start_token], tokens].concat(), 1)
    }

    /// The logits behind one token about a source.
    pub(super) fn first_logits(&self, source: Source<'_>, token: u32) -> Result<Vec<f32>> {
        first_logits(&self.inner, self.read(&[source])?, token)
    }

    /// The batch size.
    pub(super) fn batch(&self) -> usize {
        self.inner.batch
    }

    /// The module of the encoder.
    pub fn encoder_module(&self) -> &InferenceModule {
        self.inner.engines.encoder.as_ref().unwrap_or(&self.inner.engines.step)
    }

    /// The module that runs single tokens.
    pub fn module(&self) -> &InferenceModule {
        &self.inner.engines.step
    }

    /// The configuration of the model.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.config
    }

    /// The largest number of tokens that prompt and generation have together.
    pub fn capacity(&self) -> usize {
        self.inner.capacity
    }

    /// The inputs of the encoder.
    fn read(&self, sources: &[Source<'_>]) -> Result<Vec<HostTensor>> {
        let batch = self.inner.batch;
        if sources.len() != batch {
            return Err(invalid(format!(
                "{} sources for a module of {batch} texts at once",
                sources.len()
            )));
        }
        match self.config.family {
            EncoderDecoderFamily::T5 { .. } => self.texts(sources),
            EncoderDecoderFamily::Whisper { mel_bins, .. } => self.sounds(sources, mel_bins),
        }
    }

    fn texts(&self, sources: &[Source<'_>]) -> Result<Vec<HostTensor>> {
        let (mut all, mut lengths) = (Vec::new(), Vec::new());
        for source in sources {
            let Source::Tokens(tokens) = source else {
                return Err(invalid("the model reads the tokens of a text, not features".into()));
            };
            if tokens.is_empty() {
                return Err(invalid("the source is empty".into()));
            }
            let vocabulary = self.config.vocabulary;
            if let Some(token) = tokens.iter().find(|token| **token as usize >= vocabulary) {
                return Err(invalid(format!(
                    "token {token} is beyond the vocabulary of {vocabulary}"
                )));
            }
            if tokens.len() > self.source {
                let (got, most) = (tokens.len(), self.source);
                let text = format!("the source has {got} tokens, and the encoder reads {most}");
                return Err(Error::new(ErrorKind::OutOfProfile, text));
            }
            all.extend(tokens.iter().map(|&token| i64::from(token)));
            all.extend(std::iter::repeat_n(0, self.source - tokens.len()));
            lengths.push(tokens.len() as i64);
        }
        let batch = sources.len();
        Ok(vec![
            HostTensor::from_vec([batch, self.source], all)?,
            HostTensor::from_vec([batch, 1], lengths)?,
        ])
    }

    fn sounds(&self, sources: &[Source<'_>], mel_bins: usize) -> Result<Vec<HostTensor>> {
        let frames = 2 * self.source;
        let mut all = Vec::new();
        for source in sources {
            let Source::Features(features) = source else {
                return Err(invalid("the model reads features of sound, not tokens".into()));
            };
            if features.dtype() != DType::F32 || features.shape() != [mel_bins, frames] {
                let text = format!(
                    "expected features in f32 of {:?}, got {} of {:?}",
                    [mel_bins, frames],
                    features.dtype(),
                    features.shape()
                );
                return Err(Error::new(ErrorKind::ShapeMismatch, text).on_tensor("features"));
            }
            all.extend_from_slice(features.bytes());
        }
        let shape = [sources.len(), mel_bins, frames];
        Ok(vec![HostTensor::from_bytes(DType::F32, shape, bytes::Bytes::from(all))?])
    }
}

impl fmt::Debug for EncoderDecoderModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.module();
        write!(f, "EncoderDecoderModule({} on {})", step.signature(), step.description())
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
