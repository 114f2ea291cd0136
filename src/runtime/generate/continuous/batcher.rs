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

/// How a [`ContinuousBatcher`] takes requests.
///
/// ```
/// use accelerant::generate::ContinuousOptions;
///
/// // Beside those that are generated, 100 requests may wait.
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
    /// A queue of 1024 requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// The most requests that wait for a place in the batch; more are refused.
    #[must_use]
    pub fn max_queue(mut self, requests: usize) -> Self {
        self.max_queue = requests;
        self
    }
}

/// What a [`ContinuousBatcher`] has done so far, and what it does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContinuousCounters {
    /// Passes over the batch.
    pub passes: u64,
    /// Tokens of prompts that these passes took.
    pub prompt_tokens: u64,
    /// Tokens that were generated and given.
    pub generated_tokens: u64,
    /// Requests that are in the batch now.
    pub running: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// Requests whose handle was dropped, or whose limit was cancelled, before their text ended.
    pub withdrawn: u64,
    /// Requests whose text ended.
    pub done: u64,
    /// Requests that got an error.
    pub failed: u64,
}

/// *Continuous batching* (Yu et al., 2022): requests for text that join and leave the passes of one batch at any step.
///
/// The batch has as many slots as the decoder was compiled for [texts at once](crate::generate::DecoderOptions::batch), and
/// each slot has a row of the cache. A request takes the first free slot, or waits for one. Each pass takes the last token of
/// the texts that grow, and a part of the prompt of those that begin, up to as many tokens as the decoder takes in
/// [one pass](crate::generate::DecoderOptions::tokens). A long prompt so delays the other texts by some longer passes, and
/// never stops them.
///
/// Each request has its own options, and gets the tokens that [`DecoderModule::generate`] gives alone, up to the rounding
/// of products over more rows. A pass that fails is an error of all requests in it, and the requests after them get new
/// caches.
///
/// Tokens wait for a caller that is slow, so that no caller delays others. Dropping a [`Generation`] frees its slot before
/// the next pass.
///
/// Cloning shares the batcher. Dropping the last clone ends its thread after the pass that runs, and the requests that are
/// not done get [`ErrorKind::ShutDown`].
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
/// // Four texts at once.
/// let model = decoder.optimize_trt(&DecoderOptions::new(64).batch(4), &OptimizeOptions::new())?;
/// let batcher = model.continuous(&ContinuousOptions::new())?;
/// let greedy = batcher.submit(&[1, 2, 3], &GenerateOptions::new().max_tokens(5))?;
/// let drawn = batcher.submit(&[4], &GenerateOptions::new().max_tokens(8).temperature(0.7).seed(1))?;
/// // Both are generated now, whoever is asked first.
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
    /// A batcher that generates texts for many callers, on a thread of its own: [`ContinuousBatcher`].
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the system gives no thread.
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
    /// Asks for the tokens that follow a prompt. They are generated also while nobody asks the iterator.
    ///
    /// # Errors
    /// At once, those of [`DecoderModule::generate`], and [`ErrorKind::QueueFull`] where all slots are taken and the queue is
    /// full. What happens later comes out of the generation.
    pub fn submit(&self, prompt: &[u32], options: &GenerateOptions) -> Result<Generation> {
        let mut begun = self.submit_all(&[(prompt, options.clone())])?;
        let none = || Error::new(ErrorKind::ShutDown, "the batcher has ended");
        begun.pop().ok_or_else(none)
    }

    /// Asks for several texts at once, of prompts with their options: all are taken, or none. Callers that ask for several
    /// texts so never keep each other from what all of them would get one after the other.
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
    /// As [`submit`](Self::submit), where one of the prompts is wrong, or where there is no room for all of them.
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

    /// How many texts are generated at once.
    pub fn slots(&self) -> usize {
        self.0.module.batch
    }

    /// What the batcher did so far, and how many requests run and wait now.
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
