//! Who may use the library while an execution is captured: nobody. Knows nothing of graphs.
//!
//! An execution of TensorRT-RTX 1.6.1 that records an event while another context is captured crashes
//! the driver, as if the contexts shared events; and CUDA refuses some of what loading does to other threads
//! while one captures.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread;
use std::time::{Duration, Instant};

static CAPTURES: RwLock<()> = RwLock::new(());

/// How many threads load: engines, contexts, kernels for new shapes. That may take long.
static LOADING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How often this thread holds `CAPTURES` shared. The lock is taken for the first alone, which must end
    /// last: a thread that took it twice would wait for itself once a capture waits.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Held while the library is given work that is not captured.
pub(super) struct NotCaptured(#[allow(dead_code)] Option<RwLockReadGuard<'static, ()>>);

/// Waits for the end of a capture.
pub(super) fn not_captured() -> NotCaptured {
    let first = HELD.get() == 0;
    let guard = first.then(|| CAPTURES.read().unwrap_or_else(PoisonError::into_inner));
    HELD.set(HELD.get() + 1);
    NotCaptured(guard)
}

impl Drop for NotCaptured {
    fn drop(&mut self) {
        HELD.set(HELD.get() - 1);
    }
}

/// Held while something is loaded or unloaded, which may take long.
pub(super) struct Loading(#[allow(dead_code)] NotCaptured);

/// Waits for the end of a capture, and has captures wait, but not executions.
pub(super) fn loading() -> Loading {
    LOADING.fetch_add(1, Ordering::SeqCst);
    Loading(not_captured())
}

impl Drop for Loading {
    fn drop(&mut self) {
        LOADING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The only one to use the library, to capture; `None` when others load for longer than `patience`.
///
/// What is loading is not waited for by the lock, which would keep others from executing meanwhile.
pub(super) fn capturing(patience: Duration) -> Option<RwLockWriteGuard<'static, ()>> {
    debug_assert_eq!(HELD.get(), 0, "it would wait for itself");
    let start = Instant::now();
    while LOADING.load(Ordering::SeqCst) > 0 {
        if start.elapsed() >= patience {
            return None;
        }
        thread::sleep(Duration::from_micros(50));
    }
    Some(CAPTURES.write().unwrap_or_else(PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    use super::*;

    /// The lock is the process's, and so are these tests'.
    static ALONE: Mutex<()> = Mutex::new(());

    #[test]
    fn a_thread_that_loads_may_execute() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let outer = loading();
        let (send, captured) = channel();
        let capture = thread::spawn(move || {
            let _capturing = CAPTURES.write();
            send.send(()).unwrap();
        });
        thread::sleep(Duration::from_millis(20));
        // Also while a capture waits, which still does after they ended.
        drop((not_captured(), loading()));
        assert!(captured.recv_timeout(Duration::from_millis(20)).is_err());
        drop(outer);
        capture.join().unwrap();
        assert_eq!((HELD.get(), LOADING.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn a_capture_waits_for_what_loads_and_others_execute_meanwhile() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let loads = loading();
        assert!(thread::spawn(|| capturing(Duration::ZERO).is_none()).join().unwrap());
        let (send, captured) = channel();
        let capture = thread::spawn(move || {
            let _capturing = capturing(Duration::from_secs(60)).unwrap();
            send.send(()).unwrap();
        });
        for _ in 0..20 {
            thread::spawn(|| drop(not_captured())).join().unwrap();
        }
        assert!(captured.try_recv().is_err());
        drop(loads);
        captured.recv_timeout(Duration::from_secs(60)).unwrap();
        capture.join().unwrap();
    }

    #[test]
    fn nobody_loads_or_executes_during_a_capture() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let capturing = capturing(Duration::from_secs(60)).unwrap();
        let (send, done) = channel();
        let others: [fn(); 2] = [|| drop(loading()), || drop(not_captured())];
        let others = others.map(|other| {
            let send = send.clone();
            thread::spawn(move || {
                other();
                send.send(()).unwrap();
            })
        });
        assert!(done.recv_timeout(Duration::from_millis(50)).is_err());
        drop(capturing);
        for other in others {
            other.join().unwrap();
        }
        assert_eq!(done.try_iter().count(), 2);
    }
}
