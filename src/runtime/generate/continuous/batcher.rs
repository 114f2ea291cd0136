//! Requests of many callers in the passes of one batch: the handle, its options and its counters.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::in_flight::Event;
use super::queue::Queue;
use super::request::{Outcome, Request};
use super::worker::Worker;
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::generate::engines::Inner;
use crate::runtime::generate::{DecoderModule, End, GenerateOptions, Generation};

/// Options of a [`ContinuousBatcher`].
///
/// ```
/// use accelerant::generate::ContinuousOptions;
///
/// // 100 requests may wait for a slot.
/// let options = ContinuousOptions::new().max_queue(100);
/// ```
#[derive(Clone, Debug)]
pub struct ContinuousOptions {
    max_queue: usize,
}

impl Default for ContinuousOptions {
    fn default() -> Self {
        Self { max_queue: 1024 }
    }
}

impl ContinuousOptions {
    /// The default options, with a queue of 1024 requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the largest number of requests that wait for a slot. Further requests are refused.
    #[must_use]
    pub fn max_queue(mut self, requests: usize) -> Self {
        self.max_queue = requests;
        self
    }
}

/// The counters of a [`ContinuousBatcher`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContinuousCounters {
    /// Passes over the batch.
    pub passes: u64,
    /// Prompt tokens that these passes processed.
    pub prompt_tokens: u64,
    /// Generated tokens that callers received.
    pub generated_tokens: u64,
    /// Requests that are in the batch at the moment.
    pub running: u64,
    /// Requests that wait at the moment.
    pub waiting: u64,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// Requests that were dropped or cancelled before their end.
    pub withdrawn: u64,
    /// Requests that finished.
    pub done: u64,
    /// Requests that failed with an error.
    pub failed: u64,
}

/// *Continuous batching* (Yu et al., 2022): requests join and leave one batch at any step.
///
/// The number of slots is the [batch size](crate::generate::DecoderOptions::batch) of the decoder, and each slot has a part of
/// the cache. A request takes the first free slot, or waits for a slot. Each pass takes the last token of each running
/// sequence, and a [chunk](crate::generate::DecoderOptions::tokens) of each new prompt. A long prompt makes some passes longer,
/// and never stops the other sequences.
///
/// Each request has its own options, and gets the tokens that [`DecoderModule::generate`] returns for the request alone. The
/// rounding of larger matrix multiplications is the only difference. If a pass fails, all requests in the batch fail, and
/// later requests get new caches.
///
/// Tokens wait for a slow caller, and a slow caller delays no other caller. If a [`Generation`] is dropped, its slot is free
/// before the next pass.
///
/// Clones share the batcher. If the last clone is dropped, the thread ends after the current pass, and unfinished requests
/// fail with [`ErrorKind::ShutDown`].
///
/// ```
/// # use accelerant::OptimizeOptions;
/// # use accelerant::generate::{Decoder, DecoderConfig};
/// use accelerant::generate::{ContinuousOptions, DecoderOptions, GenerateOptions};
/// # let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
/// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
/// # let config = DecoderConfig::from_json(text)?;
/// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
///
/// // Four sequences at once.
/// let model = decoder.optimize_trt(&DecoderOptions::new(64).batch(4), &OptimizeOptions::new())?;
/// let batcher = model.continuous(&ContinuousOptions::new())?;
/// let greedy = batcher.submit(&[1, 2, 3], &GenerateOptions::new().max_tokens(5))?;
/// let drawn = batcher.submit(&[4], &GenerateOptions::new().max_tokens(8).temperature(0.7).seed(1))?;
/// // Both sequences are generated now, in any order of reading.
/// assert_eq!(drawn.count(), 8);
/// let tokens: Vec<u32> = greedy.collect::<Result<_, _>>()?;
/// assert_eq!(tokens.len(), 5);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct ContinuousBatcher(Arc<Shared>);

struct Shared {
    module: Arc<Inner>,
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

impl DecoderModule {
    /// Starts a [`ContinuousBatcher`], which generates for many callers on its own thread.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the thread cannot be started.
    pub fn continuous(&self, options: &ContinuousOptions) -> Result<ContinuousBatcher> {
        let module = self.inner().clone();
        let queue = Arc::new(Queue::new(module.batch, options.max_queue));
        let worker = Worker::new(module.clone(), queue.clone());
        let thread = thread::Builder::new().name("accelerant-continuous".into());
        let thread = thread.spawn(|| worker.run()).map_err(|e| {
            let text = format!("no thread can be started: {e}");
            Error::new(ErrorKind::Io, text).with_source(e).in_operation("continuous")
        })?;
        Ok(ContinuousBatcher(Arc::new(Shared { module, queue, thread: Some(thread) })))
    }
}

impl ContinuousBatcher {
    /// Submits a prompt. The tokens are generated even while no caller reads the iterator.
    ///
    /// # Errors
    /// The errors of [`DecoderModule::generate`], and [`ErrorKind::QueueFull`] if all slots are taken and the queue is full.
    /// The generation returns later errors.
    pub fn submit(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
        let mut begun = self.submit_all(&[(prompt, options.clone())])?;
        let none = || Error::new(ErrorKind::ShutDown, "the batcher has ended");
        begun.pop().ok_or_else(none)
    }

    /// Submits several prompts with their options: all of them, or none. Two callers therefore never block each other with a
    /// half-accepted set of prompts.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig};
    /// use accelerant::generate::{ContinuousOptions, DecoderOptions, GenerateOptions};
    /// # let text = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(text)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    ///
    /// let model = decoder.optimize_trt(&DecoderOptions::new(64).batch(2), &OptimizeOptions::new())?;
    /// let batcher = model.continuous(&ContinuousOptions::new())?;
    /// let options = GenerateOptions::new().max_tokens(5).temperature(0.7);
    /// let texts = batcher.submit_all(&[([1u32, 2], options.clone().seed(1)), ([1, 2], options.seed(2))])?;
    /// assert_eq!(texts.into_iter().map(Iterator::count).sum::<usize>(), 10);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`submit`](Self::submit), if one prompt is invalid or the queue has too little room for all prompts.
    pub fn submit_all<P: AsRef<[u32]>>(
        &self,
        texts: &[(P, GenerateOptions)],
    ) -> Result<Vec<Generation>> {
        let Shared { module, queue, .. } = &*self.0;
        let in_operation = |e: Error| e.in_operation("generate");
        let request = |(prompt, options): &(P, _)| Request::new(module, prompt.as_ref(), options);
        let begun: Result<Vec<_>> = texts.iter().map(request).collect();
        let (requests, tokens): (Vec<_>, Vec<_>) = begun.map_err(in_operation)?.into_iter().unzip();
        let (ended, growing): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.left() == 0);
        if !growing.is_empty() {
            queue.push(growing).map_err(in_operation)?;
        }
        for request in ended {
            queue.count(|counters| counters.add(Outcome::Done));
            request.tell(Event::End(End::MaxTokens));
        }
        Ok(tokens.into_iter().map(Generation::in_flight).collect())
    }

    /// The number of slots.
    pub fn slots(&self) -> usize {
        self.0.module.batch
    }

    /// The counters so far.
    pub fn counters(&self) -> ContinuousCounters {
        self.0.queue.counters()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.queue.end();
        // A rule may be the last owner, and a thread cannot wait for itself.
        let thread =
            self.thread.take().filter(|thread| thread.thread().id() != thread::current().id());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for ContinuousBatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContinuousBatcher({} slots, {:?})", self.slots(), self.counters())
    }
}
