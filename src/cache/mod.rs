//! The cache of engines: an engine that was built once is found again, by everything that decides about the engine. The
//! compiled kernels lie beside each engine, and files of their own have what builds measured. A backend says what its engines
//! depend on, and the runtime asks the cache.

mod code;
mod entry;
mod folder;
mod key;
mod limit;
mod lock;
mod memo;
mod miss;
mod store;
mod timings;

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

pub(crate) use key::{Before, Key, KnownWeights};
pub use limit::Removed;
pub(crate) use memo::Memo;
pub use miss::{Change, Miss};
pub(crate) use store::{Outcome, Store};
pub use timings::Timings;

use crate::backend::{BackendKind, Engine};
use crate::error::{Error, Result};

/// The most bytes that the cache keeps by default: 10 GiB.
pub const DEFAULT_SIZE_LIMIT: u64 = 10 << 30;

/// The engine cache: its folder and its size limit.
///
/// The environment variable `ACCELERANT_ENGINE_CACHE` names the folder of the engines, or disables the cache with the
/// value `off`. The default is `engines` in the crate's cache folder (`$ACCELERANT_CACHE_DIR`, or else
/// `~/.cache/accelerant`). Each variable takes an absolute path; with a relative path, the cache is off.
/// [`OptimizeOptions::cache`](crate::OptimizeOptions::cache) sets the folder for one module.
///
/// **The folder contains programs.** The engines are loaded as [`Engine::open`](crate::Engine::open) loads them. The
/// crate does not use a folder that another user can write.
///
/// ```
/// use accelerant::{OptimizeOptions, cache::EngineCache};
///
/// let options = OptimizeOptions::new().cache("/var/cache/my-program");
/// let options = OptimizeOptions::new().cache(EngineCache::at("engines").size_limit(1 << 30));
/// let options = OptimizeOptions::new().cache(EngineCache::off());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineCache {
    place: Place,
    limit: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Usual,
    Off,
    At(PathBuf),
}

impl Default for EngineCache {
    fn default() -> Self {
        Self { place: Place::Usual, limit: DEFAULT_SIZE_LIMIT }
    }
}

impl<P: Into<PathBuf>> From<P> for EngineCache {
    fn from(folder: P) -> Self {
        Self::at(folder)
    }
}

impl EngineCache {
    /// The default cache of the user.
    pub fn new() -> Self {
        Self::default()
    }

    /// No cache: every engine is built.
    pub fn off() -> Self {
        Self { place: Place::Off, ..Self::default() }
    }

    /// A cache in this folder, whatever the environment says. The crate creates a missing folder for the current user
    /// only. The crate refuses a folder that other users can write, because an engine is a program.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { place: Place::At(folder.into()), ..Self::default() }
    }

    /// Limits the bytes of all files. If a new engine needs space, the cache removes the engines that were unused for
    /// the longest time. An engine that is larger than the limit is not kept.
    #[must_use]
    pub fn size_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// The folder, or `None` if the cache is off.
    pub fn folder(&self) -> Option<PathBuf> {
        self.place().ok()
    }

    /// The folder, or why there is none.
    fn place(&self) -> Result<PathBuf, String> {
        match &self.place {
            Place::Usual => folder::usual(),
            Place::Off => Err("it is switched off".into()),
            Place::At(folder) => {
                std::path::absolute(folder).map_err(|e| format!("{}: {e}", folder.display()))
            }
        }
    }

    /// The cache ready to be asked, or why it is not. The folder is made when an engine is wanted.
    ///
    /// # Errors
    /// A folder that the caller named and that is refused.
    pub(crate) fn store(&self) -> Result<Result<Store, String>> {
        let folder = match self.place() {
            Ok(folder) => folder,
            Err(reason) => return Ok(Err(reason)),
        };
        let checked = if folder.exists() { folder::check(&folder) } else { Ok(()) };
        match (checked, &self.place) {
            (Ok(()), _) => Ok(Ok(Store::new(folder, self.limit))),
            (Err(e), Place::At(_)) => Err(e.in_operation("engine cache")),
            (Err(e), _) => {
                tracing::warn!(target: "accelerant::cache", "engines are not kept: {e}");
                Ok(Err(e.to_string()))
            }
        }
    }

    /// All entries, the least recently used first. Checks the header of each entry, but not the plan.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    pub fn entries(&self) -> Result<Vec<Entry>> {
        let Some(folder) = self.existing()? else { return Ok(Vec::new()) };
        let groups = entry::groups(&folder).map_err(|e| Error::io("list", &folder, e))?;
        let entries = groups.into_iter().filter_map(|group| {
            let path = group.engine()?.to_owned();
            let about = entry::head(&path).map(|head| About {
                kind: head.kind,
                library: head.library,
                target: head.target,
                signature: head.signature.to_string(),
                parts: head.label.map(|label| entry::parts(&label)).unwrap_or_default(),
            });
            let (key, bytes, used) = (group.key, group.bytes, group.used);
            Some(Entry { key, path, bytes, used, about })
        });
        Ok(entries.collect())
    }

    /// Reads and checks every entry completely, and changes nothing. A damaged entry is set aside later, when a
    /// program needs the engine.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) when the folder cannot be listed, and
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) when other users may write there.
    pub fn verify(&self) -> Result<Vec<(Entry, Result<()>)>> {
        let checked = self.entries()?.into_iter().map(|entry| {
            let result = Engine::open(&entry.path).map(drop);
            (entry, result)
        });
        Ok(checked.collect())
    }

    /// The kernel timings of builds, the least recently used file first. Each file is read and checked completely.
    ///
    /// # Errors
    /// As for [`verify`](Self::verify).
    pub fn timings(&self) -> Result<Vec<Timings>> {
        let Some(folder) = self.existing()? else { return Ok(Vec::new()) };
        let groups = entry::groups(&folder).map_err(|e| Error::io("list", &folder, e))?;
        Ok(groups.iter().filter_map(Timings::of).collect())
    }

    /// Removes leftovers, and then the least recently used engines, until the rest is within the
    /// [limit](Self::size_limit).
    ///
    /// # Errors
    /// As for [`verify`](Self::verify); [`Io`](crate::ErrorKind::Io) with a file that could not be removed. The other
    /// files are removed.
    pub fn collect(&self) -> Result<Removed> {
        self.shrink(self.limit)
    }

    /// Removes all entries that no process is using.
    ///
    /// # Errors
    /// As for [`collect`](Self::collect).
    pub fn clear(&self) -> Result<Removed> {
        self.shrink(0)
    }

    fn shrink(&self, limit: u64) -> Result<Removed> {
        let Some(folder) = self.existing()? else { return Ok(Removed::default()) };
        limit::shrink(&folder, limit, None).map_err(|e| Error::io("list", &folder, e))?.all()
    }

    /// The folder if it is there, checked.
    fn existing(&self) -> Result<Option<PathBuf>> {
        let Some(folder) = self.folder().filter(|folder| folder.exists()) else { return Ok(None) };
        folder::check(&folder).map_err(|e| e.in_operation("engine cache"))?;
        Ok(Some(folder))
    }
}

