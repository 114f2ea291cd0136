//! Tokens one after the other, until something ends them.

use std::sync::Arc;

use super::GenerateOptions;
use super::continuous::InFlight;
use super::engines::Inner;
use super::sampling::{Sampler, choose};
use super::session::{self, Session};
use super::stream::GenerationStream;
use super::text::TextGeneration;
use crate::error::Result;
use crate::tensor::HostTensor;

/// Why a text has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// A token that ends texts came next.
    StopToken,
    /// A stop string came next.
    StopString,
    /// As many tokens were generated as were asked for.
    MaxTokens,
    /// The cache is full.
    CacheFull,
    /// An error was given.
    Failed,
}

/// Tokens of several texts that grow together.
///
/// Each item has a token for each text, or `None` for a text that has ended. Dropping the batch ends all texts.
pub struct Batch {
    module: Arc<Inner>,
    /// What an encoder is to read.
    source: Vec<HostTensor>,
    options: GenerateOptions,
    stops: Vec<u32>,
    /// Prompts, and what was generated.
    texts: Vec<Vec<u32>>,
    prompts: Vec<usize>,
    ends: Vec<Option<End>>,
    /// One a text; none where the graph chooses.
    samplers: Vec<Sampler>,
    /// What was chosen last, also of texts that have ended.
    last: Vec<u32>,
    session: Option<Box<dyn Session>>,
    /// Passes made, the one over the prompts included, and those of them whose results were taken.
    passes: usize,
    taken: usize,
}

impl Batch {
    pub(super) fn new(
        module: Arc<Inner>,
        source: Vec<HostTensor>,
        prompts: &[&[u32]],
        options: &GenerateOptions,
    ) -> Result<Self> {
        module.check(prompts).map_err(|e| e.in_operation("generate"))?;
        options.check()?;
        let sampler = |i: usize| {
            let mut own = options.clone();
            own.seed = options.seed.wrapping_add(i as u64);
            Sampler::new(&own)
        };
        let samplers = match options.is_greedy() {
            true => Vec::new(),
            false => (0..prompts.len()).map(sampler).collect::<Result<_>>()?,
        };
        let stops = options.stop_tokens.clone().unwrap_or_else(|| module.end_tokens.clone());
        Ok(Self {
            module,
            source,
            options: options.clone(),
            stops,
            texts: prompts.iter().map(|prompt| prompt.to_vec()).collect(),
            prompts: prompts.iter().map(|prompt| prompt.len()).collect(),
            ends: vec![None; prompts.len()],
            samplers,
            last: Vec::new(),
            session: None,
            passes: 0,
            taken: 0,
        })
    }

    /// Why each text has ended, in the order of the prompts.
    pub fn ends(&self) -> &[Option<End>] {
        &self.ends
    }

    /// The tokens generated so far of one of the texts.
    pub fn generated(&self, text: usize) -> &[u32] {
        &self.texts[text][self.prompts[text]..]
    }

    /// The same for asynchronous code.
    pub fn into_stream(self) -> GenerationStream<Vec<Option<u32>>> {
        GenerationStream::of(self)
    }

    /// How many steps there can be: each writes one position of the cache.
    fn most_steps(&self) -> usize {
        (self.module.capacity - self.longest()).min(self.options.max_tokens.saturating_sub(1))
    }

    fn advance(&mut self) -> Result<Option<Vec<Option<u32>>>> {
        if self.options.max_tokens == 0 {
            self.end_all(End::MaxTokens);
        }
        if self.ends.iter().all(Option::is_some) {
            return Ok(None);
        }
        self.options.limit.check()?;
        let mut session = match self.session.take() {
            Some(session) => session,
            None => {
                let mut session = self.module.session()?;
                let prompts: Vec<&[u32]> = self.texts.iter().map(Vec::as_slice).collect();
                session::start(&mut *session, &self.source, &prompts)?;
                self.passes = 1;
                session
            }
        };
        let chosen = match self.samplers.is_empty() {
            true => self.likeliest(&mut *session)?,
            false => self.sampled(&mut *session)?,
        };
        self.taken += 1;
        self.session = Some(session);
        Ok(self.accept(&chosen))
    }

    /// The tokens that the graph chose, with passes made ahead.
    fn likeliest(&mut self, session: &mut dyn Session) -> Result<Vec<u32>> {
        let steps = self.most_steps();
        while self.passes <= self.taken + session.ahead() && self.passes <= steps {
            session.step(None)?;
            self.passes += 1;
        }
        if self.passes == self.taken {
            session.step(None)?;
            self.passes += 1;
        }
        session.tokens()
    }

    fn sampled(&mut self, session: &mut dyn Session) -> Result<Vec<u32>> {
        if self.passes == self.taken {
            session.step(Some(&self.last))?;
            self.passes += 1;
        }
        let logits = session.logits()?;
        let size = logits.len() / self.texts.len();
        let prompts = self.prompts.iter().copied();
        let texts = self.texts.iter().zip(prompts).zip(logits.chunks(size));
        let samplers = self.samplers.iter_mut().zip(texts);
        samplers
            .map(|(sampler, ((text, prompt), logits))| {
                choose(sampler, &self.options, logits, text, prompt)
            })
            .collect()
    }

