//! From a model to an engine that is loaded, through the cache where the backend's engines are worth keeping. The cache knows
//! the parts of a key and the files.

use super::checked::Check;
use crate::backend::select::{Make, Ready};
use crate::backend::{Backend, Engine, Fingerprint, TimingFolder};
use crate::cache::{Before, CacheUse, EngineCache, Key, KnownWeights, Memo, Outcome, Store};
use crate::error::{ErrorKind, Result};
use crate::export::OnnxModel;
use crate::progress::{self, Passes, Phase, phase};
use crate::span::NamedRange;

/// Builds and loads, and remembers what the cache did for the engine that was made last.
pub(super) struct Maker {
    store: Result<Store, String>,
    used: CacheUse,
    /// The model that was asked for last, as it was before the passes.
    asked: Option<Asked>,
    /// Which model that is, for people.
    source: Option<[u8; 32]>,
    /// What new engines are compared with.
    check: Option<Check>,
}

struct Asked {
    before: Before,
    /// Many weights go through the passes as they are.
    weights: KnownWeights,
}

/// An engine of the cache that was found without the passes.
pub(super) struct Known {
    pub(super) engine: Engine,
    /// The hash of its graph, where it can get other weights.
    graph: Option<[u8; 32]>,
    cache: CacheUse,
    passes: Passes,
}

/// What the cache does for an engine that was given.
pub(super) fn given() -> CacheUse {
    not_used("an engine was given")
}

impl Maker {
    /// # Errors
    /// A folder that the caller named and that is refused.
    pub(super) fn new(cache: &EngineCache) -> Result<Self> {
        Ok(Self { store: cache.store()?, used: given(), asked: None, source: None, check: None })
    }

    /// Has new engines compared before they are kept.
    pub(super) fn set_check(&mut self, check: Option<Check>) {
        self.check = check;
    }

    /// What the cache did.
    pub(super) fn cache_use(&self) -> CacheUse {
        self.used.clone()
    }

    /// Goes back to what it did for an engine that was made earlier.
    pub(super) fn set_cache_use(&mut self, used: CacheUse) {
        self.used = used;
    }

    /// The engine of a model that no pass has seen, where the cache knows what the passes would make of the model.
    ///
    /// # Errors
    /// Why the backend can build nothing, and [`Cancelled`](ErrorKind::Cancelled).
    pub(super) fn known(
        &mut self,
        backend: &dyn Backend,
        exported: &OnnxModel,
    ) -> Result<Option<Known>> {
        (self.asked, self.source) = (None, None);
        let target = backend.target();
        let Some(store) = self.store.as_ref().ok().filter(|_| !exported.is_written_for(target))
        else {
            return Ok(None);
        };
        let Some(fingerprint) = self.fingerprint(backend)? else { return Ok(None) };
        let _range = NamedRange::of_making(exported.name());
        let (asked, found) = phase(Phase::Cache, || {
            let mut weights = KnownWeights::default();
            let before = Before::of(exported, target, &fingerprint, &mut weights);
            let found = before.and_then(|before| store.known(&before));
            Ok((before.map(|before| Asked { before, weights }), found))
        })?;
        self.asked = asked;
        if found.is_none() {
            self.source = Some(exported.source_hash());
        }
        let Some((Outcome { engine, cache }, memo)) = found else { return Ok(None) };
        let graph = memo.graph.as_deref().and_then(|graph| graph.try_into().ok());
        if backend.refits() && graph.is_none() {
            return Ok(None);
        }
        let Memo { passes, .. } = memo;
        let passes = passes.into_iter().map(|one| (one.pass.into(), one.places as usize));
        Ok(Some(Known { engine, graph, cache, passes: passes.collect() }))
    }

    /// Takes an engine that was found, which is told from here on.
    pub(super) fn take(&mut self, known: Known) -> (Engine, Option<[u8; 32]>) {
        let Known { engine, graph, cache, passes } = known;
        progress::changed_before(passes);
        self.used = cache;
        (engine, graph)
    }

