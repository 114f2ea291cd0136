//! From a model to an engine that is loaded, through the cache where the backend's engines are worth keeping. The cache knows
//! the parts of a key and the files.

use crate::backend::{Backend, Engine, Executable};
use crate::cache::{CacheUse, EngineCache, Key, Outcome, Store};
use crate::error::{ErrorKind, Result};
use crate::export::OnnxModel;
use crate::progress::{Phase, phase};
use crate::span::NamedRange;

/// Builds and loads, and remembers what the cache did for the engine that was made last.
pub(super) struct Maker {
    store: Result<Store, String>,
    used: CacheUse,
}

/// What the cache does for an engine that was given.
pub(super) fn given() -> CacheUse {
    not_used("an engine was given")
}

impl Maker {
    /// # Errors
    /// A folder that the caller named and that is refused.
    pub(super) fn new(cache: &EngineCache) -> Result<Self> {
        Ok(Self { store: cache.store()?, used: given() })
    }

    /// What the cache did.
    pub(super) fn cache_use(&self) -> CacheUse {
        self.used.clone()
    }

    /// Goes back to what it did for an engine that was made earlier.
    pub(super) fn set_cache_use(&mut self, used: CacheUse) {
        self.used = used;
    }

    /// An engine of the model.
    ///
    /// # Errors
    /// As [`Backend::build`].
    pub(super) fn engine(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Engine> {
        let _range = NamedRange::of_making(model.name());
        let Some((store, key)) = self.place(backend, model)? else {
            return phase(Phase::Build, || built(backend, model));
        };
        let Outcome { engine, cache } = store.engine(&key, || built(backend, model))?;
        self.used = cache;
        Ok(engine)
    }

    /// An engine of the model, ready to run.
    ///
    /// # Errors
    /// As [`Backend::build`] and [`Backend::load`].
    pub(super) fn ready(
        &mut self,
        backend: &dyn Backend,
        model: &OnnxModel,
    ) -> Result<(Engine, Box<dyn Executable>)> {
        let _range = NamedRange::of_making(model.name());
        let load = |engine: &Engine| phase(Phase::Load, || backend.load(engine));
        let Some((store, key)) = self.place(backend, model)? else {
            let (engine, executable) = phase(Phase::Build, || backend.build_and_load(model))?;
            return Ok((engine.with_interface(model.interface()), executable));
        };
        let Outcome { engine, cache } = store.engine(&key, || built(backend, model))?;
        let from_cache = matches!(cache, CacheUse::Hit { .. });
        self.used = cache;
        match load(&engine) {
            // Its checksum is right, and the library has another opinion.
            Err(e) if from_cache && is_of_engine(e.kind()) => {
                let built = store.replace(&key, e.to_string(), || built(backend, model))?;
                self.used = built.cache;
                let executable = load(&built.engine)?;
                Ok((built.engine, executable))
            }
            loaded => Ok((engine, loaded?)),
        }
    }

    /// Where the engine is kept, if it is.
    fn place(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Option<(Store, Key)>> {
        let store = match &self.store {
            Ok(store) => store.clone(),
            Err(reason) => {
                self.used = not_used(reason);
                return Ok(None);
            }
        };
        let Some(fingerprint) = backend.fingerprint()? else {
            let reason = format!("{} builds as fast as it loads", backend.kind());
            self.used = not_used(&reason);
            return Ok(None);
        };
        let key = phase(Phase::Cache, || Ok(Key::of(model, &fingerprint)))?;
        Ok(Some((store, key)))
    }
}

/// An engine of the model, which tells the framework's types too.
fn built(backend: &dyn Backend, model: &OnnxModel) -> Result<Engine> {
    Ok(backend.build(model)?.with_interface(model.interface()))
}

fn not_used(reason: &str) -> CacheUse {
    CacheUse::NotUsed { reason: reason.to_owned() }
}

fn is_of_engine(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::EngineCorrupt | ErrorKind::EngineIncompatible)
}
