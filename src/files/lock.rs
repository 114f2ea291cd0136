//! A lock of the operating system on a file of its own: the lock of a process that dies is free at once.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct FileLock(#[expect(dead_code, reason = "closing the file frees the lock")] File);

impl FileLock {
    /// Takes the lock if nobody has it.
    pub(crate) fn attempt(path: &Path) -> io::Result<Option<Self>> {
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
                return Ok(Some(Self(file)));
            }
        }
    }

    /// Takes the lock, and waits for at most so long while others have it.
    pub(crate) fn within(path: &Path, longest: Duration) -> io::Result<Self> {
        let start = Instant::now();
        loop {
            match Self::attempt(path)? {
                Some(lock) => return Ok(lock),
                None if start.elapsed() < longest => thread::sleep(Duration::from_millis(1)),
                None => {
                    let text = "another process holds the lock";
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
            }
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
    fn a_lock_is_of_one_and_its_waiters_wait_for_so_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let lock = FileLock::attempt(&path).unwrap().unwrap();
        assert!(FileLock::attempt(&path).unwrap().is_none());
        let error = FileLock::within(&path, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let waiting = thread::spawn({
            let path = path.clone();
            move || FileLock::within(&path, Duration::from_secs(60)).map(drop)
        });
        thread::sleep(Duration::from_millis(20));
        drop(lock);
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_is_no_lock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.lock");
        let old = FileLock::attempt(&path).unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
        let new = FileLock::attempt(&path).unwrap().expect("the file of the old one is gone");
        drop(old);
        assert!(FileLock::attempt(&path).unwrap().is_none());
        drop(new);
        assert!(FileLock::within(&folder.path().join("none/key.lock"), Duration::ZERO).is_err());
    }
}
