//! A runtime behind a backend whose runs wait until they are allowed, and fail or panic where they are asked to.
#![cfg(feature = "tract")]

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use accelerant::backend::tract::Tract;
use accelerant::backend::{Backend, Executable};
use accelerant::cache::EngineCache;
use accelerant::export::{OnnxModel, Target};
use accelerant::generate::{Decoder, DecoderModule, DecoderOptions, Tokens};
use accelerant::{
    BackendKind, Engine, Error, ErrorKind, HostTensor, OptimizeOptions, Registry, Result, Signature,
};

/// What a run does in the place of its work.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    Error,
    Panic,
}

#[derive(Debug, Default)]
struct State {
    /// Runs that may begin. `None` allows all.
    allowed: Option<usize>,
    failure: Option<Failure>,
    /// Runs that are through: how many texts each of them had, and how many tokens of each text.
    done: Vec<[usize; 2]>,
}

#[derive(Clone)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>, Arc<dyn Backend>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gate({:?})", self.1.kind())
    }
}

/// Before tract.
impl Default for Gate {
    fn default() -> Self {
        Self::before(BackendKind::Tract)
    }
}

impl Gate {
    /// Before tract or ONNX Runtime.
    pub(crate) fn before(kind: BackendKind) -> Self {
        let inner: Arc<dyn Backend> = match kind {
            #[cfg(feature = "ort")]
            BackendKind::Ort => Arc::new(accelerant::backend::ort::Ort),
            _ => Arc::new(Tract),
        };
        Self(Arc::default(), inner)
    }

    /// A module behind the gate, with prompts in chunks of 8 tokens.
    pub(crate) fn compiled(
        &self,
        decoder: &Decoder,
        options: DecoderOptions,
    ) -> Result<DecoderModule> {
        let registry = Registry::empty().with(self.clone());
        let compiling = OptimizeOptions::new().registry(registry).cache(EngineCache::off());
        decoder.optimize_trt(&options.tokens(Tokens::UpTo(8)), &compiling)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds up every run that begins from now on.
    pub(crate) fn close(&self) {
        self.lock().allowed = Some(0);
    }

    pub(crate) fn open(&self) {
        self.lock().allowed = None;
        self.0.1.notify_all();
    }

    /// Lets so many runs through, and waits until they are.
    pub(crate) fn pass(&self, runs: usize) {
        let mut state = self.lock();
        let wanted = state.done.len() + runs;
        state.allowed = Some(runs);
        self.0.1.notify_all();
        drop(self.0.1.wait_while(state, |state| state.done.len() < wanted));
    }

    /// The next run fails.
    pub(crate) fn fail(&self, failure: Failure) {
        self.lock().failure = Some(failure);
    }

    /// Of the runs so far, the tokens of each text.
    pub(crate) fn widths(&self) -> Vec<usize> {
        self.lock().done.iter().map(|[_, tokens]| *tokens).collect()
    }

    /// The texts of each of the runs so far.
    pub(crate) fn texts(&self) -> Vec<usize> {
        self.lock().done.iter().map(|[texts, _]| *texts).collect()
    }
}

impl Backend for Gate {
    fn kind(&self) -> BackendKind {
        self.1.kind()
    }

    fn description(&self) -> String {
        format!("{}, behind a gate", self.1.description())
    }

    fn target(&self) -> Target {
        self.1.target()
    }

    fn probe(&self) -> Result<()> {
        self.1.probe()
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        self.1.build(model)
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        Ok(Box::new(Gated { inner: self.1.load(engine)?, gate: self.clone() }))
    }
}

#[derive(Debug)]
struct Gated {
    inner: Box<dyn Executable>,
    gate: Gate,
}

impl Executable for Gated {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let closed = |state: &mut State| state.allowed == Some(0);
        let waiting = self.gate.0.1.wait_while(self.gate.lock(), closed);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        state.allowed = state.allowed.map(|allowed| allowed - 1);
        let failure = state.failure.take();
        drop(state);
        let outputs = match failure {
            Some(Failure::Panic) => panic!("asked to panic"),
            Some(Failure::Error) => Err(Error::new(ErrorKind::Execution, "asked to fail")),
            None => self.inner.run(inputs),
        };
        let [texts, tokens] = *inputs[0].shape() else { panic!("tokens have two axes") };
        self.gate.lock().done.push([texts, tokens]);
        self.gate.0.1.notify_all();
        outputs
    }
}
