//! The seam between a model and what runs it: two traits, and the choice among backends.
//! A backend is found by value, never by `cfg` in the caller.

mod device;
pub(crate) mod engine;
mod fingerprint;
mod header;
pub(crate) mod kind;
mod panics;
pub(crate) mod select;
mod timings;

#[cfg(feature = "ort")]
pub mod ort;
#[cfg(any(feature = "ort", feature = "tract"))]
mod portable;
// Both by name: the compiler and the documentation tell a user these, and not the feature that stands for them.
#[cfg(any(feature = "tensorrt", feature = "tensorrt-rtx"))]
pub mod tensorrt;
#[cfg(feature = "tract")]
pub mod tract;

use std::{fmt, sync::Arc};

pub use device::{
    ADDRESS_ALIGNMENT, DeviceExecutable, DeviceTensor, EngineMemory, ExecutionCounters, LayerTime,
    StreamHandle,
};
// The root of the crate has these for users.
pub(crate) use engine::Engine;
pub use fingerprint::Fingerprint;
pub(crate) use header::{Head, Label};
pub(crate) use kind::BackendKind;
pub(crate) use panics::guarded;
pub(crate) use select::Registry;
pub use select::{Compiled, Rejection};
pub(crate) use timings::{Content, TIMINGS, is_used};
pub use timings::{TimingFile, TimingFolder};

use crate::error::{Error, ErrorKind, Result};
use crate::export::{NodeRefusal, OnnxModel, Target};
use crate::limit::TimeLimit;
use crate::spec::{DType, Signature};
use crate::tensor::HostTensor;

/// A backend: builds [engines](Engine) from ONNX models, and loads engines as [executables](Executable).
///
/// A backend for other hardware implements this trait and [`Executable`], as `examples/custom_backend.rs` in the
/// repository shows. Building and loading are two steps, because an engine can be built on one machine and run on
/// another.
///
/// ```
/// use accelerant::backend::{Backend, tract::Tract};
/// use accelerant::{DType, HostTensor, export::GraphBuilder};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [3])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let model = graph.finish()?;
///
/// let backend = Tract;
/// backend.probe()?;
/// assert_eq!(backend.check(&model)?.unwrap_or_default().len(), 0);     // no node is refused
/// let engine = backend.build(&model.for_target(backend.target())?)?;
/// let executable = backend.load(&engine)?;
/// let y = executable.run(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
pub trait Backend: Send + Sync + fmt::Debug {
    /// The name of this backend.
    fn kind(&self) -> BackendKind;

    /// A description: the library and its version. The call compiles nothing.
    fn description(&self) -> String;

    /// The export target of this backend.
    fn target(&self) -> Target;

    /// Whether the backend can run anything on this machine.
    ///
    /// # Errors
    /// The reason, such as a missing library or device.
    fn probe(&self) -> Result<()>;

    /// Finds the nodes of a model that the backend refuses, without a build. `None` if the backend does not support
    /// this check.
    ///
    /// # Errors
    /// The reason why the backend cannot read any model, such as a missing library.
    fn check(&self, _model: &OnnxModel) -> Result<Option<Vec<NodeRefusal>>> {
        Ok(None)
    }

    /// Everything that a new engine depends on besides the model: the version of the library, the options that change
    /// engines, and the device. The default is `None`, and the [cache](crate::cache) then keeps no engines of the
    /// backend. A backend that builds as fast as it loads needs no cache.
    ///
    /// A fingerprint must have all of these parts, because the cache finds an engine only by its model and its
    /// fingerprint.
    ///
    /// # Errors
    /// The reason why nothing can be built, such as a missing library.
    fn fingerprint(&self) -> Result<Option<Fingerprint>> {
        Ok(None)
    }

    /// Builds an engine. The call needs the library. The call needs a device only if the library needs a device.
    ///
    /// # Errors
    /// The reason why the backend refuses the model, with its operations.
    fn build(&self, model: &OnnxModel) -> Result<Engine>;

    /// Builds an engine for a [cache](crate::cache). The backend may keep its measurements of the build in the folder
    /// of the cache. The default is [`build`](Self::build), which keeps nothing.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    fn build_timed(&self, model: &OnnxModel, _timings: &TimingFolder) -> Result<Engine> {
        self.build(model)
    }

    /// Builds and loads an engine. Implement this method if one step is cheaper than two.
    ///
    /// # Errors
    /// As [`build`](Self::build) and [`load`](Self::load).
    fn build_and_load(&self, model: &OnnxModel) -> Result<(Engine, Box<dyn Executable>)> {
        let engine = self.build(model)?;
        let executable = self.load(&engine)?;
        Ok((engine, executable))
    }

    /// Loads an engine.
    ///
    /// # Errors
    /// [`EngineIncompatible`](crate::ErrorKind::EngineIncompatible) when the engine was built for
    /// something else, naming built and found; [`Device`](crate::ErrorKind::Device) without one.
    fn load(&self, engine: &Engine) -> Result<Box<dyn Executable>>;

    /// Measures the time of each layer of a model on these inputs: the median of `runs` runs, with the
    /// [nodes](LayerTime::nodes) that each layer computes. The call builds the model.
    ///
    /// # Errors
    /// As [`build`](Self::build), [`load`](Self::load) and [`Executable::run`], and
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) where the backend does not tell.
    fn time_layers(
        &self,
        _model: &OnnxModel,
        _inputs: &[HostTensor],
        _runs: usize,
    ) -> Result<Vec<LayerTime>> {
        let text = format!("{} does not tell how long its layers take", self.kind());
        Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("time layers"))
    }

    /// Whether [`refit`](Self::refit) can replace the weights of an engine. The default is false.
    fn refits(&self) -> bool {
        false
    }

    /// Returns the engine with the weights of `model`, which must have the graph of the engine.
    ///
    /// # Errors
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) unless the backend [can](Self::refits), and why
    /// the weights do not fit the engine.
    fn refit(&self, _engine: &Engine, _model: &OnnxModel) -> Result<Engine> {
        let text = format!("{} cannot give an engine other weights", self.kind());
        Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("refit"))
    }

    /// The number of devices to [load on](Self::load_on).
    ///
    /// # Errors
    /// As [`probe`](Self::probe).
    fn devices(&self) -> Result<usize> {
        self.probe().map(|()| 1)
    }

    /// Loads an engine on one of the [devices](Self::devices), counted from 0. The device of the backend's options is
    /// ignored.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    fn load_on(&self, engine: &Engine, ordinal: usize) -> Result<Box<dyn Executable>> {
        if ordinal == 0 {
            return self.load(engine);
        }
        let text = format!("no device {ordinal}: {} has one", self.description());
        Err(Error::new(ErrorKind::Device, text))
    }
}

