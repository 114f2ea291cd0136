//! The thread of a batcher. Each pass takes what each text has that its cache has not: of a newcomer a part of its prompt, of
//! the others their last token.

use std::collections::VecDeque;
use std::sync::Arc;

use super::choice::choose_all;
use super::in_flight::Event;
use super::queue::Queue;
use super::request::{Outcome, Request};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::generate::engines::Inner;
use crate::runtime::generate::session::{Row, Session};
use crate::runtime::serving::caught;

pub(super) struct Worker {
    module: Arc<Inner>,
    queue: Arc<Queue>,
    session: Option<Box<dyn Session>>,
    slots: Vec<Option<Request>>,
    /// How many places of each cache are written, by the passes made, also where no text is.
    written: Vec<usize>,
    /// The passes whose results were not taken: which slots have a token of each.
    flight: VecDeque<Vec<bool>>,
}

/// Nobody waits for a thread that has ended, whatever has ended it.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Worker {
    pub(super) fn new(module: Arc<Inner>, queue: Arc<Queue>) -> Self {
        let count = module.batch;
        let slots = (0..count).map(|_| None).collect();
        let (written, flight) = (vec![0; count], VecDeque::new());
        Self { module, queue, session: None, slots, written, flight }
    }

    /// Has its first passes made by this session.
    #[cfg(all(test, feature = "tract"))]
    pub(super) fn set_session(&mut self, session: Box<dyn Session>) {
        self.session = Some(session);
    }

    pub(super) fn run(mut self) {
        let _ending = Ending(self.queue.clone());
        while self.admit() {
            self.release();
            if self.slots.iter().all(Option::is_none) {
                self.flight.clear();
            } else if let Err(e) = caught("a pass", || self.step()) {
                // The caches are as the failure left them: new ones take their place.
                self.fail(&e);
            }
        }
        self.fail(&Error::new(ErrorKind::ShutDown, "the batcher has ended"));
        if let Some(session) = self.session.take() {
            self.module.keep(session);
        }
    }

    /// Lets requests in. False when there will be none. A newcomer waits until no pass is ahead.
    fn admit(&mut self) -> bool {
        if !self.flight.is_empty() {
            return self.queue.take(0, false).is_some();
        }
        let free: Vec<usize> = (0..self.slots.len()).filter(|i| self.slots[*i].is_none()).collect();
        let Some(new) = self.queue.take(free.len(), free.len() == self.slots.len()) else {
            return false;
        };
        for (i, request) in free.into_iter().zip(new) {
            self.written[i] = 0;
            self.slots[i] = Some(request);
        }
        true
    }

    /// Frees the slots whose request goes on no longer.
    fn release(&mut self) {
        for slot in &mut self.slots {
            let Some((outcome, error)) = slot.as_ref().and_then(Request::is_over) else { continue };
            self.queue.count(|counters| {
                counters.running -= 1;
                counters.add(outcome);
            });
            if let (Some(request), Some(error)) = (slot.take(), error) {
                request.tell(Event::Failed(error));
            }
        }
    }

    /// Gives all requests an error.
    fn fail(&mut self, error: &Error) {
        self.flight.clear();
        let failed: Vec<Request> = self.slots.iter_mut().filter_map(Option::take).collect();
        self.queue.count(|counters| {
            counters.running -= failed.len() as u64;
            counters.failed += failed.len() as u64;
        });
        failed.iter().for_each(|request| request.tell(Event::Failed(error.clone())));
    }

    /// Makes a pass, or several ahead, and takes a result. After an error there is no session.
    fn step(&mut self) -> Result<()> {
        let mut session = match self.session.take() {
            Some(session) => session,
            None => self.module.session()?,
        };
        if self.flight.is_empty() {
            self.pass(&mut *session)?;
        }
        while self.flight.len() <= session.ahead() && self.may_go_on() {
            session.step(None)?;
            self.written.iter_mut().for_each(|written| *written += 1);
            self.flight.push_back(self.slots.iter().map(Option::is_some).collect());
            self.queue.count(|counters| counters.passes += 1);
        }
        self.take(&mut *session)?;
        self.session = Some(session);
        Ok(())
    }

    fn pass(&mut self, session: &mut dyn Session) -> Result<()> {
        let capacity = self.module.capacity;
        let texts = || self.slots.iter().zip(&self.written);
        let is_new = |(slot, written): (&Option<Request>, &usize)| slot.is_some() && *written == 0;
        let new: Vec<usize> =
            texts().enumerate().filter(|(_, text)| is_new(*text)).map(|(i, _)| i).collect();
        if !new.is_empty() {
            session.forget(&new)?;
        }
        let most = texts().filter_map(|(slot, written)| Some(slot.as_ref()?.len() - written)).max();
        let width = session.width(most.unwrap_or(1));
        let rows: Vec<Option<Row<'_>>> = texts()
            .map(|(slot, &written)| Some(slot.as_ref()?.row(written, width, capacity)))
            .collect();
        session.pass(&rows)?;
        let ends: Vec<usize> = rows.iter().map(|row| row.unwrap_or(Row::OF_NOBODY).end()).collect();
        let mut of_prompts = 0;
        for ((slot, written), end) in self.slots.iter().zip(&mut self.written).zip(ends) {
            if let Some(request) = slot {
                let prompt = request.prompt();
                of_prompts += end.min(prompt) - prompt.min(*written);
            }
            *written = end;
        }
        let through = |(slot, written): (&Option<Request>, &usize)| {
            slot.as_ref().is_some_and(|request| request.len() == *written)
        };
        self.flight.push_back(self.slots.iter().zip(&self.written).map(through).collect());
        self.queue.count(|counters| {
            counters.passes += 1;
            counters.prompt_tokens += of_prompts as u64;
        });
        Ok(())
    }

    /// Whether another pass may take the tokens that the graph chose, before anybody has seen them.
    fn may_go_on(&self) -> bool {
        let Some(newest) = self.flight.back() else { return false };
        let texts =
            || self.slots.iter().zip(newest).filter_map(|(slot, has)| Some((slot.as_ref()?, has)));
        let is_full = self.slots.iter().all(Option::is_some);
        texts().all(|(request, &has)| has && request.is_greedy())
            && texts().any(|(request, _)| request.left() > self.flight.len())
            && self.written.iter().all(|written| *written < self.module.capacity)
            && (is_full || self.queue.is_empty())
    }

    /// Takes the oldest result, and gives each text its token.
    fn take(&mut self, session: &mut dyn Session) -> Result<()> {
        let has = self.flight.pop_front().unwrap_or_default();
        let gets = |(slot, has): (&Option<Request>, bool)| slot.is_some() && has;
        let gets: Vec<bool> = self.slots.iter().zip(has).map(gets).collect();
        if !gets.contains(&true) {
            return Ok(());
        }
        let likeliest = session.tokens()?.into_iter().zip(&gets);
        let mut chosen: Vec<Option<Result<u32>>> =
            likeliest.map(|(token, gets)| gets.then_some(token)).collect();
        let drawing: Vec<(usize, &mut Request)> = self
            .slots
            .iter_mut()
            .enumerate()
            .filter_map(|(i, slot)| Some((i, slot.as_mut().filter(|_| gets[i])?)))
            .filter(|(_, request)| !request.is_greedy())
            .collect();
        if !drawing.is_empty() {
            let logits = session.logits()?;
            let size = logits.len() / gets.len();
            let (places, texts): (Vec<usize>, Vec<_>) = drawing
                .into_iter()
                .map(|(i, request)| (i, (request, &logits[i * size..(i + 1) * size])))
                .unzip();
            for (i, token) in places.into_iter().zip(choose_all(texts)) {
                chosen[i] = Some(token);
            }
        }
        self.give(chosen);
        Ok(())
    }

    /// Gives tokens, and frees the slots whose text ends. What is counted is seen before the caller is told.
    fn give(&mut self, chosen: Vec<Option<Result<u32>>>) {
        let Self { module, queue, slots, .. } = self;
        for (slot, token) in slots.iter_mut().zip(chosen) {
            let (Some(request), Some(token)) = (slot.as_mut(), token) else { continue };
            let (given, end) = match token {
                Ok(token) => {
                    let (is_given, end) = request.accept(token, module.capacity);
                    let end = end.map(|end| (Outcome::Done, Event::End(end)));
                    (is_given.then_some(token), end)
                }
                Err(e) => (None, Some((Outcome::Failed, Event::Failed(e)))),
            };
            queue.count(|counters| {
                counters.generated_tokens += u64::from(given.is_some());
                if let Some((outcome, _)) = &end {
                    counters.running -= 1;
                    counters.add(*outcome);
                }
            });
            given.into_iter().for_each(|token| request.tell(Event::Token(token)));
            if let Some((_, event)) = end {
                request.tell(event);
                *slot = None;
            }
        }
    }
}
