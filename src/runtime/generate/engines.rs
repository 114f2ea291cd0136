//! What all decoders that were compiled have: engines, and the caches that generations left behind.

use std::sync::{Mutex, PoisonError};

use super::host::HostSession;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::export::decoder::{DecoderOptions, Tokens};
use crate::export::{OnnxModel, Reader, Target};
use crate::runtime::{InferenceModule, OptimizeOptions};
use crate::spec::DType;

/// So many caches that no generation uses are kept for later ones.
const MOST_IDLE: usize = 2;

/// The engines of one decoder.
pub(super) struct Engines {
    pub(super) step: InferenceModule,
    /// For prompts, where the one for single tokens takes no more.
    pub(super) prompt: Option<InferenceModule>,
    /// What reads a text or sound before the first token.
    pub(super) encoder: Option<InferenceModule>,
    /// The most tokens of a prompt in one pass.
    chunk: usize,
}

/// A decoder that generations share.
pub(super) struct Inner {
    pub(super) engines: Engines,
    pub(super) vocabulary: usize,
    pub(super) end_tokens: Vec<u32>,
    pub(super) capacity: usize,
    pub(super) batch: usize,
    idle: Mutex<Vec<Box<dyn Session>>>,
}

impl Engines {
    /// Compiles what `model` writes: for TensorRT one engine for single tokens and one for prompts, else one for both, in f32.
    pub(super) fn compile(
        model: impl Fn(Target, &DecoderOptions) -> Result<OnnxModel>,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<Self> {
        let chunk = match options.tokens {
            // One token has a graph of its own, without `last`.
            Tokens::UpTo(most) => most.max(2),
            Tokens::Fixed(_) => 128.min(options.capacity),
        };
        let written = |target: Target, single: bool| {
            let mut options = options.clone();
            if target.reader() != Reader::TensorRt {
                // A dynamic size has two values at least.
                options.capacity = options.capacity.max(2);
            }
            let options = match (target.reader(), single) {
                (Reader::TensorRt, true) => options.tokens(Tokens::Fixed(1)),
                (Reader::TensorRt, false) => options.tokens(Tokens::Fixed(chunk)),
                _ => options.tokens(Tokens::UpTo(chunk.max(2))).dtype(DType::F32),
            };
            model(target, &options)
        };
        let step = InferenceModule::compile_with(|target| written(target, true), compiling)?;
        let prompt = match step.signature().inputs[0].shape.is_dynamic() {
            true => None,
            false => {
                let only = compiling.clone().require(step.backend());
                Some(InferenceModule::compile_with(|target| written(target, false), &only)?)
            }
        };
        Ok(Self { step, prompt, encoder: None, chunk })
    }

    /// Compiles an encoder for the backend that runs the other engines.
    pub(super) fn compile_encoder(
        &mut self,
        model: impl Fn(Target, &DecoderOptions) -> Result<OnnxModel>,
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<()> {
        let written = |target: Target| match target.reader() {
            Reader::TensorRt => model(target, options),
            _ => model(target, &options.clone().dtype(DType::F32)),
        };
        let only = compiling.clone().require(self.step.backend());
        self.encoder = Some(InferenceModule::compile_with(written, &only)?);
        Ok(())
    }
}

impl Inner {
    pub(super) fn new(
        engines: Engines,
        options: &DecoderOptions,
        vocabulary: usize,
        end_tokens: Vec<u32>,
    ) -> Self {
        let (capacity, batch, idle) = (options.capacity, options.batch, Mutex::default());
        Self { engines, vocabulary, end_tokens, capacity, batch, idle }
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] and [`ErrorKind::OutOfProfile`] for prompts that no generation can begin with.
    pub(super) fn check(&self, prompts: &[&[u32]]) -> Result<()> {
        let batch = self.batch;
        if prompts.len() != batch {
            let text = format!("{} prompts for a module of {batch} texts at once", prompts.len());
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        prompts.iter().try_for_each(|prompt| self.check_prompt(prompt))
    }

    /// As [`check`](Self::check), of one prompt.
    pub(super) fn check_prompt(&self, prompt: &[u32]) -> Result<()> {
        let Self { vocabulary, capacity, .. } = self;
        let invalid = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
        if prompt.is_empty() {
            return invalid("the prompt is empty".into());
        }
        if let Some(token) = prompt.iter().find(|token| **token as usize >= *vocabulary) {
            return invalid(format!("token {token} is beyond the vocabulary of {vocabulary}"));
        }
        if prompt.len() > *capacity {
            let text =
                format!("the prompt has {} tokens, and the cache holds {capacity}", prompt.len());
            return Err(Error::new(ErrorKind::OutOfProfile, text));
        }
        Ok(())
    }

    /// Caches that nobody uses, or new ones.
    pub(super) fn session(&self) -> Result<Box<dyn Session>> {
        if let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(idle);
        }
        let Engines { step, prompt, encoder, chunk } = &self.engines;
        #[cfg(feature = "cuda")]
        if let Some(prompt) = prompt {
            let session = super::device::DeviceSession::new(prompt, step, encoder.as_ref())?;
            return Ok(Box::new(session));
        }
        #[cfg(not(feature = "cuda"))]
        let _ = prompt;
        Ok(Box::new(HostSession::new(step, encoder.as_ref(), *chunk)))
    }

    /// Takes caches back.
    pub(super) fn keep(&self, session: Box<dyn Session>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(session);
        }
    }
}
