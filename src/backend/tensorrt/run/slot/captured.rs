//! Executions as CUDA graphs: when one is captured, and what becomes of one that cannot be.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Slot;
use crate::backend::tensorrt::run::apart;
use crate::backend::tensorrt::run::counters::Counters;
use crate::backend::tensorrt::run::graphs::{Graph, NextRun, NoGraph, Wanted};
use crate::backend::tensorrt::run::queue::Queue;
use crate::error::Result;

/// After so many captures in a row that failed the user is warned: one or two may be others' doing.
const FAILURES_TOLD: u32 = 3;

/// A capture that other threads break is tried again for so long, if the engine was captured before.
const PATIENCE: Duration = Duration::from_secs(3);

/// And for so long if it never was.
const FIRST_PATIENCE: Duration = Duration::from_millis(500);

/// What other threads load is waited for so long.
const LOADS: Duration = Duration::from_secs(60);

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

impl Slot {
    /// Whether there is a graph for these shapes and addresses, which is captured if they came back.
    pub(super) fn has_graph(&mut self, counters: &Counters) -> bool {
        if self.shapes.computed.contains(&true) {
            // The host has a part in it.
            return false;
        }
        match self.graphs.step(&self.addresses, false) {
            NextRun::Plain => false,
            NextRun::Launch => true,
            NextRun::Capture => match self.capture(Duration::ZERO) {
                Ok(graph) => self.keep(graph, counters),
                // Later, when nobody loads.
                Err(NoGraph::Loading) => false,
                Err(e) => {
                    Counters::count(&counters.graph_refusals);
                    match self.graphs.failed() {
                        FAILURES_TOLD => tracing::warn!(
                            target: "accelerant::tensorrt",
                            "no CUDA graph can be made, executions go without for now: {e}"
                        ),
                        _ => {
                            tracing::debug!(target: "accelerant::tensorrt", "no CUDA graph for now: {e}")
                        }
                    }
                    false
                }
            },
        }
    }

    fn keep(&mut self, graph: Graph, counters: &Counters) -> bool {
        self.graphs.keep(graph);
        Counters::count(&counters.graph_captures);
        true
    }

    fn capture(&mut self, patience: Duration) -> Result<Graph, NoGraph> {
        let queue = apart::stream(self.stream.context(), self.isolated).unwrap_or(self.own);
        let (context, addresses) = (&mut self.context, &self.addresses);
        let (stream, computed) = (queue.raw() as usize, &mut self.computed);
        // TensorRT-RTX 1.6 answers `isStreamCapturable` with no for engines that are: it is tried.
        // SAFETY: our own stream, which only this slot uses, or only the capturing thread. Shapes were set and every tensor has
        // an address; nothing is executed before it is launched.
        unsafe {
            let overlap = self.graphs.wanted() != Wanted::Always;
            let graph = Graph::capture(self.stream.context(), queue, overlap, patience, || {
                context.enqueue(addresses, computed, stream)
            });
            if let Err(NoGraph::Broken(_)) = &graph {
                apart::broken();
            }
            graph
        }
    }

    /// Whether this execution should be a graph in any case. Not where the engine cannot be captured, it seems: one with
    /// a loop may wait for the device in every turn.
    pub(super) fn is_to_be_captured(&self, counters: &Counters) -> bool {
        self.graphs.wanted() == Wanted::Always
            && !self.shapes.computed.contains(&true)
            && !counters.graphs_given_up.load(Ordering::Relaxed)
    }

    /// Captures where kernels may not overlap, and keeps the graph. False when that cannot be.
    ///
    /// # Safety
    /// As `enqueue_on`.
    pub(super) unsafe fn capture_at_once(
        &mut self,
        queue: Queue,
        counters: &Counters,
    ) -> Result<bool> {
        if self.graphs.step(&self.addresses, true) == NextRun::Launch {
            return Ok(true);
        }
        if !self.executed.has(&self.shapes) {
            // The first execution loads kernels, which cannot be captured. What it writes is written again.
            // SAFETY: the caller's promise.
            unsafe { self.enqueue_plainly(queue) }?;
            self.executed.add(&self.shapes);
        }
        // An execution that was captured before is kept from it by other threads alone, which come to an end.
        let before = counters.graph_captures.load(Ordering::Relaxed) > 0;
        let patience = if before { PATIENCE } else { FIRST_PATIENCE };
        let (mut first, mut pause) = (None, Duration::from_micros(50));
        let why = loop {
            let why = match self.capture(LOADS) {
                Ok(graph) => return Ok(self.keep(graph, counters)),
                Err(why) => why,
            };
            Counters::count(&counters.graph_refusals);
            let broken = matches!(why, NoGraph::Broken(_));
            if !broken || first.get_or_insert_with(Instant::now).elapsed() >= patience {
                break why;
            }
            thread::sleep(pause);
            pause = (2 * pause).min(LONGEST_PAUSE);
        };
        // An engine that was never captured, on a stream that nobody else breaks, breaks the capture itself.
        let by_itself = !before && matches!(why, NoGraph::Broken(_));
        if !by_itself {
            tracing::warn!(
                target: "accelerant::tensorrt",
                "kernels wait for each other by events, which is slower than the CUDA graph that cannot be made: {why}"
            );
            self.context.set_serial()?;
        } else if !counters.graphs_given_up.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "accelerant::tensorrt",
                "executed all the same: {why}; kernels of this library overlap on this device and may compute \
                 wrongly (`TensorRtOptions::kernel_overlap`)"
            );
        }
        Ok(false)
    }
}
