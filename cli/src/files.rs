//! Files that are written whole or not at all. The contents are the callers' business.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use crate::fail::{Failure, Result};

/// How the names of drafts begin and end, as those of the library do.
pub(crate) const DRAFT: (&str, &str) = (".accelerant-", ".tmp");

/// Writes to a path that a user names. A file that is there keeps its mode, and a link stays a link. What is no plain
/// file, such as a pipe, is written to as it is.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(found) if !found.is_file() => File::options().write(true).open(path)?.write_all(bytes),
        Ok(_) => replace(&path.canonicalize()?, bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => match fs::symlink_metadata(path) {
            Ok(_) => Err(io::Error::new(e.kind(), "it is a link to a file that is not there")),
            Err(_) => replace(path, bytes),
        },
        Err(e) => Err(e),
    }
}

/// Checks that a file can have this path, before the work for its contents.
pub(crate) fn expect_place(path: &Path) -> Result<()> {
    let cannot = |why: String| Failure::failed(format!("cannot write {}: {why}", path.display()));
    if path.is_dir() {
        return Err(cannot("it is a folder".into()));
    }
    match parent(path) {
        folder if folder.is_dir() => Ok(()),
        folder => Err(cannot(format!("there is no folder {}", folder.display()))),
    }
}

/// Puts a file at `place`, which is no link, by writing it beside that place first. A kill leaves the old file, or the
/// new one.
pub(crate) fn replace(place: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(DRAFT.0).suffix(DRAFT.1);
    // The draft becomes the file: it gets the usual permissions, not private ones.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut draft = loop {
        let draft = builder.tempfile_in(parent(place))?;
        // The library removes drafts without a lock, as those of dead processes. It may have come between.
        let _ = draft.as_file().lock();
        if draft.path().exists() {
            break draft;
        }
    };
    draft.write_all(bytes)?;
    if let Ok(old) = fs::symlink_metadata(place)
        && old.is_file()
    {
        draft.as_file().set_permissions(old.permissions())?;
    }
    draft.as_file().sync_all()?;
    draft.persist(place)?;
    sync(parent(place))
}

/// The folder that a path lies in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Has the names in a folder reach the disk, where the system and its file system can.
pub(crate) fn sync(folder: &Path) -> io::Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(e)
            if cfg!(unix) && !matches!(e.kind(), InvalidInput | PermissionDenied | Unsupported) =>
        {
            Err(e)
        }
        _ => Ok(()),
    }
}
