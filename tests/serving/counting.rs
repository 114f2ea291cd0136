//! The portable backend behind one that notes each run, and can hold up runs
//! at a gate, let them fail, and let them panic.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use accelerant::Registry;
use accelerant::backend::tract::Tract;
use accelerant::backend::{Backend, Executable};
use accelerant::export::{OnnxModel, Target};
use accelerant::{
    BackendKind, Engine, Error, ErrorKind, HostTensor, InferenceModule, OptimizeOptions, Result,
    Signature,
};

#[derive(Default, Debug)]
struct State {
    closed: bool,
    broken: Vec<usize>,
    /// The device, and the shape of the first input.
    begun: Vec<(usize, Vec<usize>)>,
    loaded: Vec<usize>,
    dropped: usize,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Counting {
    more_devices: usize,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Counting {
    pub(crate) fn of_devices(count: usize) -> Self {
        Self { more_devices: count - 1, ..Self::default() }
    }

    pub(crate) fn compile(&self, model: &OnnxModel) -> InferenceModule {
        let options = OptimizeOptions::new().registry(Registry::empty().with(self.clone()));
        InferenceModule::compile(model, &options).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds up every run that begins from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
    }

    pub(crate) fn open(&self) {
        self.lock().closed = false;
        self.state.1.notify_all();
    }

    /// From now on these devices fail, and no others.
    pub(crate) fn set_broken(&self, devices: &[usize]) {
        self.lock().broken = devices.to_vec();
    }

    /// Waits until as many runs have begun since the start.
    pub(crate) fn wait_for(&self, runs: usize) {
        let few = |state: &mut State| state.begun.len() < runs;
        drop(self.state.1.wait_while(self.lock(), few).unwrap());
    }

    /// The shapes of the runs that have begun, in this order.
    pub(crate) fn shapes(&self) -> Vec<Vec<usize>> {
        self.lock().begun.iter().map(|(_, shape)| shape.clone()).collect()
    }

    /// The devices of the runs that have begun, in this order.
    pub(crate) fn devices_used(&self) -> Vec<usize> {
        self.lock().begun.iter().map(|(device, _)| *device).collect()
    }

    /// The devices that engines were loaded on, in this order.
    pub(crate) fn loaded(&self) -> Vec<usize> {
        self.lock().loaded.clone()
    }

    /// How many of the executables are gone.
    pub(crate) fn dropped(&self) -> usize {
        self.lock().dropped
    }
}

impl Backend for Counting {
    fn kind(&self) -> BackendKind {
        BackendKind::Tract
    }

    fn description(&self) -> String {
        format!("{}, counted", Tract.description())
    }

    fn target(&self) -> Target {
        Tract.target()
    }

    fn probe(&self) -> Result<()> {
        Tract.probe()
    }

    fn build(&self, model: &OnnxModel) -> Result<Engine> {
        Tract.build(model)
    }

    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>> {
        self.load_on(engine, 0)
    }

    fn devices(&self) -> Result<usize> {
        Ok(self.more_devices + 1)
    }

    fn load_on(&self, engine: &Engine, device: usize) -> Result<Box<dyn Executable>> {
        if device > self.more_devices {
            return Err(Error::new(ErrorKind::Device, format!("no device {device}")));
        }
        self.lock().loaded.push(device);
        Ok(Box::new(Counted { device, inner: Tract.load(engine)?, backend: self.clone() }))
    }
}

#[derive(Debug)]
struct Counted {
    device: usize,
    inner: Box<dyn Executable>,
    backend: Counting,
}

impl Executable for Counted {
    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    /// A value of -1 is an error of the model, -2 a panic, and -3 a failure of the device.
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let mut state = self.backend.lock();
        state.begun.push((self.device, inputs[0].shape().to_vec()));
        self.backend.state.1.notify_all();
        let state = self.backend.state.1.wait_while(state, |state| state.closed).unwrap();
        let broken = state.broken.contains(&self.device);
        drop(state);
        let values = inputs[0].to_vec::<f32>()?;
        match () {
            () if values.contains(&-1.0) => {
                Err(Error::new(ErrorKind::Execution, "asked to fail").on_tensor("x"))
            }
            () if values.contains(&-2.0) => panic!("asked to panic"),
            () if broken || values.contains(&-3.0) => {
                Err(Error::new(ErrorKind::Device, "the device is gone"))
            }
            () => self.inner.run(inputs),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.backend.lock().dropped += 1;
    }
}
