//! Notes beside an engine: which model, as it was before the passes, the engine is of. At a hit nobody needs the passes then.
//! A note says only where to look; the engine's own file is checked as ever, and a note that is not right is passed over.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use prost::Message;

use super::entry;
use super::key::{Before, text};
use super::lock::KeyLock;
use crate::error::{Error, Result};
use crate::files::{read_plain, write_private};

/// What the name of a note ends with. It begins with the engine's key, and has the key of the model before the passes
/// behind that.
pub(super) const MEMO: &str = "memo";
const PARTIAL: &str = "memo.partial";

/// The most notes of one engine: a new build of a program has one of its own.
const MOST: usize = 8;

/// A note is a list of passes.
const LARGEST: u64 = 1 << 20;

const CHECKSUM: usize = 32;

/// What was found out about a model when its passes ran.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Memo {
    /// The key of the model before the passes.
    #[prost(bytes = "vec", tag = "1")]
    before: Vec<u8>,
    /// The key of the engine.
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    /// The hash of the engine's graph without its weights, where the engine can get others.
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) graph: Option<Vec<u8>>,
    /// The passes that changed something.
    #[prost(message, repeated, tag = "4")]
    pub(crate) passes: Vec<Changed>,
}

/// A pass, and in how many places it changed the graph.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Changed {
    #[prost(string, tag = "1")]
    pub(crate) pass: String,
    #[prost(uint64, tag = "2")]
    pub(crate) places: u64,
}

impl Memo {
    pub(super) fn new(
        before: &Before,
        key: &[u8; 32],
        graph: Option<[u8; 32]>,
        passes: impl IntoIterator<Item = (String, usize)>,
    ) -> Self {
        let changed = |(pass, places)| Changed { pass, places: places as u64 };
        Self {
            before: before.0.to_vec(),
            key: key.to_vec(),
            graph: graph.map(Into::into),
            passes: passes.into_iter().map(changed).collect(),
        }
    }
}

/// The engine's key in the note about a model, and the note.
pub(super) fn find(folder: &Path, before: &Before) -> Option<([u8; 32], Memo)> {
    let ending = format!(".{}.{MEMO}", before.text());
    let named = |entry: io::Result<fs::DirEntry>| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let key = name.strip_suffix(&ending)?;
        let hash = *blake3::Hash::from_hex(key).ok()?.as_bytes();
        // Upper case is another name.
        (text(&hash) == key).then_some((hash, folder.join(&name)))
    };
    let mut named = fs::read_dir(folder).ok()?.filter_map(named);
    named.find_map(|(key, path)| match read(&path, before, &key) {
        Ok(memo) => Some((key, memo)),
        Err(why) => {
            tracing::debug!(target: "accelerant::cache", "{} is passed over: {why}", path.display());
            None
        }
    })
}

fn read(path: &Path, before: &Before, key: &[u8; 32]) -> Result<Memo, String> {
    let size = fs::symlink_metadata(path).map_err(|e| e.to_string())?.len();
    if size > LARGEST {
        return Err(format!("it has {size} bytes"));
    }
    let bytes = read_plain(path).map_err(|e| e.to_string())?;
    let (checksum, rest) = bytes.split_at_checked(CHECKSUM).ok_or("it is cut short")?;
    if blake3::hash(rest).as_bytes() != checksum {
        return Err("its checksum does not match".into());
    }
    let memo = Memo::decode(rest).map_err(|e| e.to_string())?;
    match memo.before == before.0 && memo.key == key {
        true => Ok(memo),
        false => Err("it is of another model".into()),
    }
}

/// Writes a note, beside the newest others of the engine. The lock is the engine's.
///
/// # Errors
/// [`Io`](crate::ErrorKind::Io).
pub(super) fn write(folder: &Path, memo: &Memo, _: &KeyLock) -> Result<()> {
    let hash = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let engine = hash(&memo.key);
    let of = |ending| folder.join(format!("{engine}.{}.{ending}", hash(&memo.before)));
    let (partial, whole) = (of(PARTIAL), of(MEMO));
    let encoded = memo.encode_to_vec();
    let bytes = [blake3::hash(&encoded).as_bytes(), &*encoded].concat();
    let written = write_private(&partial, &[&bytes]).and_then(|()| {
        make_room(folder, &engine, &whole)?;
        fs::rename(&partial, &whole)
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&partial);
        Error::io("write", &whole, e)
    })
}

/// Removes the oldest notes of an engine, so that there is room for `next`.
fn make_room(folder: &Path, engine: &str, next: &Path) -> io::Result<()> {
    let mut others: Vec<(SystemTime, PathBuf)> = Vec::new();
    for found in fs::read_dir(folder)? {
        let path = found?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(engine) && name.ends_with(&format!(".{MEMO}")) && path != next {
            let written = path.symlink_metadata().and_then(|found| found.modified());
            others.push((written.unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    others.sort();
    let too_many = (others.len() + 1).saturating_sub(MOST);
    for (_, path) in &others[..too_many] {
        entry::remove(path)?;
    }
    Ok(())
}
