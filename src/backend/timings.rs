//! What a backend measured while it built, kept for later builds: one file for each version of a library and each device,
//! in the folder of the cache. A file is checked before its bytes go to a library, since libraries do not check them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use prost::Message;

use crate::error::{Error, Result};
use crate::files::{FileLock, make_newest, read_plain, write_private};

/// What the name of such a file ends with.
pub(crate) const TIMINGS: &str = "timings";
const DAMAGED: &str = "damaged";
const PARTIAL: &str = "partial";
const LOCK: &str = "lock";

const CHECKSUM: usize = 32;

/// So long a build waits for another process that adds what it measured.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The folder of a [cache](crate::cache), for what backends measure while they build.
///
/// [`Backend::build_timed`](crate::backend::Backend::build_timed) gets the folder.
#[derive(Clone, Debug)]
pub struct TimingFolder(PathBuf);

impl TimingFolder {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The file for one version of a library and one device. What other versions and devices measured lies elsewhere.
    pub fn file(&self, library: &str, device: &str) -> TimingFile {
        let mut hasher = blake3::Hasher::new();
        for text in [library, device] {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let path = self.0.join(format!("{}.{TIMINGS}", hasher.finalize().to_hex()));
        TimingFile { path, library: library.to_owned(), device: device.to_owned() }
    }
}

/// What a version of a library measured on a device, in a file that several processes read and add to.
///
/// The bytes are the library's own. No failure of the file is a failure of the build: the methods log the failure, and the
/// build measures anew.
#[derive(Clone, Debug)]
pub struct TimingFile {
    path: PathBuf,
    library: String,
    device: String,
}

/// The contents of a file, behind their checksum.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Content {
    #[prost(string, tag = "1")]
    pub(crate) library: String,
    #[prost(string, tag = "2")]
    pub(crate) device: String,
    #[prost(bytes = "vec", tag = "3")]
    pub(crate) timings: Vec<u8>,
}

impl Content {
    /// Reads and checks a file; none if there is no file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, String> {
        let bytes = match read_plain(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        };
        let (checksum, rest) = bytes.split_at_checked(CHECKSUM).ok_or("it is cut short")?;
        if blake3::hash(rest).as_bytes() != checksum {
            return Err("its checksum does not match".into());
        }
        Self::decode(rest).map(Some).map_err(|e| e.to_string())
    }
}

impl TimingFile {
    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was measured before; empty if nothing was, or if the file is damaged. The file counts as used.
    pub fn read(&self) -> Vec<u8> {
        match self.content() {
            Ok(None) => Vec::new(),
            Ok(Some(content)) => {
                self.touch();
                content.timings
            }
            Err(why) => {
                tracing::warn!(
                    target: "accelerant::cache",
                    "{} is passed over, and the build measures anew: {why}",
                    self.path.display()
                );
                Vec::new()
            }
        }
    }

    /// Adds what a build measured. `known` is what the build [read](Self::read), `measured` is what the library has now, and
    /// `merge` adds to that what another process wrote meanwhile.
    pub fn add(&self, known: &[u8], measured: &[u8], merge: impl FnOnce(&[u8]) -> Result<Vec<u8>>) {
        if known != measured
            && let Err(e) = self.try_add(known, measured, merge)
        {
            tracing::warn!(target: "accelerant::cache", "what the build measured is not kept: {e}");
        }
    }

    fn try_add(
        &self,
        known: &[u8],
        measured: &[u8],
        merge: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<()> {
        let lock_path = self.path.with_extension(LOCK);
        let lock = FileLock::within(&lock_path, LONGEST_WAIT);
        let _lock = lock.map_err(|e| Error::io("lock", &lock_path, e))?;
        let there = match self.content() {
            Ok(content) => content.map(|content| content.timings).unwrap_or_default(),
            Err(why) => {
                self.set_aside(&why)?;
                Vec::new()
            }
        };
        let all = match there.is_empty() || there == known || there == measured {
            true => measured.to_vec(),
            false => merge(&there)?,
        };
        if all != there {
            self.write(all)?;
        }
        self.touch();
        Ok(())
    }

    /// The contents if they are whole and of this library and device.
    fn content(&self) -> Result<Option<Content>, String> {
        match Content::read(&self.path)? {
            Some(content) if content.library != self.library || content.device != self.device => {
                Err(format!("it is of {} on {}", content.library, content.device))
            }
            content => Ok(content),
        }
    }

    /// Puts a damaged file where a person may look at it. The caller holds the lock.
    fn set_aside(&self, why: &str) -> Result<()> {
        let aside = self.path.with_extension(DAMAGED);
        tracing::warn!(target: "accelerant::cache", "{} is set aside: {why}", self.path.display());
        // What is no file does not replace one.
        let _ = fs::remove_file(&aside);
        let moved = fs::rename(&self.path, &aside);
        moved.map_err(|e| Error::io("set aside", &self.path, e))
    }

    /// Writes the file whole or not at all. The caller holds the lock.
    fn write(&self, timings: Vec<u8>) -> Result<()> {
        let (library, device) = (self.library.clone(), self.device.clone());
        let encoded = Content { library, device, timings }.encode_to_vec();
        let checksum = blake3::hash(&encoded);
        let partial = self.path.with_extension(PARTIAL);
        let written = write_private(&partial, &[checksum.as_bytes(), &encoded]);
        written.and_then(|()| fs::rename(&partial, &self.path)).map_err(|e| {
            let _ = fs::remove_file(&partial);
            Error::io("write", &self.path, e)
        })
    }

    fn touch(&self) {
        if let Err(e) = make_newest(&self.path, is_used) {
            tracing::debug!(target: "accelerant::cache", "the time of use is not kept: {e}");
        }
    }
}

/// Whether the time of a file says when the cache used the file last.
pub(crate) fn is_used(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["engine", TIMINGS].contains(&ending))
}
