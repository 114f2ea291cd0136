//! The folder of a file: synced after a rename, and locked while files in it change together.

use std::{
    fs::{File, TryLockError},
    io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// As long as this another process may hold the lock. A holder renames and removes files, and writes at most a
/// model without its weights.
const PATIENCE: Duration = Duration::from_secs(30);

/// The folder that a file lies in.
pub(super) fn of(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Has the names in a folder reach the disk, where the system and its file system can.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    let unable = |e: &io::Error| {
        use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
        matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported)
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e) if cfg!(unix) && !unable(&e) => Err(e),
        _ => Ok(()),
    }
}

/// One process at a time changes those files of a folder that belong together. Ends when dropped.
pub(crate) struct FolderLock(Option<File>);

impl FolderLock {
    /// Waits for the lock on the folder of `place`.
    ///
    /// # Errors
    /// When another process holds it for half a minute.
    pub(crate) fn of(place: &Path) -> io::Result<Self> {
        let Ok(folder) = File::open(of(place)) else { return Ok(Self(None)) };
        let start = Instant::now();
        loop {
            match folder.try_lock() {
                Ok(()) => return Ok(Self(Some(folder))),
                Err(TryLockError::Error(_)) => return Ok(Self(None)),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(2));
                }
                Err(TryLockError::WouldBlock) => {
                    let text = "another process holds the lock on the folder";
                    return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
                }
            }
        }
    }

    /// Whether there is a lock: not every system locks folders.
    pub(crate) fn is_held(&self) -> bool {
        self.0.is_some()
    }
}
