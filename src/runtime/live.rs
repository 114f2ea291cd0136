//! A model that is loaded and can be exchanged for another of the same signature while callers run it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};

use crate::backend::{
    DeviceExecutable, DeviceTensor, Engine, EngineMemory, Executable, ExecutionCounters, LayerTime,
    StreamHandle,
};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::TimeLimit;
use crate::span::NamedRange;
use crate::spec::Signature;
use crate::tensor::HostTensor;

/// For so long an exchange waits for runs of the old model, so that the model goes in the thread of the exchange and not
/// in a caller's.
const WAIT: Duration = Duration::from_secs(10);

/// One place where a model is loaded. Each run uses the model that is here when the run begins.
pub(super) struct Live {
    now: ArcSwap<Arc<dyn Executable>>,
    /// The name of the model, for whoever follows its runs.
    name: Arc<str>,
    signature: Signature,
    /// The device that the model was loaded on, if another than the backend's first.
    ordinal: Option<usize>,
    profile: Option<String>,
}

impl Live {
    fn new(
        executable: Arc<dyn Executable>,
        name: Arc<str>,
        ordinal: Option<usize>,
        profile: Option<&str>,
    ) -> Self {
        let signature = executable.signature().clone();
        let profile = profile.map(str::to_owned);
        Self { now: ArcSwap::from_pointee(executable), name, signature, ordinal, profile }
    }

    /// The device that was asked for, if one was.
    pub(super) fn asked_ordinal(&self) -> Option<usize> {
        self.ordinal
    }

    /// The model that is here now. Threads that run the model share no counter, and an exchange counts them itself.
    fn get(&self) -> Guard<Arc<Arc<dyn Executable>>> {
        self.now.load()
    }

    fn on_device<R>(&self, call: impl FnOnce(&dyn DeviceExecutable) -> Result<R>) -> Result<R> {
        let now = self.get();
        let text = "the model is not on a device any more";
        call(now.device().ok_or_else(|| Error::new(ErrorKind::Execution, text))?)
    }
}

impl Executable for Live {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let _range = NamedRange::of_run(&self.name);
        self.get().run(inputs)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        let _range = NamedRange::of_run(&self.name);
        self.get().run_within(inputs, limit)
    }

    fn concurrency(&self) -> usize {
        self.get().concurrency()
    }

    fn overdue(&self) -> usize {
        self.get().overdue()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.get().device().is_some().then_some(self)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        self.get().for_profile(name)
    }
}

impl DeviceExecutable for Live {
    fn ordinal(&self) -> usize {
        self.get().device().map_or(0, DeviceExecutable::ordinal)
    }

    fn memory(&self) -> EngineMemory {
        self.get().device().map(DeviceExecutable::memory).unwrap_or_default()
    }

    fn counters(&self) -> ExecutionCounters {
        self.get().device().map(DeviceExecutable::counters).unwrap_or_default()
    }

    fn layer_times(&self, inputs: &[HostTensor], runs: usize) -> Result<Vec<LayerTime>> {
        self.on_device(|device| device.layer_times(inputs, runs))
    }

    fn aliased_input(&self, output: usize) -> Option<usize> {
        self.get().device().and_then(|device| device.aliased_input(output))
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        self.on_device(|device| device.output_shapes(inputs))
    }

