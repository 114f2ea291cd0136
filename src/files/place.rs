//! The kind of a path before something is written there: a plain file, a link, a device.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// More links than this one after the other are a circle.
const MOST_LINKS: usize = 40;

/// Where a file goes.
pub(crate) enum Place {
    /// A plain file, or nothing yet, at this path, which is no link.
    Plain(PathBuf),
    /// A device or a pipe: written to, and never replaced.
    Stream,
}

impl Place {
    /// Follows links, also one to a file that is not there yet.
    pub(crate) fn find(path: &Path) -> io::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(found) if !found.is_file() => Ok(Self::Stream),
            Ok(_) if is_link(path) => path.canonicalize().map(Self::Plain),
            Ok(_) => Ok(Self::Plain(path.to_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => end_of_links(path).map(Self::Plain),
            Err(e) => Err(e),
        }
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_owned();
    for _ in 0..MOST_LINKS {
        if !is_link(&place) {
            return Ok(place);
        }
        let target = fs::read_link(&place)?;
        place = place.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::other("too many links"))
}
