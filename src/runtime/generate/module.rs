//! A decoder that was compiled: its engines, and the caches that generations left behind.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::GenerateOptions;
use super::generation::{Batch, Generation};
use super::host::HostSession;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{Decoder, DecoderConfig, DecoderOptions, Tokens};
use crate::export::{Reader, Target};
use crate::runtime::{InferenceModule, OptimizeOptions};
use crate::spec::DType;

/// So many caches that no generation uses are kept for later ones.
const MOST_IDLE: usize = 2;

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
pub struct DecoderModule(Arc<Inner>);

pub(super) struct Inner {
    pub(super) config: DecoderConfig,
    pub(super) capacity: usize,
    pub(super) batch: usize,
    chunk: usize,
    step: InferenceModule,
    /// For prompts, where the one for single tokens takes no more.
    prompt: Option<InferenceModule>,
    idle: Mutex<Vec<Box<dyn Session>>>,
}

impl Decoder {
    /// Compiles for the backend that `compiling` leads to.
    ///
    /// TensorRT gets two engines, and writes the caches in place. One engine is for prompts, in chunks of as many tokens as
    /// `options` say, and one is for single tokens. Portable backends get one model in f32, and the caches are its inputs.
    ///
    /// # Errors
    /// As [`Decoder::model`] and [`InferenceModule::compile`].
    pub fn optimize_trt(
        &self,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<DecoderModule> {
        let chunk = match options.tokens {
            // One token has a graph of its own, without `last`.
            Tokens::UpTo(most) => most.max(2),
            Tokens::Fixed(_) => 128.min(options.capacity),
        };
        let written = |target: Target, single: bool| {
            let options = options.clone();
            let options = match (target.reader(), single) {
                (Reader::TensorRt, true) => options.tokens(Tokens::Fixed(1)),
                (Reader::TensorRt, false) => options.tokens(Tokens::Fixed(chunk)),
                _ => options.tokens(Tokens::UpTo(chunk)).dtype(DType::F32),
            };
            self.model(target, &options)
        };
        let step = InferenceModule::compile_with(|target| written(target, true), compiling)?;
        let prompt = match step.signature().inputs[0].shape.is_dynamic() {
            true => None,
            false => {
                let only = compiling.clone().require(step.backend());
                Some(InferenceModule::compile_with(|target| written(target, false), &only)?)
            }
        };
        let (config, capacity, batch) = (self.config().clone(), options.capacity, options.batch);
        let idle = Mutex::default();
        Ok(DecoderModule(Arc::new(Inner { config, capacity, batch, chunk, step, prompt, idle })))
    }
}

impl DecoderModule {
    /// The tokens that follow a prompt, one after the other. The first token is computed when the iterator is asked.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an empty prompt, a token that the vocabulary does not have, options that make
    /// no sense, and a module for several texts at once; [`ErrorKind::OutOfProfile`] for a prompt that leaves no room
    /// in the cache.
    pub fn generate(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
        Ok(Generation::of(self.generate_batch(&[prompt], options)?))
    }

    /// The tokens that follow several prompts, a token of each at a time. The number of prompts is that which the module was
    /// [made for](DecoderOptions::batch).
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_batch(&self, prompts: &[&[u32]], options: &GenerateOptions) -> Result<Batch> {
        self.check(prompts).map_err(|e| e.in_operation("generate"))?;
        Batch::new(self.0.clone(), prompts, options)
    }

    /// The module that runs single tokens.
    pub fn module(&self) -> &InferenceModule {
        &self.0.step
    }

    /// The module that runs prompts, if prompts have an engine of their own.
    pub fn prompt_module(&self) -> Option<&InferenceModule> {
        self.0.prompt.as_ref()
    }

    /// The model's configuration.
    pub fn config(&self) -> &DecoderConfig {
        &self.0.config
    }

    /// The most tokens that prompt and generation may have together.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    fn check(&self, prompts: &[&[u32]]) -> Result<()> {
        let Inner { config, capacity, batch, .. } = &*self.0;
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if prompts.len() != *batch {
            return invalid(format!(
                "{} prompts for a module of {batch} texts at once",
                prompts.len()
            ));
        }
        for prompt in prompts {
            if prompt.is_empty() {
                return invalid("the prompt is empty".into());
            }
            if let Some(token) = prompt.iter().find(|token| **token as usize >= config.vocabulary) {
                return invalid(format!(
                    "token {token} is beyond the vocabulary of {}",
                    config.vocabulary
                ));
            }
            if prompt.len() > *capacity {
                let text = format!(
                    "the prompt has {} tokens, and the cache holds {capacity}",
                    prompt.len()
                );
                return Err(Error::new(ErrorKind::OutOfProfile, text));
            }
        }
        Ok(())
    }
}

impl Inner {
    /// Caches that nobody uses, or new ones.
    pub(super) fn session(&self) -> Result<Box<dyn Session>> {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        #[cfg(feature = "cuda")]
        if let Some(prompt) = &self.prompt {
            return Ok(Box::new(super::device::DeviceSession::new(prompt, &self.step)?));
        }
        Ok(Box::new(HostSession::new(&self.step, self.chunk)?))
    }

    /// Takes caches back.
    pub(super) fn keep(&self, session: Box<dyn Session>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(session);
        }
    }
}

impl fmt::Debug for DecoderModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecoderModule({} on {})", self.0.step.signature(), self.0.step.description())
    }
}