/// An engine in the cache.
///
/// ```no_run
/// use accelerant::{InferenceModule, OptimizeOptions, cache::EngineCache};
///
/// for entry in EngineCache::new().entries()? {
///     let model = entry.about.as_ref().map_or("damaged", |about| about.model());
///     println!("{model}: {} bytes, {}", entry.bytes, entry.path.display());
///     let module = InferenceModule::open(&entry.path, &OptimizeOptions::new())?;
/// }
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The hash of the engine's key, in hexadecimal.
    pub key: String,
    /// The file of the engine, which [`Engine::open`] reads too.
    pub path: PathBuf,
    /// The bytes of the file and of all that is kept beside it, such as compiled kernels.
    pub bytes: u64,
    /// The time of the last use, by a clock that never goes back.
    pub used: SystemTime,
    /// The contents of the header; `None` where the header is damaged.
    pub about: Option<About>,
}

/// The contents of the header of an entry.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct About {
    /// The backend that built the engine.
    pub kind: BackendKind,
    /// The exact version of the backend's library.
    pub library: String,
    /// The device that the engine was built for.
    pub target: String,
    /// The inputs and outputs.
    pub signature: String,
    /// Names and values of the parts of the key.
    pub parts: Vec<(String, String)>,
}

impl About {
    /// The name of the model's graph.
    pub fn model(&self) -> &str {
        key::value(&self.parts, key::NAME).unwrap_or_default()
    }
}

/// Whether the cache had the engine of a module.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CacheUse {
    /// The cache had the engine.
    Hit {
        /// The hash that the engine is kept under.
        key: String,
        /// Whether another process or thread built the engine while this process waited.
        waited: bool,
    },
    /// The engine was built.
    Miss {
        /// The hash that the engine is kept under.
        key: String,
        /// Why the cache did not have the engine.
        reason: Miss,
        /// Why the new engine is not kept, if the cache does not keep the engine.
        not_kept: Option<String>,
    },
    /// The cache was not used.
    NotUsed {
        /// The reason.
        reason: String,
    },
}

impl std::fmt::Display for CacheUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hit { waited: false, .. } => f.write_str("hit"),
            Self::Hit { waited: true, .. } => f.write_str("hit, after another process built it"),
            Self::Miss { reason, not_kept: None, .. } => write!(f, "miss: {reason}"),
            Self::Miss { reason, not_kept: Some(why), .. } => {
                write!(f, "miss: {reason}; not kept: {why}")
            }
            Self::NotUsed { reason } => write!(f, "not used: {reason}"),
        }
    }
}

/// Where the compiled kernels of an engine are kept: a name to which the device adds its own.
pub(crate) fn kernels_of(folder: &Path, key: &str) -> PathBuf {
    folder.join(key)
}
