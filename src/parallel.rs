//! The same work for many things on all cores, with threads of its own: those of a pool that a program shares may all be
//! waiting for the caller.

use std::{
    panic::resume_unwind,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// More threads do not copy or hash memory faster.
const MOST_THREADS: usize = 16;

/// How many threads work that is all memory is worth. Asking the system reads files each time, so that it is asked once.
pub(crate) fn threads() -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    let ask = || thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    *THREADS.get_or_init(ask)
}

/// What `work` gives for each of `items`, in their order.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            match items.get(i) {
                Some(item) => done.push((i, work(item))),
                None => return done,
            }
        }
    };
    let mut done = thread::scope(|scope| {
        // This thread is one of them, and does all where the system gives no other.
        let others = 1..threads().min(items.len());
        let others = others.map_while(|_| thread::Builder::new().spawn_scoped(scope, some).ok());
        let others: Vec<_> = others.collect();
        let mut done = some();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        for count in [0, 1, 2, 1000] {
            let items: Vec<usize> = (0..count).collect();
            let expected: Vec<usize> = items.iter().map(|i| i * i).collect();
            assert_eq!(map(&items, |i| i * i), expected);
        }
    }

    #[test]
    fn a_panic_is_the_callers() {
        let all: Vec<usize> = (0..100).collect();
        let panics = std::panic::catch_unwind(|| map(&all, |i| assert!(*i < 50, "too much")));
        assert!(panics.is_err());
    }
}
