//! Files read whole, and written whole or not at all. The contents of a file are the callers' business.

mod draft;
mod folder;
mod lock;
mod place;
mod read;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    path::Path,
    time::{Duration, SystemTime},
};

use crate::error::{Error, Result};
pub(crate) use draft::Draft;
pub(crate) use folder::FolderLock;
pub(crate) use lock::FileLock;
pub(crate) use place::Place;
pub(crate) use read::{open_plain, read_part, read_plain};

/// The bytes of a file; none if there is no such file.
#[cfg(feature = "_tensorrt")]
pub(crate) fn read_if_there(path: &Path) -> Result<Vec<u8>> {
    match fs::read(path) {
        Ok(bytes) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

/// Writes a file beside its place and renames it there, so that no reader sees half of it and a
/// failure leaves nothing behind. A file that is there keeps its mode, and a link stays a link. What is no
/// plain file, such as a pipe, is written to as it is.
pub(crate) fn write_atomic(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<()> {
    let attempt = || match Place::find(path)? {
        Place::Plain(place) => {
            let draft = Draft::beside(&place)?;
            draft.write(write)?;
            draft.commit(&place)
        }
        Place::Stream => {
            let file = File::options().write(true).open(path)?;
            buffered(&file, write)
        }
    };
    attempt().map_err(|e| Error::io("write", path, e))
}

/// Writes a file that the user alone may read. Whoever calls has a lock, and renames the file to its place.
pub(crate) fn write_private(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    parts.iter().try_for_each(|part| file.write_all(part))
}

/// Makes a file the newest of those in its folder that count, whatever the clock says: a clock that was set back must not
/// make the file the oldest.
pub(crate) fn make_newest(path: &Path, counts: impl Fn(&Path) -> bool) -> io::Result<()> {
    let mut newest = SystemTime::UNIX_EPOCH;
    for file in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let file = file?;
        let other = file.path();
        if other != path && counts(&other) {
            // It may be gone meanwhile.
            let used = file.metadata().and_then(|found| found.modified());
            newest = newest.max(used.unwrap_or(SystemTime::UNIX_EPOCH));
        }
    }
    let time = SystemTime::now().max(newest + Duration::from_millis(1));
    File::open(path)?.set_modified(time)
}

fn buffered(
    file: &File,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    writer.flush()
}
