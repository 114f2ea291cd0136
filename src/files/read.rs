//! Files read whole, on several threads where there is much to read: one thread alone is busy with getting memory from the
//! system.

use std::{
    fs::{self, File},
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use crate::parallel;

/// A thread is not worth its start for less.
const PIECE: usize = 4 << 20;

/// Opens a plain file, and gives its size. What is no plain file is refused before the file is opened: opening alone waits
/// for ever with a pipe, and a device may have any number of bytes.
pub(crate) fn open_plain(path: &Path) -> io::Result<(File, u64)> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(refused());
    }
    let file = File::open(path)?;
    let found = file.metadata()?;
    match found.is_file() {
        true => Ok((file, found.len())),
        false => Err(refused()),
    }
}

/// The bytes of a plain file, for which there must be memory.
pub(crate) fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let (file, size) = open_plain(path)?;
    read_part(&file, 0, usize::try_from(size).map_err(io::Error::other)?)
}

/// So many bytes of a file from `offset` on. A file that is shorter is an error.
pub(crate) fn read_part(file: &File, offset: u64, size: usize) -> io::Result<Vec<u8>> {
    read_on(file, offset, size, parallel::threads())
}

fn read_on(file: &File, offset: u64, size: usize, threads: usize) -> io::Result<Vec<u8>> {
    // Memory that is not there is an error, and memory of zeros comes from the system untouched.
    Vec::<u8>::new().try_reserve_exact(size).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let piece = size.div_ceil(threads.max(1)).max(PIECE);
    let parts = Mutex::new(bytes.chunks_mut(piece).enumerate());
    let work = || -> io::Result<()> {
        loop {
            let next = parts.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((i, part)) = next else { return Ok(()) };
            read_exact_at(file, part, offset + (i * piece) as u64)?;
        }
    };
    thread::scope(|scope| {
        // This thread is one of them, and does all where the system gives no other.
        let others = 1..size.div_ceil(piece);
        let others = others.map_while(|_| thread::Builder::new().spawn_scoped(scope, work).ok());
        let others: Vec<_> = others.collect();
        let here = work();
        let others = others.into_iter().map(|other| other.join().expect("reading does not panic"));
        others.fold(here, Result::and)
    })?;
    Ok(bytes)
}

#[cfg(unix)]
fn read_exact_at(file: &File, part: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, part, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut part: &mut [u8], mut offset: u64) -> io::Result<()> {
    use std::os::windows::fs::FileExt;
    while !part.is_empty() {
        match file.seek_read(part, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                part = &mut part[read..];
                offset += read as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn all_bytes_are_read_on_any_number_of_threads() {
        let bytes: Vec<u8> = (0..3 * PIECE + 7).map(|i| (i * 31 % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        for threads in [1, 2, 3, 16] {
            for (from, to) in [(0, bytes.len()), (5, 5), (1, PIECE + 1), (PIECE - 1, 3 * PIECE)] {
                let read = read_on(file.as_file(), from as u64, to - from, threads).unwrap();
                assert!(read == bytes[from..to], "{from}..{to} on {threads} threads");
            }
            let cut = read_on(file.as_file(), 1, bytes.len(), threads).unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        }
        assert!(read_plain(file.path()).unwrap() == bytes);
        assert!(read_part(file.as_file(), 0, usize::MAX / 2).is_err());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read_plain(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
