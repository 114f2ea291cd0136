//! Files read whole, and written whole or not at all. The contents of a file are the callers' business.

mod draft;
mod folder;
mod place;
mod read;

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use crate::error::{Error, Result};
pub(crate) use draft::Draft;
pub(crate) use folder::FolderLock;
pub(crate) use place::Place;
pub(crate) use read::{open_plain, read_part, read_plain};

/// The bytes of a file; none if there is no such file.
#[cfg(feature = "_tensorrt")]
pub(crate) fn read_if_there(path: &Path) -> Result<Vec<u8>> {
    match std::fs::read(path) {
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

fn buffered(
    file: &File,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    write(&mut writer)?;
    writer.flush()
}
