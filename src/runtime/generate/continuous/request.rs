//! A text that grows in a batch of others: its own options, what a pass takes of it, and why it ends.

use super::in_flight::{Event, InFlight, Line, pair};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::generate::engines::Inner;
use crate::runtime::generate::sampling::choose;
use crate::runtime::generate::session::Row;
use crate::runtime::generate::{End, GenerateOptions, Sampler};

pub(super) struct Request {
    /// The prompt, and what was generated.
    text: Vec<u32>,
    prompt: usize,
    options: GenerateOptions,
    stops: Vec<u32>,
    /// None where the graph chooses.
    sampler: Option<Sampler>,
    line: Line,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    Failed,
    /// Nobody wanted its end.
    Withdrawn,
}

impl Request {
    /// # Errors
    /// As [`DecoderModule::generate`](crate::generate::DecoderModule::generate).
    pub(super) fn new(
        module: &Inner,
        prompt: &[u32],
        options: &GenerateOptions,
    ) -> Result<(Self, InFlight)> {
        module.check_prompt(prompt)?;
        options.check()?;
        let sampler = (!options.is_greedy()).then(|| Sampler::new(options)).transpose()?;
        let stops = options.stop_tokens.clone().unwrap_or_else(|| module.end_tokens.clone());
        let (line, in_flight) = pair(options.stop_strings.clone());
        let (text, prompt, options) = (prompt.to_vec(), prompt.len(), options.clone());
        Ok((Self { text, prompt, options, stops, sampler, line }, in_flight))
    }

    /// Whether the most likely token is always taken, as the graph finds it.
    pub(super) fn is_greedy(&self) -> bool {
        self.sampler.is_none()
    }

    /// Tokens of prompt and generation so far.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn prompt(&self) -> usize {
        self.prompt
    }

    /// How many tokens may follow.
    pub(super) fn left(&self) -> usize {
        self.options.max_tokens.saturating_sub(self.text.len() - self.prompt)
    }

    /// What a pass takes that writes `width` places: the tokens behind the first `cached` ones, and near the end of the cache
    /// some before them, which come out the same again.
    pub(super) fn row(&self, cached: usize, width: usize, capacity: usize) -> Row<'_> {
        let start = cached.min(capacity - width);
        let end = (cached + width).min(self.text.len()).min(start + width);
        Row { tokens: &self.text[start..end], start }
    }

    /// Chooses by the request's own options.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<u32> {
        match &mut self.sampler {
            Some(sampler) => choose(sampler, &self.options, logits, &self.text, self.prompt),
            None => Err(Error::new(ErrorKind::Execution, "the graph chooses this text's tokens")),
        }
    }

    /// Takes the next token: whether it is given to the caller, and why the text ends with it.
    pub(super) fn accept(&mut self, token: u32, capacity: usize) -> (bool, Option<End>) {
        if self.stops.contains(&token) {
            return (false, Some(End::StopToken));
        }
        self.text.push(token);
        let end = match self.left() {
            0 => Some(End::MaxTokens),
            // No pass can take this token.
            _ if self.text.len() > capacity => Some(End::CacheFull),
            _ => None,
        };
        (true, end)
    }

    /// Why the request goes on no longer though its text has not ended, if so.
    pub(super) fn is_over(&self) -> Option<(Outcome, Option<Error>)> {
        match self.line.is_over() {
            Some(true) => return Some((Outcome::Done, None)),
            Some(false) => return Some((Outcome::Withdrawn, None)),
            None => {}
        }
        let e = self.options.limit.check().err()?;
        let cancelled = e.kind() == ErrorKind::Cancelled;
        Some((if cancelled { Outcome::Withdrawn } else { Outcome::Failed }, Some(e)))
    }

    pub(super) fn tell(&self, event: Event) {
        self.line.tell(event);
    }
}
