//! The right to capture: no other thread may use the library while an execution is captured. Knows nothing of graphs.
//!
//! An execution of TensorRT-RTX 1.6.1 that records an event while another context is captured crashes the driver, as if the
//! contexts shared events. CUDA also refuses some of the calls that loading makes while another thread captures.

use std::cell::Cell;
use std::sync::{
    Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

static CAPTURES: RwLock<()> = RwLock::new(());

/// Loads may take long, and captures do not wait for them by [`CAPTURES`], which would keep others from
/// executing meanwhile.
static TURNS: Mutex<Turns> = Mutex::new(Turns { loading: 0, capturing: 0, captured: 0 });
static TURNS_CHANGED: Condvar = Condvar::new();

struct Turns {
    /// How many threads load: engines, contexts, kernels for new shapes.
    loading: usize,
    /// How many capture, or wait until nobody loads.
    capturing: usize,
    /// How many have captured, or given it up.
    captured: u64,
}

fn turns() -> MutexGuard<'static, Turns> {
    TURNS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// How often this thread holds `CAPTURES` shared. The lock is taken for the first alone, which must end
    /// last: a thread that took it twice would wait for itself once a capture waits.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// Held while the library is given work that is not captured.
pub(crate) struct NotCaptured(#[allow(dead_code)] Option<RwLockReadGuard<'static, ()>>);

/// Waits for the end of a capture.
pub(crate) fn not_captured() -> NotCaptured {
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
pub(crate) struct Loading(#[allow(dead_code)] NotCaptured);

/// Waits for the captures that wait already, and has later ones wait, but not executions. What is held meanwhile
/// must not be what another load waits for.
pub(crate) fn loading() -> Loading {
    let mut turns = turns();
    if HELD.get() == 0 {
        let before = turns.captured + turns.capturing as u64;
        let waited = TURNS_CHANGED.wait_while(turns, |turns| turns.captured < before);
        turns = waited.unwrap_or_else(PoisonError::into_inner);
    }
    turns.loading += 1;
    drop(turns);
    Loading(not_captured())
}

impl Drop for Loading {
    fn drop(&mut self) {
        turns().loading -= 1;
        TURNS_CHANGED.notify_all();
    }
}

/// Held by the only one to use the library, to capture.
pub(crate) struct Capturing(Option<RwLockWriteGuard<'static, ()>>);

/// Waits for what others load, and has later loads wait; `None` when they load for longer than `patience`.
pub(crate) fn capturing(patience: Duration) -> Option<Capturing> {
    debug_assert_eq!(HELD.get(), 0, "it would wait for itself");
    let mut turns = turns();
    if patience.is_zero() && turns.loading > 0 {
        return None;
    }
    turns.capturing += 1;
    // Counted until it is dropped.
    let mut capturing = Capturing(None);
    let (turns, waited) = TURNS_CHANGED
        .wait_timeout_while(turns, patience, |turns| turns.loading > 0)
        .unwrap_or_else(PoisonError::into_inner);
    drop(turns);
    if waited.timed_out() {
        return None;
    }
    capturing.0 = Some(CAPTURES.write().unwrap_or_else(PoisonError::into_inner));
    Some(capturing)
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.0 = None;
        let mut turns = turns();
        turns.capturing -= 1;
        turns.captured += 1;
        TURNS_CHANGED.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;

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
        assert_eq!((HELD.get(), turns().loading), (0, 0));
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

    /// Tells that it loads, or executes.
    fn spawned(other: fn()) -> Receiver<()> {
        let (send, done) = channel();
        thread::spawn(move || {
            other();
            send.send(()).unwrap();
        });
        done
    }

    #[test]
    fn a_capture_comes_before_the_loads_that_follow_it() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let first = loading();
        let (send, captured) = channel();
        let (go_on, told) = channel();
        let capture = thread::spawn(move || {
            let capturing = capturing(Duration::from_secs(60)).unwrap();
            send.send(()).unwrap();
            told.recv().unwrap();
            drop(capturing);
        });
        while turns().capturing == 0 {
            thread::yield_now();
        }
        // Others never stop to load.
        let later: Vec<_> = (0..3).map(|_| spawned(|| drop(loading()))).collect();
        let begun = |later: &[Receiver<()>]| later.iter().any(|done| done.try_recv().is_ok());
        thread::sleep(Duration::from_millis(50));
        assert!(!begun(&later) && captured.try_recv().is_err());
        drop(first);
        captured.recv_timeout(Duration::from_secs(60)).unwrap();
        thread::sleep(Duration::from_millis(20));
        assert!(!begun(&later));
        go_on.send(()).unwrap();
        capture.join().unwrap();
        for done in later {
            done.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }

    #[test]
    fn a_capture_that_gives_up_lets_loads_go_on() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let first = loading();
        let capture = thread::spawn(|| capturing(Duration::from_millis(100)).is_none());
        while turns().capturing == 0 {
            thread::yield_now();
        }
        let later = spawned(|| drop(loading()));
        assert!(capture.join().unwrap());
        later.recv_timeout(Duration::from_secs(60)).unwrap();
        drop(first);
        assert!(capturing(Duration::ZERO).is_some());
    }

    #[test]
    fn nobody_loads_or_executes_during_a_capture() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let capturing = capturing(Duration::from_secs(60)).unwrap();
        let others = [spawned(|| drop(loading())), spawned(|| drop(not_captured()))];
        thread::sleep(Duration::from_millis(50));
        assert!(others.iter().all(|done| done.try_recv().is_err()));
        drop(capturing);
        for done in others {
            done.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }
}
