//! Tokens as text: only whole characters, up to a stop string.

use std::fmt;

use super::generation::End;
use super::single::Generation;
use super::spelled::Spelled;
use super::stream::GenerationStream;
use crate::error::{Error, ErrorKind, Result};

/// The text of a [generation](Generation::text), in pieces. The pieces together are the text of all tokens up to the first
/// stop string. Bytes that are not UTF-8 become `U+FFFD`, at most three characters later.
pub struct TextGeneration<F> {
    tokens: Generation,
    decode: F,
    stops: Vec<String>,
    spelled: Spelled,
    /// Decoded, and perhaps the beginning of a stop string.
    held: String,
    done: bool,
}

impl<F> fmt::Debug for TextGeneration<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, stops, .. } = self;
        let mut shown = f.debug_struct("TextGeneration");
        shown.field("tokens", tokens).field("stops", stops).finish_non_exhaustive()
    }
}

impl<F, E> TextGeneration<F>
where
    F: FnMut(&[u32]) -> Result<String, E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(tokens: Generation, decode: F, stops: Vec<String>) -> Self {
        let (spelled, held) = (Spelled::new(), String::new());
        Self { tokens, decode, stops, spelled, held, done: false }
    }

    /// Turns the text into a stream for async code.
    pub fn into_stream(self) -> GenerationStream<String>
    where
        F: Send + 'static,
        E: 'static,
    {
        GenerationStream::of(self)
    }

    /// The reason why the text has ended, if it has ended.
    pub fn end(&self) -> Option<End> {
        self.tokens.end()
    }

    /// All generated tokens so far, including tokens whose text was not returned.
    pub fn tokens(&self) -> &[u32] {
        self.spelled.tokens()
    }

    /// What the tokens add to the text.
    fn decoded(&mut self, last: bool) -> Result<String> {
        self.spelled.more(&mut self.decode, last).map_err(|e| {
            let source = e.into();
            let text = format!("tokens cannot be decoded: {source}");
            Error::new(ErrorKind::Processing, text).in_operation("generate")
        })
    }

    /// What may be given of the text that is held; all of it at the end.
    fn release(&mut self, last: bool) -> Option<String> {
        // The search in a text prepares for the string, however long it is.
        let may_be = self.stops.iter().filter(|stop| stop.len() <= self.held.len());
        let first = may_be.filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            self.done = true;
            self.tokens.end_with(End::StopString);
        }
        let kept = if last || self.done { 0 } else { self.begun() };
        let given: String = self.held.drain(..self.held.len() - kept).collect();
        (!given.is_empty()).then_some(given)
    }

    /// How many bytes at the end may be the beginning of a stop string.
    fn begun(&self) -> usize {
        let ends = self.held.char_indices().map(|(i, _)| &self.held[i..]);
        let begins = |end: &&str| self.stops.iter().any(|stop| stop.starts_with(end));
        ends.filter(begins).map(str::len).max().unwrap_or_default()
    }
}

impl<F, E> Iterator for TextGeneration<F>
where
    F: FnMut(&[u32]) -> Result<String, E>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let last = match self.tokens.next() {
                Some(Ok(token)) => {
                    self.spelled.push(token);
                    false
                }
                Some(Err(e)) => {
                    self.done = true;
                    return Some(Err(e));
                }
                None => true,
            };
            match self.decoded(last) {
                Ok(new) => self.held += &new,
                Err(e) => {
                    self.done = true;
                    return Some(Err(e));
                }
            }
            let given = self.release(last);
            self.done |= last;
            if given.is_some() {
                return given.map(Ok);
            }
        }
        None
    }
}
