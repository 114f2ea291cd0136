//! Requests that wait for others: which of them may be run together, and when.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::batcher::BatcherCounters;
use super::pending::Promise;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Tensors that somebody wants run, all of the same number of rows.
pub(super) struct Request {
    pub(super) inputs: Vec<HostTensor>,
    pub(super) rows: usize,
    promise: Promise,
    since: Instant,
    outcomes: Arc<Mutex<Outcomes>>,
}

/// What became of the requests that are done.
#[derive(Clone, Copy, Default)]
struct Outcomes {
    done: u64,
    failed: u64,
    latency: Duration,
    longest: Duration,
}

impl Request {
    /// Gives the outputs, or why there are none, and counts.
    pub(super) fn fulfil(self, outputs: Result<Vec<HostTensor>>) {
        let took = self.since.elapsed();
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.done += 1;
        outcomes.failed += u64::from(outputs.is_err());
        outcomes.latency += took;
        outcomes.longest = outcomes.longest.max(took);
        // What is woken may ask for the counters.
        drop(outcomes);
        self.promise.fulfil(outputs);
    }

    fn is_wanted(&self) -> bool {
        self.promise.is_wanted()
    }

    /// Whether the other can be run with this one: all sizes but the rows are equal.
    fn fits(&self, other: &Self) -> bool {
        self.inputs.iter().zip(&other.inputs).all(|(a, b)| a.shape()[1..] == b.shape()[1..])
    }
}

/// When a batch is whole, and when the queue is.
pub(super) struct Limits {
    pub(super) rows: usize,
    pub(super) delay: Duration,
    pub(super) requests: usize,
}

/// What waits, in groups of requests that can be run together.
pub(super) struct Queue {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
    outcomes: Arc<Mutex<Outcomes>>,
}

#[derive(Default)]
struct State {
    /// None is empty.
    groups: Vec<VecDeque<Request>>,
    counters: BatcherCounters,
    ended: bool,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Self {
        let (state, outcomes) = Default::default();
        Self { limits, state, changed: Condvar::new(), outcomes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could leave it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> BatcherCounters {
        let state = self.lock();
        let counters = BatcherCounters { waiting: state.waiting() as u64, ..state.counters };
        drop(state);
        let Outcomes { done, failed, latency, longest: longest_latency } =
            *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        BatcherCounters { done, failed, latency, longest_latency, ..counters }
    }

    /// A request of inputs that were checked: at least one, each with rows.
    pub(super) fn request(&self, inputs: &[HostTensor], promise: Promise) -> Request {
        let (rows, outcomes) = (inputs[0].shape()[0], self.outcomes.clone());
        Request { inputs: inputs.to_vec(), rows, promise, since: Instant::now(), outcomes }
    }

    /// # Errors
    /// [`ErrorKind::QueueFull`].
    pub(super) fn push(&self, request: Request) -> Result<()> {
        let mut state = self.lock();
        let most = self.limits.requests;
        let full = |state: &State| state.waiting() >= most;
        // Dropped without the lock: the memory of tensors may be the callers' own, with code of theirs.
        let withdrawn = if full(&state) { state.remove_withdrawn() } else { Vec::new() };
        let refused = match full(&state) {
            true => {
                state.counters.refused += 1;
                Some(request)
            }
            false => {
                match state.groups.iter_mut().find(|group| group[0].fits(&request)) {
                    Some(group) => group.push_back(request),
                    None => state.groups.push(VecDeque::from([request])),
                }
                None
            }
        };
        drop(state);
        drop(withdrawn);
        if refused.is_some() {
            let text = format!("{most} requests wait already");
            return Err(Error::new(ErrorKind::QueueFull, text));
        }
        self.changed.notify_one();
        Ok(())
    }

    /// From now on nothing waits for others.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for a batch. None when the queue has ended and is empty.
    pub(super) fn take(&self) -> Option<Vec<Request>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(i) = state.ripe(&self.limits, now) {
                let (batch, withdrawn) = state.remove(i, self.limits.rows);
                let others = !state.groups.is_empty();
                drop(state);
                // As in `push`.
                drop(withdrawn);
                if batch.is_empty() {
                    state = self.lock();
                    continue;
                }
                if others {
                    // Somebody must watch over them meanwhile.
                    self.changed.notify_one();
                }
                return Some(batch);
            }
            if state.ended {
                return None;
            }
            state = match state.groups.iter().map(|group| group[0].since).min() {
                Some(oldest) => {
                    let left = self.limits.delay.saturating_sub(now - oldest);
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl State {
    fn waiting(&self) -> usize {
        self.groups.iter().map(VecDeque::len).sum()
    }

    /// The requests that nobody wants any more.
    fn remove_withdrawn(&mut self) -> Vec<Request> {
        let mut withdrawn = Vec::new();
        for group in &mut self.groups {
            let (wanted, others) = mem::take(group).into_iter().partition(Request::is_wanted);
            *group = wanted;
            withdrawn.extend::<VecDeque<_>>(others);
        }
        self.groups.retain(|group| !group.is_empty());
        self.counters.withdrawn += withdrawn.len() as u64;
        withdrawn
    }

    /// Of the groups that wait no longer, the one whose first request is the oldest.
    fn ripe(&self, limits: &Limits, now: Instant) -> Option<usize> {
        let is_ripe = |group: &VecDeque<Request>| {
            let waited = now.saturating_duration_since(group[0].since);
            let rows = group.iter().map(|request| request.rows).sum::<usize>();
            self.ended || waited >= limits.delay || rows >= limits.rows
        };
        let groups = self.groups.iter().enumerate().filter(|(_, group)| is_ripe(group));
        groups.min_by_key(|(_, group)| group[0].since).map(|(i, _)| i)
    }

    /// The first requests of a group, as many as fit into a batch, and apart from them those that nobody wants any more.
    fn remove(&mut self, group: usize, most: usize) -> (Vec<Request>, Vec<Request>) {
        let (mut batch, mut withdrawn) = (Vec::new(), Vec::new());
        let mut rows = 0;
        while let Some(next) = self.groups[group].pop_front_if(|next| rows + next.rows <= most) {
            if next.is_wanted() {
                rows += next.rows;
                batch.push(next);
            } else {
                withdrawn.push(next);
            }
        }
        if self.groups[group].is_empty() {
            self.groups.swap_remove(group);
        }
        self.counters.withdrawn += withdrawn.len() as u64;
        if !batch.is_empty() {
            self.counters.batches += 1;
            self.counters.requests += batch.len() as u64;
            self.counters.rows += rows as u64;
        }
        (batch, withdrawn)
    }
}
