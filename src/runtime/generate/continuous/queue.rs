//! Requests that wait for a place in the batch, with a bound, and what was counted.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::batcher::ContinuousCounters;
use super::in_flight::Event;
use super::request::{Outcome, Request};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct Queue {
    slots: usize,
    /// The most that wait.
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Request>,
    counters: ContinuousCounters,
    ended: bool,
}

/// A request that goes on no longer, and its error.
type Over = (Request, Option<Error>);

impl Queue {
    pub(super) fn new(slots: usize, most: usize) -> Self {
        Self { slots, most, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could leave it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> ContinuousCounters {
        let state = self.lock();
        ContinuousCounters { waiting: state.waiting.len() as u64, ..state.counters }
    }

    /// Takes all requests, or none of them.
    ///
    /// # Errors
    /// [`ErrorKind::QueueFull`]; [`ErrorKind::ShutDown`] where nobody takes requests any more.
    pub(super) fn push(&self, requests: Vec<Request>) -> Result<()> {
        let most = self.slots.saturating_add(self.most);
        let new = requests.len();
        let taken = |state: &State| state.waiting.len() + state.counters.running as usize;
        let fits = |state: &State| taken(state).saturating_add(new) <= most;
        let mut state = self.lock();
        let over = if fits(&state) { Vec::new() } else { state.remove_over() };
        let refused = if state.ended {
            Some(Error::new(ErrorKind::ShutDown, "the batcher has ended"))
        } else if !fits(&state) {
            state.counters.refused += new as u64;
            let text = match (taken(&state), new) {
                (taken, 1) => format!("{taken} texts wait or are generated already"),
                (taken, new) => format!(
                    "{taken} texts wait or are generated already, and {new} more are beyond the {most} that fit"
                ),
            };
            Some(Error::new(ErrorKind::QueueFull, text))
        } else {
            state.waiting.extend(requests);
            None
        };
        drop(state);
        self.changed.notify_one();
        tell(over);
        refused.map_or(Ok(()), Err)
    }

    /// Up to `free` requests, in the order in which they came; waits for one where `wait` says so. `None` when the queue has
    /// ended.
    pub(super) fn take(&self, free: usize, wait: bool) -> Option<Vec<Request>> {
        let mut state = self.lock();
        loop {
            let over = state.remove_over();
            if !over.is_empty() {
                drop(state);
                tell(over);
                state = self.lock();
                continue;
            }
            if state.ended {
                return None;
            }
            let count = free.min(state.waiting.len());
            let taken: Vec<Request> = state.waiting.drain(..count).collect();
            if !taken.is_empty() || !wait {
                state.counters.running += taken.len() as u64;
                return Some(taken);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    /// Counts. What is counted is seen before whoever waits for it is told.
    pub(super) fn count(&self, count: impl FnOnce(&mut ContinuousCounters)) {
        count(&mut self.lock().counters);
    }

    /// From now on nothing is taken. What waits is given up.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        let given_up = mem::take(&mut state.waiting);
        state.counters.failed += given_up.len() as u64;
        drop(state);
        self.changed.notify_all();
        // Dropped without the lock: rules are the callers' code.
        drop(given_up);
    }
}

impl State {
    /// The waiting requests that go on no longer.
    fn remove_over(&mut self) -> Vec<Over> {
        let mut over = Vec::new();
        for request in mem::take(&mut self.waiting) {
            match request.is_over() {
                Some((outcome, error)) => {
                    self.counters.add(outcome);
                    over.push((request, error));
                }
                None => self.waiting.push_back(request),
            }
        }
        over
    }
}

impl ContinuousCounters {
    pub(super) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Withdrawn => self.withdrawn += 1,
        }
    }
}

fn tell(over: Vec<Over>) {
    for (request, error) in over {
        error.into_iter().for_each(|error| request.tell(Event::Failed(error)));
    }
}
