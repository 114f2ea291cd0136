//! Room in the cache: the engine that was used longest ago goes first. An engine that a process works on stays.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::entry::{self, Group, LOCK};
use super::lock;
use crate::error::{Error, Result};

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Removed {
    /// The number of engines, each with all that was kept beside the engine.
    pub engines: usize,
    /// The number of files with what backends measured while they built.
    pub timings: usize,
    /// The bytes of all files.
    pub bytes: u64,
}

/// What was removed, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Shrunk {
    removed: Removed,
    stays: Vec<(PathBuf, io::Error)>,
}

impl Shrunk {
    /// What was removed, where all went that should.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) with the first file that could not be removed.
    pub(super) fn all(self) -> Result<Removed> {
        let Self { removed, stays } = self;
        let others = stays.len().saturating_sub(1);
        let Some((path, why)) = stays.into_iter().next() else { return Ok(removed) };
        let more = match others {
            0 => String::new(),
            1 => "; another file stays too".into(),
            _ => format!("; {others} other files stay too"),
        };
        Err(Error::io("remove", &path, io::Error::new(why.kind(), format!("{why}{more}"))))
    }

    /// Logs what could not be removed.
    pub(super) fn log(&self) {
        for (path, why) in &self.stays {
            tracing::warn!(target: "accelerant::cache", "{} stays: {why}", path.display());
        }
    }
}

/// Removes what was used longest ago until the rest has at most `limit` bytes. The key `keep` stays.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn shrink(folder: &Path, limit: u64, keep: Option<&str>) -> io::Result<Shrunk> {
    let groups = entry::groups(folder)?;
    let mut total: u64 = groups.iter().map(|group| group.bytes).sum();
    let mut shrunk = Shrunk::default();
    // Leftovers come first.
    for group in groups {
        let leftover = group.is_leftover();
        if (total <= limit && !leftover) || keep == Some(group.key.as_str()) {
            continue;
        }
        let before = shrunk.removed.bytes;
        remove(folder, &group, &mut shrunk);
        total -= shrunk.removed.bytes - before;
    }
    Ok(shrunk)
}

/// Removes the files of a key, unless somebody holds its lock.
fn remove(folder: &Path, group: &Group, shrunk: &mut Shrunk) {
    let lock_path = entry::path(folder, &group.key, LOCK);
    let _lock = match lock::attempt(&lock_path) {
        Ok(Some(lock)) => lock,
        Ok(None) => return,
        // Nothing can be made in the folder, or the lock is no file.
        Err(why) => {
            let what = group.engine().or(group.timings()).unwrap_or(&group.files[0]);
            return shrunk.stays.push((what.to_owned(), why));
        }
    };
    for path in group.files.iter().filter(|path| **path != lock_path) {
        let size = path.symlink_metadata().map_or(0, |found| found.len());
        match entry::remove(path) {
            Ok(()) => {
                let is = |file: Option<&Path>| usize::from(Some(path.as_path()) == file);
                shrunk.removed.engines += is(group.engine());
                shrunk.removed.timings += is(group.timings());
                shrunk.removed.bytes += size;
            }
            Err(why) => shrunk.stays.push((path.clone(), why)),
        }
    }
    // Under the lock: whoever waits for it sees that its file is another one.
    let _ = entry::remove(&lock_path);
}
