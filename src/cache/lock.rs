//! One process at a time for a key: how long others wait, and who may stop them.

use std::{
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::error::Result;
pub(super) use crate::files::FileLock as KeyLock;
use crate::progress::{self, Phase};

/// What waiting for a lock came to.
#[derive(Debug)]
pub(super) enum Waited {
    /// It is held now; whether somebody else held it before.
    Held { lock: KeyLock, waited: bool },
    /// Somebody else still holds it.
    TooLong,
    /// There are no locks here: the folder cannot be written, or its file system has none.
    Impossible(io::Error),
}

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Takes the lock, waiting at most so long while others hold it.
///
/// # Errors
/// [`Cancelled`](crate::ErrorKind::Cancelled) when the progress callback stops the wait.
pub(super) fn acquire(path: &Path, longest: Duration) -> Result<Waited> {
    match attempt(path) {
        Ok(Some(lock)) => return Ok(Waited::Held { lock, waited: false }),
        Ok(None) => {}
        Err(e) => return Ok(Waited::Impossible(e)),
    }
    progress::phase(Phase::Wait, || {
        let (start, mut pause) = (Instant::now(), FIRST_PAUSE);
        let recorder = progress::current();
        loop {
            if start.elapsed() >= longest {
                return Ok(Waited::TooLong);
            }
            thread::sleep(pause.min(longest.saturating_sub(start.elapsed())));
            pause = (2 * pause).min(LONGEST_PAUSE);
            match attempt(path) {
                Ok(Some(lock)) => return Ok(Waited::Held { lock, waited: true }),
                Ok(None) => {}
                Err(e) => return Ok(Waited::Impossible(e)),
            }
            let goes_on = recorder.as_ref().is_none_or(|recorder| {
                let seconds = start.elapsed().as_secs() as usize;
                recorder.step(Phase::Wait, "seconds", seconds, 0)
            });
            if !goes_on {
                return Err(progress::stopped());
            }
        }
    })
}

/// Takes the lock if nobody has it.
pub(super) fn attempt(path: &Path) -> io::Result<Option<KeyLock>> {
    KeyLock::attempt(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_of_one_and_free_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let lock = attempt(&path).unwrap().unwrap();
        assert!(attempt(&path).unwrap().is_none());
        let short = Duration::from_millis(20);
        assert!(matches!(acquire(&path, short).unwrap(), Waited::TooLong));
        let waiting = thread::spawn({
            let path = path.clone();
            move || acquire(&path, Duration::from_secs(60)).unwrap()
        });
        thread::sleep(short);
        drop(lock);
        assert!(matches!(waiting.join().unwrap(), Waited::Held { waited: true, .. }));
    }

    #[test]
    fn where_no_lock_can_be_made_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let none = folder.path().join("none/key.lock");
        assert!(matches!(acquire(&none, Duration::ZERO).unwrap(), Waited::Impossible(_)));
    }
}
