//! Room in the cache: the engine that was used longest ago goes first. An engine that a process works on stays.

use std::{io, path::Path};

use super::entry::{self, Group, LOCK};
use super::lock;

/// The number and the size of the engines that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// The number of engines, each with all that was kept beside the engine.
    pub engines: usize,
    /// The bytes of all files.
    pub bytes: u64,
}

/// Removes what was used longest ago until the rest has at most `limit` bytes. The key `keep` stays.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn shrink(folder: &Path, limit: u64, keep: Option<&str>) -> io::Result<Removed> {
    let groups = entry::groups(folder)?;
    let mut total: u64 = groups.iter().map(|group| group.bytes).sum();
    let mut removed = Removed::default();
    // Leftovers come first.
    for group in groups {
        let leftover = group.is_leftover();
        if (total <= limit && !leftover) || keep == Some(group.key.as_str()) {
            continue;
        }
        let (engines, bytes) = remove(folder, &group);
        total -= bytes;
        removed.engines += engines;
        removed.bytes += bytes;
    }
    Ok(removed)
}

/// Removes the files of a key, unless somebody holds its lock. Gives how many engines and bytes are gone.
fn remove(folder: &Path, group: &Group) -> (usize, u64) {
    let lock_path = entry::path(folder, &group.key, LOCK);
    let Ok(Some(_lock)) = lock::attempt(&lock_path) else { return (0, 0) };
    let (mut engines, mut bytes) = (0, 0);
    for path in group.files.iter().filter(|path| **path != lock_path) {
        let size = path.symlink_metadata().map_or(0, |found| found.len());
        match entry::remove(path) {
            Ok(()) => {
                engines += usize::from(Some(path.as_path()) == group.engine());
                bytes += size;
            }
            Err(e) => tracing::warn!(target: "accelerant::cache", "{} stays: {e}", path.display()),
        }
    }
    // Under the lock: whoever waits for it sees that its file is another one.
    let _ = entry::remove(&lock_path);
    (engines, bytes)
}
