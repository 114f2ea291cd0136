//! Tokens one after the other, until something ends them.

use std::fmt;
use std::sync::Arc;

use super::GenerateOptions;
use super::engines::Inner;
use super::sampling::{Sampler, choose};
use super::session::{self, Session};
use super::stream::GenerationStream;
use crate::error::Result;
use crate::tensor::HostTensor;

/// The reason why a sequence has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The next token was an end token.
    StopToken,
    /// The text reached a stop string.
    StopString,
    /// The sequence has [`max_tokens`](GenerateOptions::max_tokens) tokens.
    MaxTokens,
    /// The cache is full.
    CacheFull,
    /// The generation returned an error.
    Failed,
}

/// The tokens of several sequences that are generated together.
///
/// Each item has one token for each sequence, or `None` for a sequence that has ended. Dropping the batch ends all sequences.
pub struct Batch {
    module: Arc<Inner>,
    /// What an encoder is to read.
    source: Vec<HostTensor>,
    pub(super) options: GenerateOptions,
    stops: Vec<u32>,
    /// Prompts, and what was generated.
    texts: Vec<Vec<u32>>,
    prompts: Vec<usize>,
    pub(super) ends: Vec<Option<End>>,
    /// One a text; none where the graph chooses.
    samplers: Vec<Sampler>,
    /// What was chosen last: anything for texts that have ended.
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

    /// The reason why each sequence has ended, in the order of the prompts.
    pub fn ends(&self) -> &[Option<End>] {
        &self.ends
    }

    /// The generated tokens of one sequence so far.
    pub fn generated(&self, text: usize) -> &[u32] {
        &self.texts[text][self.prompts[text]..]
    }

    /// Turns the batch into a stream for async code.
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
        let chosen = session.tokens()?.into_iter().zip(&self.ends);
        chosen.map(|(token, end)| if end.is_some() { Ok(0) } else { token }).collect()
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
            .zip(&self.ends)
            .map(|((sampler, ((text, prompt), logits)), end)| match end {
                Some(_) => Ok(0),
                None => choose(sampler, &self.options, logits, text, prompt),
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

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ends, options, .. } = self;
        let generated: Vec<usize> = (0..ends.len()).map(|i| self.generated(i).len()).collect();
        let mut shown = f.debug_struct("Batch");
        shown.field("generated", &generated).field("ends", ends).field("options", options);
        shown.finish_non_exhaustive()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.module.keep(session);
        }
    }
}
