//! One process at a time for a key, by a lock of the operating system on a file: the lock of a process that dies is
//! free at once.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::error::Result;
use crate::progress::{self, Phase};

/// Held until it is dropped.
#[derive(Debug)]
pub(super) struct KeyLock(#[expect(dead_code, reason = "closing the file frees the lock")] File);

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
    loop {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        // Whoever held it before may have removed the file, and another process have made a new one.
        if is_at(&file, path)? {
            return Ok(Some(KeyLock(file)));
        }
    }
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let ours = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A file that is open cannot be removed.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> io::Result<bool> {
    Ok(true)
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
    fn a_lock_on_a_file_that_was_removed_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let old = attempt(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = attempt(&path).unwrap().expect("the file of the old one is gone");
        drop(old);
        assert!(attempt(&path).unwrap().is_none());
        drop(new);
        let none = folder.path().join("none/key.lock");
        assert!(matches!(acquire(&none, Duration::ZERO).unwrap(), Waited::Impossible(_)));
    }
}
