//! The work of an executable so far, counted without locks.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::backend::ExecutionCounters;

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) executions: AtomicU64,
    pub(crate) host_copies: AtomicU64,
    pub(crate) device_copies: AtomicU64,
    pub(crate) staged: AtomicU64,
    pub(crate) reshapes: AtomicU64,
    pub(crate) stream_waits: AtomicU64,
    pub(crate) contexts: AtomicU64,
    pub(crate) graph_launches: AtomicU64,
    pub(crate) graph_captures: AtomicU64,
    pub(crate) graph_refusals: AtomicU64,
    /// Nothing could be captured where all must be, and it is not tried any more.
    pub(crate) graphs_given_up: AtomicBool,
}

impl Counters {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> ExecutionCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ExecutionCounters {
            executions: read(&self.executions),
            host_copies: read(&self.host_copies),
            device_copies: read(&self.device_copies),
            staged: read(&self.staged),
            reshapes: read(&self.reshapes),
            stream_waits: read(&self.stream_waits),
            contexts: read(&self.contexts),
            graph_launches: read(&self.graph_launches),
            graph_captures: read(&self.graph_captures),
            graph_refusals: read(&self.graph_refusals),
        }
    }
}
