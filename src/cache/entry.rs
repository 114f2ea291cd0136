//! The files of the cache: how one is written whole or not at all, read and checked, set aside, and found in the folder.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::key::{Key, text};
use super::lock::KeyLock;
use super::memo::MEMO;
use crate::backend::{Engine, Head, Label, TIMINGS, is_used};
use crate::error::{Error, Result};
use crate::files::{make_newest, read_plain, write_private};

/// What the name of a file of the cache ends with. It begins with the key.
pub(super) const ENGINE: &str = "engine";
pub(super) const DAMAGED: &str = "damaged";
const PARTIAL: &str = "partial";
pub(super) const LOCK: &str = "lock";
pub(super) const KERNELS: &str = "kernels";

/// Letters of a key in the name of a file.
const KEY_LETTERS: usize = 64;

/// The file of a key.
pub(super) fn path(folder: &Path, key: &str, ending: &str) -> PathBuf {
    folder.join(format!("{key}.{ending}"))
}

/// What there is under a key.
pub(super) enum Found {
    Engine(Box<Engine>),
    Nothing,
    /// What is there is no entry of this key, with the reason.
    Unusable(String),
}

/// Reads and checks an entry.
pub(super) fn read(folder: &Path, key: &[u8; 32]) -> Found {
    let path = path(folder, &text(key), ENGINE);
    let bytes = match read_plain(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(e) => return Found::Unusable(format!("{} cannot be read: {e}", path.display())),
    };
    match Engine::with_label(bytes.into()) {
        Ok((engine, Some(label))) if label.key == key => Found::Engine(Box::new(engine)),
        Ok(_) => Found::Unusable("the file is the engine of another key".into()),
        Err(e) => Found::Unusable(e.to_string()),
    }
}

/// Writes an entry. Nobody else writes under this key meanwhile, since the lock is held.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io); nothing is left of the entry then.
pub(super) fn write(folder: &Path, key: &Key, engine: &Engine, _: &KeyLock) -> Result<()> {
    let name = key.text();
    let (partial, whole) = (path(folder, &name, PARTIAL), path(folder, &name, ENGINE));
    let parts = key.told().into_iter().flat_map(|(name, value)| [name, value]);
    let head = engine.head_with(Some(Label { key: key.hash.to_vec(), parts: parts.collect() }));
    // Not forced to the disk, which takes seconds for a large engine: after a power failure the checksums tell.
    let written = write_private(&partial, &[&head, engine.plan()]);
    written.and_then(|()| fs::rename(&partial, &whole)).map_err(|e| {
        let _ = fs::remove_file(&partial);
        Error::io("write", &whole, e)
    })
}

/// Puts a file that is no entry aside, where a person may look at it. Gives whether it is out of the way.
pub(super) fn set_aside(folder: &Path, key: &Key, _: &KeyLock) -> bool {
    let [from, to] = [ENGINE, DAMAGED].map(|ending| path(folder, &key.text(), ending));
    // What is no file does not replace one.
    let _ = remove(&to);
    fs::rename(&from, to).is_ok() || remove(&from).is_ok()
}

/// Removes a file, and counts one that is not there as removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// All files of a key.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) key: String,
    pub(super) files: Vec<PathBuf>,
    pub(super) bytes: u64,
    /// When the engine or the timings were used last; the oldest time of all where there are none.
    pub(super) used: SystemTime,
}

impl Group {
    /// The engine, if it is there.
    pub(super) fn engine(&self) -> Option<&Path> {
        self.file(ENGINE)
    }

    /// What a backend measured, if this is the group of that.
    pub(super) fn timings(&self) -> Option<&Path> {
        self.file(TIMINGS)
    }

    /// Whether nobody would use anything of it.
    pub(super) fn is_leftover(&self) -> bool {
        self.engine().is_none() && self.timings().is_none()
    }

    fn file(&self, ending: &str) -> Option<&Path> {
        let ends = |path: &&PathBuf| path.extension() == Some(OsStr::new(ending));
        self.files.iter().find(ends).map(PathBuf::as_path)
    }
}

/// What is in the folder, by key, what was used longest ago first. Files of others are passed over.
///
/// # Errors
/// The folder cannot be listed.
pub(super) fn groups(folder: &Path) -> io::Result<Vec<Group>> {
    let mut groups = std::collections::BTreeMap::<String, Group>::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let Some(key) = key_of(&path) else { continue };
        // Gone meanwhile.
        let Ok(found) = fs::symlink_metadata(&path) else { continue };
        let group = groups.entry(key.to_owned()).or_insert_with(|| Group {
            key: key.to_owned(),
            files: Vec::new(),
            bytes: 0,
            used: SystemTime::UNIX_EPOCH,
        });
        if is_used(&path) {
            group.used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        }
        group.bytes += found.len();
        group.files.push(path);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| group.used);
    Ok(groups)
}

/// The key in the name of a file of the cache.
fn key_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let (key, ending) = name.split_once('.')?;
    let is_key = key.len() == KEY_LETTERS && key.bytes().all(|b| b.is_ascii_hexdigit());
    let endings = [ENGINE, DAMAGED, PARTIAL, LOCK, KERNELS, MEMO, TIMINGS];
    let last = ending.rsplit('.').next()?;
    (is_key && endings.contains(&last)).then_some(key)
}

/// Makes an engine the one that was used last.
pub(super) fn touch(folder: &Path, key: &str) {
    let counts = |path: &Path| is_used(path) && key_of(path).is_some();
    if let Err(e) = make_newest(&path(folder, key, ENGINE), counts) {
        tracing::debug!(target: "accelerant::cache", "the time of use is not kept: {e}");
    }
}

/// The header of an entry, if it can be read.
pub(super) fn head(path: &Path) -> Option<Head> {
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    Head::read(File::open(path).ok()?).ok()
}

/// The parts of a label, as pairs.
pub(super) fn parts(label: &Label) -> Vec<(String, String)> {
    label.parts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}