    /// An engine of the model.
    ///
    /// # Errors
    /// As [`Backend::build`].
    pub(super) fn engine(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Engine> {
        let _range = NamedRange::of_making(model.name());
        let Some((store, key)) = self.place(backend, model)? else {
            return phase(Phase::Build, || self.new_engine(backend, model, None));
        };
        let made = store.engine(&key, |timings| self.new_engine(backend, model, timings))?;
        let Outcome { engine, cache } = made;
        self.used = cache;
        let graph = backend.refits().then(|| model.graph_hash());
        self.note(&store, &key, graph);
        Ok(engine)
    }

    /// An engine of the model, ready to run. `graph` is the hash of the model's graph, where the engine can get other weights.
    ///
    /// # Errors
    /// As [`Backend::build`] and [`Backend::load`].
    fn ready(
        &mut self,
        backend: &dyn Backend,
        model: &OnnxModel,
        graph: Option<[u8; 32]>,
    ) -> Result<Ready> {
        let _range = NamedRange::of_making(model.name());
        let load = |engine: &Engine| phase(Phase::Load, || backend.load(engine));
        let Some((store, key)) = self.place(backend, model)? else {
            if self.check.is_some() && backend.fingerprint()?.is_some() {
                let engine = phase(Phase::Build, || self.new_engine(backend, model, None))?;
                let executable = load(&engine)?;
                return Ok((engine, executable));
            }
            let (engine, executable) = phase(Phase::Build, || backend.build_and_load(model))?;
            return Ok((engine.with_interface(model.interface()), executable));
        };
        let Outcome { engine, cache } =
            store.engine(&key, |timings| self.new_engine(backend, model, timings))?;
        let from_cache = matches!(cache, CacheUse::Hit { .. });
        self.used = cache;
        let (engine, executable) = match load(&engine) {
            // Its checksum is right, and the library has another opinion.
            Err(e) if from_cache && is_of_engine(e.kind()) => {
                let new = |timings: Option<&_>| self.new_engine(backend, model, timings);
                let built = store.replace(&key, e.to_string(), new)?;
                self.used = built.cache;
                let executable = load(&built.engine)?;
                (built.engine, executable)
            }
            loaded => (engine, loaded?),
        };
        self.note(&store, &key, graph);
        Ok((engine, executable))
    }

    /// Has the next start find the engine without the passes.
    fn note(&mut self, store: &Store, key: &Key, graph: Option<[u8; 32]>) {
        let is_kept = match &self.used {
            CacheUse::Hit { .. } => true,
            CacheUse::Miss { not_kept, .. } => not_kept.is_none(),
            CacheUse::NotUsed { .. } => false,
        };
        if let Some(asked) = self.asked.take().filter(|_| is_kept) {
            let passes = progress::passes().into_iter();
            let passes = passes.map(|(pass, places)| (pass.into_owned(), places));
            store.note(key, &asked.before, graph, passes);
        }
    }

    /// An engine of the model, which tells the framework's types too. It was compared if that is asked for.
    fn new_engine(
        &self,
        backend: &dyn Backend,
        model: &OnnxModel,
        timings: Option<&TimingFolder>,
    ) -> Result<Engine> {
        let built = match timings {
            Some(timings) => backend.build_timed(model, timings),
            None => backend.build(model),
        };
        let engine = built?.with_interface(model.interface());
        if let Some(check) = &self.check
            && backend.fingerprint()?.is_some()
        {
            check.expect_right(backend, &engine)?;
        }
        Ok(engine)
    }

    fn fingerprint(&self, backend: &dyn Backend) -> Result<Option<Fingerprint>> {
        let found = backend.fingerprint()?;
        Ok(match &self.check {
            Some(check) => found.map(|found| check.in_key(found)),
            None => found,
        })
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
        let Some(fingerprint) = self.fingerprint(backend)? else {
            let reason = format!("{} builds as fast as it loads", backend.kind());
            self.used = not_used(&reason);
            return Ok(None);
        };
        let known = self.asked.as_mut().map(|asked| std::mem::take(&mut asked.weights));
        let mut known = known.unwrap_or_default();
        let key = phase(Phase::Cache, || Ok(Key::of(model, &fingerprint, &mut known)))?;
        Ok(Some((store, key.with_source(self.source))))
    }
}

/// Makes the model of a module ready.
pub(super) struct Making<'m> {
    pub(super) maker: &'m mut Maker,
    /// The hash of the graph of the model that was made last, where its engine can get other weights.
    pub(super) graph: Option<[u8; 32]>,
    /// The name of the model that was made last.
    pub(super) name: String,
}

impl<'m> Making<'m> {
    pub(super) fn new(maker: &'m mut Maker) -> Self {
        Self { maker, graph: None, name: String::new() }
    }
}

impl Make for Making<'_> {
    fn known(&mut self, backend: &dyn Backend, exported: &OnnxModel) -> Result<Option<Ready>> {
        let Some(known) = self.maker.known(backend, exported)? else { return Ok(None) };
        let executable = phase(Phase::Load, || backend.load(&known.engine))?;
        let (engine, graph) = self.maker.take(known);
        (self.graph, self.name) = (graph, exported.name().to_owned());
        Ok(Some((engine, executable)))
    }

    fn ready(&mut self, backend: &dyn Backend, model: &OnnxModel) -> Result<Ready> {
        self.graph = backend.refits().then(|| model.graph_hash());
        self.name = model.name().to_owned();
        self.maker.ready(backend, model, self.graph)
    }
}

fn not_used(reason: &str) -> CacheUse {
    CacheUse::NotUsed { reason: reason.to_owned() }
}

fn is_of_engine(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::EngineCorrupt | ErrorKind::EngineIncompatible)
}
