//! A file that is being written under a name of its own, until the file is whole.
//!
//! The writer holds a lock on the file. A file without a lock was left by a killed writer, and the next writer removes the file.

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter},
    path::Path,
};

use tempfile::NamedTempFile;

use super::{buffered, folder};

const PREFIX: &str = ".accelerant-";
const SUFFIX: &str = ".tmp";

/// A file in the folder of its place. Dropping it removes it.
pub(crate) struct Draft(NamedTempFile);

impl Draft {
    /// An empty one in the folder of `place`, after a sweep of those that dead processes left there.
    pub(crate) fn beside(place: &Path) -> io::Result<Self> {
        let folder = folder::of(place);
        sweep(folder);
        loop {
            let mut builder = tempfile::Builder::new();
            builder.prefix(PREFIX).suffix(SUFFIX);
            // The draft becomes the file: it gets the usual permissions, not private ones.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            let file = builder.tempfile_in(folder).map_err(|error| match folder.is_dir() {
                true => error,
                false => {
                    io::Error::new(error.kind(), format!("there is no folder {}", folder.display()))
                }
            })?;
            // Where the system knows no locks, nobody sweeps either.
            let _ = file.as_file().lock();
            // A sweep may have come between.
            if file.path().exists() {
                return Ok(Self(file));
            }
        }
    }

    /// Writes the contents, down to the disk.
    pub(crate) fn write(
        &self,
        write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
    ) -> io::Result<()> {
        buffered(self.0.as_file(), write)?;
        self.0.as_file().sync_all()
    }

    /// Puts it at `place`, which is in the same folder, with the mode of the file that it replaces.
    pub(crate) fn commit(self, place: &Path) -> io::Result<()> {
        if let Ok(old) = fs::symlink_metadata(place)
            && old.is_file()
        {
            keep_mode(self.0.as_file(), &old)?;
        }
        self.0.persist(place)?;
        folder::sync(folder::of(place))
    }
}

#[cfg(unix)]
fn keep_mode(file: &File, old: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
    let ours = file.metadata()?;
    let same = (ours.uid(), ours.gid()) == (old.uid(), old.gid())
        || fchown(file, Some(old.uid()), Some(old.gid())).is_ok();
    // Bits such as set-uid are for an owner, so another owner does not get them.
    let mode = old.mode() & if same { 0o7777 } else { 0o777 };
    file.set_permissions(fs::Permissions::from_mode(mode))
}

#[cfg(not(unix))]
fn keep_mode(_file: &File, _old: &fs::Metadata) -> io::Result<()> {
    Ok(())
}

/// Removes the drafts of dead processes. What cannot be listed or removed stays.
fn sweep(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours = name.starts_with(PREFIX) && name.ends_with(SUFFIX);
        // The name alone may be anybody's: a pipe of this name would block whoever opens it.
        if !ours || !entry.file_type().is_ok_and(|found| found.is_file()) {
            continue;
        }
        let Ok(file) = File::options().write(true).open(entry.path()) else { continue };
        match file.try_lock() {
            Ok(()) => drop(fs::remove_file(entry.path())),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}