    unsafe fn enqueue(
        &self,
        stream: StreamHandle,
        inputs: &[DeviceTensor<'_>],
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
    ) -> Result<()> {
        let _range = NamedRange::of_enqueue(&self.name);
        // SAFETY: the caller's promise. A model that goes waits for what it enqueued.
        self.on_device(|device| unsafe { device.enqueue(stream, inputs, output) })
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// All places where one model is loaded, and the engine that came after the first.
#[derive(Default)]
pub(super) struct Places {
    name: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    places: Vec<Weak<Live>>,
    engine: Option<Engine>,
    /// The hash of the graph that `engine` has, where the engine can get other weights.
    graph: Option<[u8; 32]>,
}

impl Places {
    /// None yet, of a model with this name.
    pub(super) fn of(name: &str) -> Self {
        Self { name: name.into(), state: Mutex::default() }
    }

    fn state<R>(&self, with: impl FnOnce(&mut State) -> R) -> R {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The engine that took the place of the first, if one did.
    pub(super) fn engine(&self) -> Option<Engine> {
        self.state(|state| state.engine.clone())
    }

    /// The engine that took the place of the first, with the hash of its graph.
    pub(super) fn current(&self) -> Option<(Engine, Option<[u8; 32]>)> {
        self.state(|state| state.engine.clone().map(|engine| (engine, state.graph)))
    }

    /// The first place.
    pub(super) fn first(&self, executable: Arc<dyn Executable>) -> Arc<Live> {
        let live = Arc::new(Live::new(executable, self.name.clone(), None, None));
        self.state(|state| state.places.push(Arc::downgrade(&live)));
        live
    }

    /// Adds a place. `load` loads the model there, from the engine that came after the first if there is one.
    pub(super) fn add(
        &self,
        ordinal: Option<usize>,
        profile: Option<&str>,
        load: impl Fn(Option<&Engine>) -> Result<Arc<dyn Executable>>,
    ) -> Result<Arc<Live>> {
        loop {
            let engine = self.engine();
            let executable = load(engine.as_ref())?;
            let live = Arc::new(Live::new(executable, self.name.clone(), ordinal, profile));
            let added = self.state(|state| {
                let same = same_plan(state.engine.as_ref(), engine.as_ref());
                if same {
                    state.places.retain(|place| place.strong_count() > 0);
                    state.places.push(Arc::downgrade(&live));
                }
                same
            });
            // Else an exchange was faster.
            if added {
                return Ok(live);
            }
        }
    }

    /// Loads `engine` at all places, and then has all of them run it from there on. An engine is loaded once for each
    /// device that was asked for: the profiles share what is loaded. `ready` is called for what will run at a place.
    pub(super) fn exchange(
        &self,
        engine: &Engine,
        graph: Option<[u8; 32]>,
        load: impl Fn(Option<usize>) -> Result<Arc<dyn Executable>>,
        ready: impl Fn(&dyn Executable) -> Result<()>,
    ) -> Result<()> {
        let mut on_devices: Vec<(Option<usize>, Arc<dyn Executable>)> = Vec::new();
        let mut loaded: Vec<(Arc<Live>, Arc<dyn Executable>)> = Vec::new();
        loop {
            let missing = self.state(|state| {
                let places: Vec<_> = state.places.iter().filter_map(Weak::upgrade).collect();
                let is_loaded =
                    |place: &Arc<Live>| loaded.iter().any(|(p, _)| Arc::ptr_eq(p, place));
                let missing: Vec<_> = places.into_iter().filter(|p| !is_loaded(p)).collect();
                if missing.is_empty() {
                    (state.engine, state.graph) = (Some(engine.clone()), graph);
                    for (place, executable) in &mut loaded {
                        let old = place.now.swap(Arc::new(executable.clone()));
                        *executable = Arc::clone(&*old);
                    }
                }
                missing
            });
            if missing.is_empty() {
                break;
            }
            for place in missing {
                let known = on_devices.iter().find(|(ordinal, _)| *ordinal == place.ordinal);
                let whole = match known {
                    Some((_, whole)) => whole.clone(),
                    None => {
                        let whole = load(place.ordinal)?;
                        on_devices.push((place.ordinal, whole.clone()));
                        whole
                    }
                };
                let executable = match &place.profile {
                    Some(name) => whole.for_profile(name)?.into(),
                    None => whole,
                };
                ready(&*executable)?;
                loaded.push((place, executable));
            }
        }
        drop(on_devices);
        let end = Instant::now() + WAIT;
        for (_, old) in loaded {
            while Arc::strong_count(&old) > 1 && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

fn same_plan(one: Option<&Engine>, other: Option<&Engine>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => std::ptr::eq(one.plan().as_ptr(), other.plan().as_ptr()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight threads that use one model, by what each use costs beside the run:
    /// `cargo test --release --lib -- the_cost_of_a_use --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn the_cost_of_a_use() {
        const THREADS: usize = 8;
        const USES: usize = 2_000_000;

        #[derive(Debug)]
        struct Nothing(Signature);
        impl Executable for Nothing {
            fn signature(&self) -> &Signature {
                &self.0
            }
            fn run(&self, _: &[HostTensor]) -> Result<Vec<HostTensor>> {
                Ok(Vec::new())
            }
        }
        let model: Arc<dyn Executable> = Arc::new(Nothing(Signature::default()));
        let live = Live::new(model, "nothing".into(), None, None);
        let time = |work: &(dyn Fn() + Sync)| {
            let start = Instant::now();
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| (0..USES).for_each(|_| work()));
                }
            });
            start.elapsed().as_secs_f64() * 1e9 / (THREADS * USES) as f64
        };
        for _ in 0..3 {
            let counted = time(&|| drop(live.now.load_full().run(&[])));
            let guarded = time(&|| drop(live.run(&[])));
            println!(
                "{counted:.1} ns of all threads a use with a counter, {guarded:.1} ns with a guard"
            );
        }
    }
}
