//! Generations for asynchronous code: a thread of its own computes, and a stream gives what it has. No async runtime.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;

use futures_core::Stream;

use crate::error::{Error, ErrorKind, Result};

/// Items that nobody has taken yet. With more the thread waits.
const AHEAD: usize = 32;

/// A generation as a stream for async code, with any async runtime. [`Generation::into_stream`](super::Generation::into_stream)
/// and [`TextGeneration::into_stream`](super::TextGeneration::into_stream) return streams. The first poll starts a thread, which
/// generates up to 32 items ahead. Dropping the stream ends the generation before the next token.
pub struct GenerationStream<T> {
    shared: Arc<Shared<T>>,
    /// What has not begun.
    waiting: Option<Box<dyn Iterator<Item = Result<T>> + Send>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// An item was taken, or nobody takes one any more.
    taken: Condvar,
}

struct State<T> {
    items: VecDeque<Result<T>>,
    ended: bool,
    gone: bool,
    waker: Option<Waker>,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an item. False where nobody takes one any more.
    fn give(&self, item: Result<T>) -> bool {
        let mut state = self.state();
        while state.items.len() >= AHEAD && !state.gone {
            state = self.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.items.push_back(item);
        let (waker, goes_on) = (state.waker.take(), !state.gone);
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        goes_on
    }

    fn is_gone(&self) -> bool {
        self.state().gone
    }
}

/// Tells the end of a thread, whatever ends it.
struct Ending<T>(Arc<Shared<T>>);

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        if thread::panicking() {
            let text = "the thread that generates has panicked";
            state.items.push_back(Err(Error::new(ErrorKind::Execution, text)));
        }
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl<T: Send + 'static> GenerationStream<T> {
    pub(super) fn of(items: impl Iterator<Item = Result<T>> + Send + 'static) -> Self {
        let state = State { items: VecDeque::new(), ended: false, gone: false, waker: None };
        let shared = Shared { state: Mutex::new(state), taken: Condvar::new() };
        Self { shared: Arc::new(shared), waiting: Some(Box::new(items)) }
    }

    /// Begins on a thread.
    fn begin(&mut self) -> Result<()> {
        let Some(mut items) = self.waiting.take() else { return Ok(()) };
        let ending = Ending(self.shared.clone());
        let generate = move || {
            let ending = ending;
            while !ending.0.is_gone() {
                let Some(item) = items.next() else { break };
                if !ending.0.give(item) {
                    break;
                }
            }
            // The caches are free before the end is told.
            drop(items);
        };
        let thread = thread::Builder::new().name("accelerant-generate".into()).spawn(generate);
        let failed =
            |e| Error::new(ErrorKind::Execution, "no thread to generate on").with_source(e);
        thread.map(drop).map_err(failed)
    }
}

impl<T: Send + 'static> Stream for GenerationStream<T> {
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<T>>> {
        let this = self.get_mut();
        if let Err(error) = this.begin() {
            return Poll::Ready(Some(Err(error)));
        }
        // Cloned and dropped outside of the lock: a waker is the caller's code.
        let waker = context.waker().clone();
        let mut state = this.shared.state();
        if let Some(item) = state.items.pop_front() {
            drop(state);
            this.shared.taken.notify_one();
            return Poll::Ready(Some(item));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        let before = state.waker.replace(waker);
        drop(state);
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for GenerationStream<T> {
    fn drop(&mut self) {
        self.shared.state().gone = true;
        self.shared.taken.notify_one();
    }
}

impl<T> fmt::Debug for GenerationStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state();
        write!(f, "GenerationStream({} ahead, ended: {})", state.items.len(), state.ended)
    }
}
