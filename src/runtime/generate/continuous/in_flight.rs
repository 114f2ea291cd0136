//! The two ends of a request: who waits for its tokens, and who owes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::error::{Error, ErrorKind, Result};
use crate::runtime::generate::End;

/// What happens to a request.
pub(super) enum Event {
    Token(u32),
    End(End),
    Failed(Error),
}

/// What the caller still wants.
#[derive(Default)]
struct Wish {
    /// No more tokens.
    over: AtomicBool,
    /// The caller has what it wants.
    satisfied: AtomicBool,
}

/// The caller's end: tokens as they come.
pub(in crate::runtime::generate) struct InFlight {
    events: Receiver<Event>,
    wish: Arc<Wish>,
    stop_strings: Vec<String>,
    end: Option<End>,
}

/// The other end. Dropped without an end, it tells that the batcher is gone.
pub(super) struct Line {
    events: Sender<Event>,
    wish: Arc<Wish>,
}

/// Both ends. `stop_strings` are those of the request.
pub(super) fn pair(stop_strings: Vec<String>) -> (Line, InFlight) {
    let (sender, events) = channel();
    let wish = Arc::<Wish>::default();
    let line = Line { events: sender, wish: wish.clone() };
    (line, InFlight { events, wish, stop_strings, end: None })
}

impl Line {
    pub(super) fn tell(&self, event: Event) {
        // Whoever is gone has said so.
        let _ = self.events.send(event);
    }

    /// Whether the caller wants no more, and if so whether it has what it wants.
    pub(super) fn is_over(&self) -> Option<bool> {
        self.wish.over.load(Relaxed).then(|| self.wish.satisfied.load(Relaxed))
    }
}

impl InFlight {
    pub(in crate::runtime::generate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The caller has found another end.
    pub(in crate::runtime::generate) fn end_with(&mut self, end: End) {
        self.end = Some(end);
        self.wish.satisfied.store(true, Relaxed);
        self.wish.over.store(true, Relaxed);
    }

    pub(in crate::runtime::generate) fn stop_strings(&self) -> &[String] {
        &self.stop_strings
    }

    fn fail(&mut self, error: Error) -> Option<Result<u32>> {
        self.end = Some(End::Failed);
        Some(Err(error.in_operation("generate")))
    }
}

impl Iterator for InFlight {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        match self.events.recv() {
            Ok(Event::Token(token)) => Some(Ok(token)),
            Ok(Event::End(end)) => {
                self.end = Some(end);
                None
            }
            Ok(Event::Failed(error)) => self.fail(error),
            Err(_) => {
                let text = "the batcher that generated this text has ended";
                self.fail(Error::new(ErrorKind::ShutDown, text))
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.wish.over.store(true, Relaxed);
    }
}