    /// Adds tokens to the texts that go on. `None` where all end here.
    fn accept(&mut self, chosen: &[u32]) -> Option<Vec<Option<u32>>> {
        let full = self.taken > self.module.capacity - self.longest();
        let mut given = Vec::with_capacity(chosen.len());
        for (i, &token) in chosen.iter().enumerate() {
            if self.ends[i].is_none() && self.stops.contains(&token) {
                self.ends[i] = Some(End::StopToken);
            }
            if self.ends[i].is_some() {
                // It grows on with its batch, unseen.
                given.push(None);
                continue;
            }
            self.texts[i].push(token);
            given.push(Some(token));
            if self.taken == self.options.max_tokens {
                self.ends[i] = Some(End::MaxTokens);
            } else if full {
                self.ends[i] = Some(End::CacheFull);
            }
        }
        self.last = chosen.to_vec();
        given.iter().any(Option::is_some).then_some(given)
    }

    fn longest(&self) -> usize {
        self.prompts.iter().max().copied().unwrap_or_default()
    }

    /// Ends the texts that have not ended.
    fn end_all(&mut self, end: End) {
        for own in &mut self.ends {
            own.get_or_insert(end);
        }
    }
}

impl Iterator for Batch {
    type Item = Result<Vec<Option<u32>>>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance();
        if next.is_err() {
            self.session = None;
            self.end_all(End::Failed);
        }
        next.transpose()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.module.keep(session);
        }
    }
}

/// The tokens of one text, as an iterator. Dropping the generation ends the text, and the next generation uses the same cache.
pub struct Generation(Source);

/// Who generates.
enum Source {
    /// The caller's own thread, when it asks.
    Own(Box<Batch>),
    /// A [batcher's](super::ContinuousBatcher) thread.
    InFlight(InFlight),
}

impl Generation {
    pub(super) fn of(batch: Batch) -> Self {
        Self(Source::Own(Box::new(batch)))
    }

    pub(super) fn in_flight(tokens: InFlight) -> Self {
        Self(Source::InFlight(tokens))
    }

    /// Why the text has ended, if it has ended.
    pub fn end(&self) -> Option<End> {
        match &self.0 {
            Source::Own(batch) => batch.ends[0],
            Source::InFlight(tokens) => tokens.end(),
        }
    }

    /// It has ended for another reason than its tokens.
    pub(super) fn end_with(&mut self, end: End) {
        match &mut self.0 {
            Source::Own(batch) => batch.ends[0] = Some(end),
            Source::InFlight(tokens) => tokens.end_with(end),
        }
    }

    /// The same as text, whole characters at a time. `decode` makes text of tokens, such as
    /// `|tokens: &[u32]| tokenizer.decode(tokens, true)` with the crate `tokenizers`. A stop string ends the text.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
    /// # let json = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(json)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    /// # let model = decoder.optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
    /// let options = GenerateOptions::new().max_tokens(5);
    /// let spelled = |tokens: &[u32]| -> accelerant::Result<String> {
    ///     Ok(tokens.iter().map(|&token| char::from(b'A' + token as u8)).collect())
    /// };
    /// let text: String = model.generate(&[1, 2, 3], &options)?.text(spelled).collect::<Result<_, _>>()?;
    /// assert_eq!(text.len(), 5);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    pub fn text<E, F>(self, decode: F) -> TextGeneration<F>
    where
        F: FnMut(&[u32]) -> Result<String, E>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let stops = match &self.0 {
            Source::Own(batch) => batch.options.stop_strings.clone(),
            Source::InFlight(tokens) => tokens.stop_strings().to_vec(),
        };
        TextGeneration::new(self, decode, stops)
    }
}

impl Generation {
    /// The same for asynchronous code.
    ///
    /// ```
    /// # use accelerant::OptimizeOptions;
    /// # use accelerant::generate::{Decoder, DecoderConfig, DecoderOptions, GenerateOptions};
    /// # use futures_core::Stream;
    /// # use std::future::poll_fn;
    /// # use std::pin::Pin;
    /// # let json = r#"{"model_type": "llama", "vocab_size": 32, "hidden_size": 8, "intermediate_size": 16,
    /// #   "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5}"#;
    /// # let config = DecoderConfig::from_json(json)?;
    /// # let decoder = Decoder::new(config.clone(), config.random_weights(7)?);
    /// # let model = decoder.optimize_trt(&DecoderOptions::new(64), &OptimizeOptions::new())?;
    /// # async fn counted(model: &accelerant::generate::DecoderModule) -> accelerant::Result<usize> {
    /// let mut tokens = model.generate(&[1, 2, 3], &GenerateOptions::new())?.into_stream();
    /// let mut count = 0;
    /// // With the crate `futures` this is `while let Some(token) = tokens.next().await`.
    /// while let Some(token) = poll_fn(|context| Pin::new(&mut tokens).poll_next(context)).await {
    ///     println!("{}", token?);
    ///     count += 1;
    /// }
    /// # Ok(count)
    /// # }
    /// # let _ = counted(&model);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    pub fn into_stream(self) -> GenerationStream<u32> {
        GenerationStream::of(self)
    }
}

impl Iterator for Generation {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Source::Own(batch) => match batch.next()? {
                Ok(tokens) => tokens.first().copied().flatten().map(Ok),
                Err(e) => Some(Err(e)),
            },
            Source::InFlight(tokens) => tokens.next(),
        }
    }
}
