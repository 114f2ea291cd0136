//! Which execution gets which context: a bounded number of slots, made when they are needed, each
//! in the hands of one thread at a time and only while it enqueues.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::slot::Slot;
use crate::error::{ErrorKind, Result};

/// The slots that nobody holds, and how many there are in all.
pub(super) struct Pool {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    /// The one that was given back longest ago first.
    free: Vec<Slot>,
    made: usize,
    max: usize,
}

/// Which slot somebody would like.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Wish {
    /// For work on a stream, by its id: the one that worked there last, which waits for nothing.
    Stream(u64),
    /// For work that is waited for: one that is idle.
    Idle,
    /// For a question about shapes: any, and no new one if there is one.
    Any,
}

impl Pool {
    /// An empty pool of at most `max` slots, at least 1.
    pub(super) fn new(max: usize) -> Self {
        let state = State { free: Vec::new(), made: 0, max: max.max(1) };
        Self { state: Mutex::new(state), freed: Condvar::new() }
    }

    /// The most slots there will be.
    pub(super) fn max(&self) -> usize {
        self.lock().max
    }

    /// The slot that was wished for; else one that is idle; else a new one; else the one whose work
    /// is the oldest. Blocks only while all of them are in the hands of other threads.
    ///
    /// # Errors
    /// Those of `make`. A device that has no memory for another slot makes do with those it has.
    pub(super) fn lease(&self, wish: Wish, make: impl Fn() -> Result<Slot>) -> Result<Lease<'_>> {
        loop {
            let others = match self.choose(wish) {
                Ok(slot) => {
                    return Ok(Lease { pool: self, slot: Some(slot), keep: true });
                }
                Err(others) => others,
            };
            // Gives the place back if making the slot fails.
            let mut lease = Lease { pool: self, slot: None, keep: false };
            match make() {
                Ok(slot) => {
                    lease.slot = Some(slot);
                    lease.keep = true;
                    return Ok(lease);
                }
                Err(e) if others > 0 && e.kind() == ErrorKind::Device => {
                    tracing::warn!(
                        target: "accelerant::tensorrt",
                        "{others} contexts must do, another one cannot be made: {e}"
                    );
                    self.lock().max = others;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// A slot that there is; else a place for a new one was reserved, and there are so many others.
    fn choose(&self, wish: Wish) -> Result<Slot, usize> {
        let mut state = self.lock();
        loop {
            let State { free, made, max } = &mut *state;
            let wished = match wish {
                Wish::Stream(id) => free.iter().rposition(|slot| slot.last_user() == Some(id)),
                Wish::Idle => None,
                Wish::Any => free.len().checked_sub(1),
            };
            let found = wished.or_else(|| free.iter_mut().position(|slot| slot.is_idle()));
            if let Some(i) = found {
                return Ok(free.remove(i));
            }
            if made < max {
                *made += 1;
                return Err(*made - 1);
            }
            if !free.is_empty() {
                return Ok(free.remove(0));
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes all slots that nobody holds.
    pub(super) fn take(&self) -> Vec<Slot> {
        std::mem::take(&mut self.lock().free)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could leave it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot out of the pool. It goes back unless it was [doubted](Self::doubt) last.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    slot: Option<Slot>,
    keep: bool,
}

impl Lease<'_> {
    /// The slot, for what may fail without harm to it.
    pub(super) fn slot(&mut self) -> Option<&mut Slot> {
        self.slot.as_mut()
    }

    /// The slot, which is thrown away unless [`trust`](Self::trust) is called: after a failure
    /// nobody knows what the context still does.
    pub(super) fn doubt(&mut self) -> Option<&mut Slot> {
        self.keep = false;
        self.slot()
    }

    pub(super) fn trust(mut self) {
        self.keep = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let slot = self.slot.take();
        let (kept, dropped) = if self.keep { (slot, None) } else { (None, slot) };
        // Outside the lock: it waits for the device.
        drop(dropped);
        let mut state = self.pool.lock();
        match kept {
            Some(slot) => state.free.push(slot),
            None => state.made -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}
