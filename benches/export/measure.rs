//! Time and memory of an export, and of writing the parameters of a module to a file. Models and limits
//! are with those who measure.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use accelerant::burn::BurnTensors;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;

/// Counts the bytes in use, and the most there ever were.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    let now = IN_USE.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(now, Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller's promises are those of this function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may exist for a moment.
        grown(size);
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        IN_USE.fetch_sub(layout.size(), Relaxed);
        moved
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that `f` had in use at once, beyond what was in use before.
pub(crate) fn peak<T>(f: impl FnOnce() -> T) -> (usize, T) {
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = f();
    (PEAK.load(Relaxed) - before, result)
}

pub(crate) fn median(mut f: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// Writes the parameters of a module one after the other, as durably as a model is saved.
pub(crate) fn write_parameters(module: &impl Module, path: &Path) {
    struct Writer(File);
    impl Writer {
        fn write(&mut self, tensor: impl BurnTensors) {
            let mut host = Vec::new();
            tensor.into_host(&mut host).expect("CPU tensors can be read");
            self.0.write_all(host[0].bytes()).expect("a parameter is written");
        }
    }
    impl ModuleVisitor for Writer {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.write(param.val());
        }
    }
    let mut writer = Writer(File::create(path).expect("a file is made"));
    module.visit(&mut writer);
    writer.0.sync_all().expect("the file is synchronized");
}

/// Writes bytes that lie in memory already, as durably.
pub(crate) fn write_bytes<'a>(pieces: impl Iterator<Item = &'a [u8]>, path: &Path) {
    let mut file = File::create(path).expect("a file is made");
    for piece in pieces {
        file.write_all(piece).expect("the bytes are written");
    }
    file.sync_all().expect("the file is synchronized");
}
