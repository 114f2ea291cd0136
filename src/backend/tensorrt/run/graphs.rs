//! Executions as CUDA graphs: what was captured, for which addresses, and when it pays to capture.
//! The capture itself is the slot's, which has the context.

use std::fmt;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::captures::capturing;
use super::queue::Queue;
use crate::backend::tensorrt::ffi::device_error;
use crate::error::{Error, Result};

/// How many graphs a context keeps. A loop that holds on to the last few outputs meets as many
/// addresses, and so does each thread that uses the context; a graph takes some hundred kilobytes.
const KEPT: usize = 64;

/// The longest pause after captures that failed, as a power of two: so many executions.
const LONGEST_PAUSE: u32 = 16;

/// An execution that the device can repeat, at the addresses that it was captured with.
pub(crate) struct Graph {
    executable: sys::CUgraphExec,
    device: Arc<CudaContext>,
}

// SAFETY: bound to no thread; a slot uses it from one thread at a time.
unsafe impl Send for Graph {}

/// Why a capture gave no graph. Nothing was executed, and the stream is as it was.
#[derive(Debug)]
pub(crate) enum NoGraph {
    /// Other threads load, and nothing was tried.
    Loading,
    /// CUDA ended the capture, for a call that waits for the whole device: of another thread, or of the execution.
    Broken(Error),
    /// The device has no room for the graph, or the execution fails by itself.
    Failed(Error),
}

impl NoGraph {
    fn of(what: &str, error: DriverError) -> Self {
        let number = error.0 as u32;
        let told = device_error(what, error);
        // From `CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED` to `CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD`.
        if (900..=908).contains(&number) { Self::Broken(told) } else { Self::Failed(told) }
    }
}

impl fmt::Display for NoGraph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loading => f.write_str("other threads load"),
            Self::Broken(e) | Self::Failed(e) => e.fmt(f),
        }
    }
}

impl Graph {
    /// Captures what `enqueue` gives to `queue`. Unless kernels may overlap, each waits for the end of those
    /// that it comes after, also where they were launched to start earlier. Other threads that load are waited for as
    /// long as `patience`.
    ///
    /// # Safety
    /// The device must be bound, and `queue` a stream of it that nobody else uses and that is no
    /// default stream.
    pub(crate) unsafe fn capture(
        device: &Arc<CudaContext>,
        queue: Queue,
        overlap: bool,
        patience: Duration,
        enqueue: impl FnOnce() -> Result<()>,
    ) -> Result<Self, NoGraph> {
        let _alone = capturing(patience).ok_or(NoGraph::Loading)?;
        // Other threads may go on allocating meanwhile; what this one does must be capturable.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the caller's promise.
        unsafe { result::stream::begin_capture(queue.raw(), mode) }
            .map_err(|e| NoGraph::of("a capture cannot be started", e))?;
        let enqueued = enqueue();
        // Also after a failure: only this ends the capture.
        // SAFETY: as above.
        let graph = unsafe { result::stream::end_capture(queue.raw()) };
        // CUDA's number says whether the capture was broken. If it was, what the library says follows from that.
        let graph = graph.map_err(|e| NoGraph::of("the execution cannot be captured", e))?;
        // SAFETY: just made, and not needed any more once it is instantiated.
        let executable = unsafe {
            let made = match enqueued {
                Ok(()) => instantiate(graph, overlap)
                    .map_err(|e| NoGraph::of("a graph cannot be instantiated", e)),
                // A graph of half an execution.
                Err(e) => Err(NoGraph::Failed(e)),
            };
            let _ = result::graph::destroy(graph);
            made
        }?;
        Ok(Self { executable, device: device.clone() })
    }

    /// Enqueues it.
    ///
    /// # Safety
    /// The memory that was captured must be there, as for the execution itself; the device must be
    /// bound, and executions of one graph must be ordered.
    pub(crate) unsafe fn launch(&self, queue: Queue) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { result::graph::launch(self.executable, queue.raw()) }
            .map_err(|e| device_error("a graph cannot be launched", e))
    }
}

/// # Safety
/// It must be a graph that nobody else uses.
unsafe fn instantiate(graph: sys::CUgraph, overlap: bool) -> Result<sys::CUgraphExec, DriverError> {
    // SAFETY: the caller's promise.
    unsafe {
        if !overlap {
            wait_for_ends(graph)?;
        }
        result::graph::instantiate(graph, sys::CUgraphInstantiate_flags(0))
    }
}