/// What looks at outputs.
pub type Look<'l> = dyn FnMut(&[Option<&[f32]>]) -> Result<()> + 'l;

/// A loaded model, shared between threads.
///
/// ```
/// use accelerant::{DType, HostTensor, Result, Signature, TensorSpec};
/// use accelerant::backend::Executable;
///
/// /// Computes without a runtime, for example in a test of the code around a model.
/// #[derive(Debug)]
/// struct Twice(Signature);
///
/// impl Executable for Twice {
///     fn signature(&self) -> &Signature {
///         &self.0
///     }
///
///     fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
///         Ok(vec![HostTensor::from(inputs[0].to_array::<f32>()? * 2.0)])
///     }
/// }
///
/// let (x, y) = (TensorSpec::new("x", DType::F32, [3]), TensorSpec::new("y", DType::F32, [3]));
/// let twice = Twice(Signature::new([x], [y]));
/// let y = twice.run(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
pub trait Executable: Send + Sync + fmt::Debug {
    /// Inputs and outputs, in order.
    fn signature(&self) -> &Signature;

    /// Runs on host tensors, in the order of the signature, and returns the outputs in its order.
    ///
    /// # Errors
    /// Inputs that do not match the signature, or [`Execution`](crate::ErrorKind::Execution) and
    /// [`Device`](crate::ErrorKind::Device) when the backend fails.
    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>>;

    /// As [`run`](Self::run), without a copy of the outputs, if the backend supports this. `look` gets the 32-bit
    /// floats of each output in the order of the signature, and nothing for outputs of other types.
    ///
    /// # Errors
    /// As [`run`](Self::run), and those of `look`.
    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        let outputs = self.run(inputs)?;
        let float = |tensor: &HostTensor| tensor.dtype() == DType::F32;
        let views = outputs.iter().map(|tensor| match float(tensor) {
            true => tensor.view::<f32>().map(Some),
            false => Ok(None),
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let values = views.iter().map(|view| view.as_ref().and_then(|view| view.as_slice()));
        look(&values.collect::<Vec<_>>())
    }

    /// As [`run`](Self::run), with a time limit. The default checks the limit only before the run. A backend that can
    /// stop checks the limit during the run.
    ///
    /// # Errors
    /// As [`run`](Self::run), and those of [`TimeLimit::check`].
    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        limit.check().map_err(|e| e.in_operation("run"))?;
        self.run(inputs)
    }

    /// The number of calls of [`run`](Self::run) that run at the same time. Other calls wait in their threads.
    fn concurrency(&self) -> usize {
        1
    }

    /// The number of overdue runs, which exceeded their [limit](Self::run_within) and still go on.
    fn overdue(&self) -> usize {
        0
    }

    /// The interface for tensors in device memory, if the model has a device. With several devices, this is the first
    /// device.
    fn device(&self) -> Option<&dyn DeviceExecutable> {
        None
    }

    /// The interface for tensors on this device, counted from 0, if the model runs on this device.
    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.device().filter(|device| device.ordinal() == ordinal)
    }

    /// The same model with only one of the engine's optimization profiles, by its name. Both share the loaded engine.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with the names of the profiles.
    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        let text = format!("no profile is named `{name}`: this backend has no profiles");
        Err(Error::new(ErrorKind::InvalidArgument, text).in_operation("optimization profiles"))
    }
}

/// A shared executable, as modules have it.
impl<E: Executable + ?Sized> Executable for Arc<E> {
    fn signature(&self) -> &Signature {
        (**self).signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        (**self).run(inputs)
    }

    fn look(&self, inputs: &[HostTensor], look: &mut Look<'_>) -> Result<()> {
        (**self).look(inputs, look)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        (**self).run_within(inputs, limit)
    }

    fn concurrency(&self) -> usize {
        (**self).concurrency()
    }

    fn overdue(&self) -> usize {
        (**self).overdue()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        (**self).device()
    }

    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        (**self).device_on(ordinal)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        (**self).for_profile(name)
    }
}
