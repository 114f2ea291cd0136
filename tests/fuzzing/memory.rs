//! An allocator that knows the most that was taken, and gives no more than a limit: what asks for more ends the process,
//! as it would on a machine without so much.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

struct Bounded;

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed).saturating_add(layout.size());
        if live > LIMIT.load(Relaxed) {
            LIVE.fetch_sub(layout.size(), Relaxed);
            return ptr::null_mut();
        }
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: as it was asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: it came from there.
        unsafe { System.dealloc(at, layout) }
    }
}

/// From now on no more than `bytes` more than there is.
pub(crate) fn limit(bytes: usize) {
    let live = LIVE.load(Relaxed);
    PEAK.store(live, Relaxed);
    LIMIT.store(live.saturating_add(bytes), Relaxed);
}

/// Memory of the process that was touched since the last call, also by libraries: the most at a time, in bytes.
pub(crate) fn touched() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<usize>().ok());
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    kib.unwrap_or(0) << 10
}