/// Replaces the dependencies of a graph by which a kernel may start before the one that it depends on has ended.
///
/// # Safety
/// It must be a graph that nobody else uses.
unsafe fn wait_for_ends(graph: sys::CUgraph) -> Result<(), DriverError> {
    let mut count = 0;
    // SAFETY: without room for edges it tells how many there are.
    unsafe {
        sys::cuGraphGetEdges_v2(
            graph,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut count,
        )
    }
    .result()?;
    if count == 0 {
        // A single kernel. CUDA refuses to write no edges.
        return Ok(());
    }
    let (mut from, mut to) = (vec![ptr::null_mut(); count], vec![ptr::null_mut(); count]);
    let plain = sys::CUgraphEdgeData { from_port: 0, to_port: 0, type_: 0, reserved: [0; 5] };
    let mut edges = vec![plain; count];
    let (to_from, to_to, to_edges) = (from.as_mut_ptr(), to.as_mut_ptr(), edges.as_mut_ptr());
    // SAFETY: room for as many as there are.
    unsafe { sys::cuGraphGetEdges_v2(graph, to_from, to_to, to_edges, &mut count) }.result()?;
    for ((from, to), edge) in from.iter().zip(&to).zip(&edges) {
        if *edge == plain {
            continue;
        }
        // SAFETY: one edge of this graph, as it was told; then one between the same nodes.
        unsafe {
            sys::cuGraphRemoveDependencies_v2(graph, from, to, edge, 1).result()?;
            sys::cuGraphAddDependencies_v2(graph, from, to, &plain, 1).result()?;
        }
    }
    Ok(())
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.device.bind_to_thread().is_ok() {
            // An execution that is on its way is finished first, by the driver.
            // SAFETY: it is not used any more.
            let _ = unsafe { result::graph::exec_destroy(self.executable) };
        }
    }
}

/// When executions are captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Never,
    /// When their addresses come back.
    Again,
    /// As `Again`, and kernels may not overlap: an execution at other addresses works on memory of the context's own,
    /// whose addresses are captured at once.
    Always,
}

/// What to do with an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextRun {
    /// Enqueue it as it is.
    Plain,
    /// Capture it, since its addresses came back, and [keep](Recent::keep) the graph.
    Capture,
    /// Launch what was captured, which is [there](Recent::current).
    Launch,
}

/// Graphs by the addresses they were captured with, those of the last few executions.
///
/// Addresses are captured when they are met for the second time: the first execution at new shapes
/// loads kernels, and addresses that never come back are not worth a graph.
///
/// A capture may fail for what others do meanwhile, such as waiting for the whole device. It is tried
/// again after a pause, which is doubled each time: what can never be captured costs little then.
pub(crate) struct Recent<G> {
    wanted: Wanted,
    /// Captures that failed since the last that did not.
    failures: u32,
    /// So many captures are passed over.
    pause: u32,
    /// The one used last comes last.
    met: Vec<(Box<[u64]>, Option<G>)>,
}

impl<G> Recent<G> {
    pub(crate) fn new(wanted: Wanted) -> Self {
        Self { wanted, failures: 0, pause: 0, met: Vec::new() }
    }

    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Forgets all: the context was told other shapes.
    pub(crate) fn clear(&mut self) {
        self.met.clear();
    }

    /// Passes over captures for a while: one has failed. Gives how many have in a row.
    pub(crate) fn failed(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        self.pause = 1 << self.failures.min(LONGEST_PAUSE);
        self.failures
    }

    /// What to do with an execution at these addresses. Those that are `lasting` come back for sure.
    pub(crate) fn step(&mut self, addresses: &[u64], lasting: bool) -> NextRun {
        if self.wanted == Wanted::Never {
            return NextRun::Plain;
        }
        match self.met.iter().rposition(|(known, _)| **known == *addresses) {
            Some(i) => {
                // Those met last are at the end, so this moves few.
                self.met[i..].rotate_left(1);
                if self.current().is_some() {
                    NextRun::Launch
                } else if self.pause > 0 && !lasting {
                    self.pause -= 1;
                    NextRun::Plain
                } else {
                    NextRun::Capture
                }
            }
            None => {
                if self.met.len() == KEPT {
                    self.met.remove(0);
                }
                self.met.push((addresses.into(), None));
                if lasting { NextRun::Capture } else { NextRun::Plain }
            }
        }
    }

