//! An engine out of the cache, or built and kept. One process builds, the others wait, and a file that fails does no harm: no
//! failure of the cache is a failure of the caller.

use std::{path::PathBuf, time::Duration};

use super::entry::{self, Found, LOCK};
use super::key::{self, Before, Key};
use super::lock::{self, KeyLock, Waited};
use super::memo::{self, Memo};
use super::{CacheUse, Miss, folder, kernels_of, limit, miss};
use crate::backend::{Engine, TimingFolder};
use crate::error::{Error, Result};
use crate::progress::{Phase, phase};

/// How long a process waits for another one that builds the same engine. After that it builds as well, and keeps
/// nothing.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// A folder of engines that may be used.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
    limit: u64,
    longest_wait: Duration,
}

/// An engine, and how it came.
pub(crate) struct Outcome {
    pub(crate) engine: Engine,
    pub(crate) cache: CacheUse,
}

impl Store {
    pub(super) fn new(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit, longest_wait: LONGEST_WAIT }
    }

    /// The engine of a key: the one that is kept, else what `build` makes, which is kept. `build` gets the folder unless the
    /// folder is refused.
    ///
    /// # Errors
    /// Those of `build`, and [`Cancelled`](crate::ErrorKind::Cancelled).
    pub(crate) fn engine(
        &self,
        key: &Key,
        build: impl FnOnce(Option<&TimingFolder>) -> Result<Engine>,
    ) -> Result<Outcome> {
        // Somebody may have made it since it was looked at.
        if let Err(e) = folder::prepare(&self.folder) {
            tracing::warn!(target: "accelerant::cache", "engines are not kept: {e}");
            let cache = CacheUse::NotUsed { reason: e.to_string() };
            return Ok(Outcome { engine: build(None)?, cache });
        }
        // Most often the entry is there, and nobody needs a lock.
        if let Found::Engine(engine) =
            phase(Phase::Cache, || Ok(entry::read(&self.folder, &key.hash)))?
        {
            return Ok(self.hit(&key.hash, *engine, false));
        }
        let lock_path = entry::path(&self.folder, &key.text(), LOCK);
        match lock::acquire(&lock_path, self.longest_wait)? {
            Waited::Held { lock, waited } => {
                let found = phase(Phase::Cache, || Ok(entry::read(&self.folder, &key.hash)))?;
                match found {
                    Found::Engine(engine) => Ok(self.hit(&key.hash, *engine, waited)),
                    Found::Nothing => {
                        let reason = miss::reason(&self.folder, key);
                        self.build(key, reason, Ok(lock), build)
                    }
                    Found::Unusable(reason) => self.rebuild(key, reason, lock, build),
                }
            }
            Waited::TooLong => {
                self.build(key, Miss::Busy, Err("another process holds the lock".into()), build)
            }
            Waited::Impossible(e) => {
                let why = Error::io("lock", &lock_path, e).to_string();
                self.build(key, miss::reason(&self.folder, key), Err(why), build)
            }
        }
    }

    /// Builds anew what is kept but cannot be loaded.
    ///
    /// # Errors
    /// As [`engine`](Self::engine).
    pub(crate) fn replace(
        &self,
        key: &Key,
        reason: String,
        build: impl FnOnce(Option<&TimingFolder>) -> Result<Engine>,
    ) -> Result<Outcome> {
        let lock_path = entry::path(&self.folder, &key.text(), LOCK);
        match lock::acquire(&lock_path, self.longest_wait)? {
            Waited::Held { lock, .. } => self.rebuild(key, reason, lock, build),
            Waited::TooLong | Waited::Impossible(_) => {
                let why = Err("the file cannot be replaced".into());
                self.build(key, Miss::Damaged { reason }, why, build)
            }
        }
    }

    fn rebuild(
        &self,
        key: &Key,
        reason: String,
        lock: KeyLock,
        build: impl FnOnce(Option<&TimingFolder>) -> Result<Engine>,
    ) -> Result<Outcome> {
        tracing::warn!(target: "accelerant::cache", "an engine is built anew: {reason}");
        let lock = match entry::set_aside(&self.folder, key, &lock) {
            true => Ok(lock),
            false => Err("the damaged file cannot be removed".into()),
        };
        self.build(key, Miss::Damaged { reason }, lock, build)
    }

    /// The engine of a model that is known as it was before the passes. Whatever is not right is passed over: who asks
    /// for the engine by its key sets damaged files aside.
    pub(crate) fn known(&self, before: &Before) -> Option<(Outcome, Memo)> {
        folder::check(&self.folder).ok()?;
        let (key, memo) = memo::find(&self.folder, before)?;
        match entry::read(&self.folder, &key) {
            Found::Engine(engine) => Some((self.hit(&key, *engine, false), memo)),
            Found::Nothing | Found::Unusable(_) => None,
        }
    }

    /// Notes which model the engine of a key is of. Where that fails, the passes run again at the next start.
    pub(crate) fn note(
        &self,
        key: &Key,
        before: &Before,
        graph: Option<[u8; 32]>,
        passes: impl IntoIterator<Item = (String, usize)>,
    ) {
        let memo = Memo::new(before, &key.hash, graph, passes);
        let lock_path = entry::path(&self.folder, &key.text(), LOCK);
        let noted = match lock::attempt(&lock_path) {
            Ok(Some(lock)) => memo::write(&self.folder, &memo, &lock),
            // Who holds the lock notes the same.
            Ok(None) => Ok(()),
            Err(e) => Err(Error::io("lock", &lock_path, e)),
        };
        if let Err(e) = noted {
            tracing::debug!(target: "accelerant::cache", "nothing is noted beside the engine: {e}");
        }
    }

    fn hit(&self, key: &[u8; 32], engine: Engine, waited: bool) -> Outcome {
        let text = key::text(key);
        entry::touch(&self.folder, &text);
        let engine = engine.with_kernels(kernels_of(&self.folder, &text));
        Outcome { engine, cache: CacheUse::Hit { key: text, waited } }
    }

    /// Builds, and keeps the engine if there is a lock.
    fn build(
        &self,
        key: &Key,
        reason: Miss,
        lock: Result<KeyLock, String>,
        build: impl FnOnce(Option<&TimingFolder>) -> Result<Engine>,
    ) -> Result<Outcome> {
        let engine = build(Some(&TimingFolder::new(self.folder.clone())))?;
        let kept = lock.and_then(|lock| self.keep(key, &engine, lock));
        let not_kept = kept.err();
        let engine = match &not_kept {
            None => engine.with_kernels(kernels_of(&self.folder, &key.text())),
            Some(why) => {
                tracing::warn!(target: "accelerant::cache", "the engine is not kept: {why}");
                engine
            }
        };
        Ok(Outcome { engine, cache: CacheUse::Miss { key: key.text(), reason, not_kept } })
    }

    fn keep(&self, key: &Key, engine: &Engine, lock: KeyLock) -> Result<(), String> {
        let (size, limit) = (engine.plan().len() as u64, self.limit);
        if size > limit {
            return Err(format!("it has {size} bytes, and the cache at most {limit}"));
        }
        let written = phase(Phase::Store, || entry::write(&self.folder, key, engine, &lock));
        written.map_err(|e| e.to_string())?;
        let text = key.text();
        entry::touch(&self.folder, &text);
        drop(lock);
        match limit::shrink(&self.folder, limit, Some(&text)) {
            Ok(shrunk) => shrunk.log(),
            Err(e) => {
                tracing::warn!(target: "accelerant::cache", "the cache may be too large: {e}");
            }
        }
        Ok(())
    }
}