    /// Keeps the graph of the addresses that were met last.
    pub(crate) fn keep(&mut self, graph: G) {
        self.failures = 0;
        if let Some((_, kept)) = self.met.last_mut() {
            *kept = Some(graph);
        }
    }

    /// The graph of the addresses that were met last.
    pub(crate) fn current(&self) -> Option<&G> {
        self.met.last()?.1.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One execution: 'p'lain, 'c'aptured, or the graph that was launched.
    fn run(recent: &mut Recent<u64>, address: u64) -> String {
        match recent.step(&[address, 1], false) {
            NextRun::Plain => "p".into(),
            NextRun::Capture => {
                recent.keep(address);
                "c".into()
            }
            NextRun::Launch => recent.current().map(u64::to_string).unwrap_or_default(),
        }
    }

    fn all(recent: &mut Recent<u64>, addresses: impl IntoIterator<Item = u64>) -> String {
        addresses.into_iter().map(|address| run(recent, address)).collect()
    }

    #[test]
    fn what_comes_back_is_captured_and_then_launched() {
        let recent = &mut Recent::new(Wanted::Again);
        assert_eq!(all(recent, [3, 4, 3, 4, 3, 4, 4, 3]), "ppcc3443");
    }

    #[test]
    fn as_many_as_are_kept_are_all_launched_and_one_more_is_never_captured() {
        let cycle = |n: usize| 0..n as u64;
        let thrice = |n: usize| cycle(n).chain(cycle(n)).chain(cycle(n));
        let graphs: String = cycle(KEPT).map(|graph| graph.to_string()).collect();
        let expected = ["p".repeat(KEPT), "c".repeat(KEPT), graphs].concat();
        assert_eq!(all(&mut Recent::new(Wanted::Again), thrice(KEPT)), expected);
        assert_eq!(
            all(&mut Recent::new(Wanted::Again), thrice(KEPT + 1)),
            "p".repeat(3 * (KEPT + 1))
        );
    }

    #[test]
    fn the_one_not_used_for_longest_makes_room() {
        let recent = &mut Recent::new(Wanted::Again);
        let kept = KEPT as u64;
        all(recent, (0..kept).chain(0..kept));
        // 0 is used, so 1 goes.
        assert_eq!(all(recent, [0, kept, 0, 2, 1]), "0p02p");
    }

    #[test]
    fn other_shapes_forget_everything() {
        let recent = &mut Recent::new(Wanted::Again);
        all(recent, [5, 5]);
        recent.clear();
        assert_eq!(all(recent, [5, 5, 5]), "pc5");
        assert_eq!(all(&mut Recent::new(Wanted::Never), [5, 5, 5]), "ppp");
    }

    #[test]
    fn lasting_addresses_are_captured_at_once_and_without_pauses() {
        let recent = &mut Recent::new(Wanted::Always);
        assert_eq!(all(recent, [3, 4]), "pp");
        for _ in 0..3 {
            assert_eq!(recent.step(&[6, 1], true), NextRun::Capture);
            recent.failed();
        }
        assert_eq!(all(recent, [3, 4]), "pp");
        assert_eq!(recent.step(&[6, 1], true), NextRun::Capture);
        recent.keep(6);
        assert_eq!(recent.step(&[6, 1], true), NextRun::Launch);
        assert_eq!(all(recent, [6]), "6");
    }

    #[test]
    fn a_capture_that_failed_is_tried_again_after_ever_longer_pauses() {
        let recent = &mut Recent::new(Wanted::Again);
        assert_eq!(all(recent, [7, 7, 5]), "pcp");
        let mut pauses = Vec::new();
        for _ in 0..20 {
            let mut pause = 0;
            while recent.step(&[5, 1], false) == NextRun::Plain {
                pause += 1;
                // What was captured before is launched all the same.
                assert_eq!(run(recent, 7), "7");
            }
            recent.failed();
            pauses.push(pause);
        }
        assert_eq!(pauses[..5], [0, 2, 4, 8, 16]);
        assert_eq!(pauses[16..], [1 << LONGEST_PAUSE; 4]);
        // One that succeeds begins anew.
        recent.pause = 0;
        assert_eq!(all(recent, [5, 5, 6]), "c5p");
        assert_eq!(recent.step(&[6, 1], false), NextRun::Capture);
        recent.failed();
        assert_eq!(all(recent, [6, 6, 6, 6]), "ppc6");
    }
}
