//! Runs of a module: at once, within a limit, in the background, and behind the trait of executables.

use std::{
    sync::{Arc, PoisonError},
    time::Instant,
};

use super::InferenceModule;
use crate::backend::{DeviceExecutable, Executable, LayerTime};
use crate::error::{Error, ErrorKind, Result};
use crate::limit::TimeLimit;
use crate::runtime::serving::{Pending, Submitter};
use crate::spec::Signature;
use crate::tensor::HostTensor;

impl InferenceModule {
    /// Runs on host tensors, in the order of the signature.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::OutOfProfile`] naming tensor and axis; [`ErrorKind::Execution`] when the
    /// backend fails.
    pub fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.timed(|| self.0.executable.run(inputs))
    }

    /// As [`run`](Self::run), for as long as `limit` allows, instead of the
    /// [longest time](crate::OptimizeOptions::run_timeout) that the module allows.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::TimedOut`] and [`ErrorKind::Cancelled`]. The module can be run again.
    pub fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.timed(|| self.0.executable.run_within(inputs, limit))
    }

    /// The number of runs that outlived their [limit](TimeLimit) and still go on: each is in a node that cannot be stopped.
    /// tract begins no run with a limit while as many go on as the machine has processors. ONNX Runtime begins none while
    /// one goes on. Such a run ends with [`ErrorKind::TimedOut`] when its limit is over. The count is 0 on TensorRT.
    ///
    /// Memory of the model and the inputs is freed when the last such run has ended, also where the module is dropped.
    pub fn overdue_runs(&self) -> usize {
        self.0.executable.overdue()
    }

    /// How long each layer takes on the device for these inputs, in the order in which the layers run: the median of
    /// `runs` runs. Each layer waits for the one before, so that the sum is more than a [run](Self::run) takes.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::UnsupportedOperation`] where the backend does not tell. TensorRT does.
    pub fn layer_times(&self, inputs: &[HostTensor], runs: usize) -> Result<Vec<LayerTime>> {
        let Some(device) = self.0.executable.device() else {
            let text = format!("{} does not tell how long its layers take", self.backend());
            let error = Error::new(ErrorKind::UnsupportedOperation, text);
            return Err(error.in_operation("time layers"));
        };
        device.layer_times(inputs, runs).map_err(|e| e.in_operation("time layers"))
    }

    fn timed(&self, run: impl FnOnce() -> Result<Vec<HostTensor>>) -> Result<Vec<HostTensor>> {
        let first = &self.0.origin.first_run;
        if first.get().is_some() {
            return run().map_err(|e| e.in_operation("run"));
        }
        let start = Instant::now();
        let outputs = run().map_err(|e| e.in_operation("run"))?;
        // Of several at once the one that ends first.
        let _ = first.set(start.elapsed());
        Ok(outputs)
    }

    /// Runs in the background, on a thread of this module's own. The handle is a [`Future`], and a thread may wait for
    /// the handle. Runs begin in the order in which they are submitted, as many at a time as the backend
    /// [runs](Executable::concurrency).
    ///
    /// Dropping the handle withdraws a run that has not begun. Dropping the last clone of the module waits for all runs
    /// with handles that were not dropped. The queue has no bound; the queue of a
    /// [`Batcher`](crate::serving::Batcher) has a bound.
    ///
    /// ```
    /// # use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
    /// # let graph = GraphBuilder::new("double");
    /// # let x = graph.input("x", DType::F32, [3])?;
    /// # graph.output("y", &x.affine(2.0, 0.0)?)?;
    /// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
    /// let pending = module.submit(&[HostTensor::from(ndarray::array![1.0f32, 2.0, 3.0])])?;
    /// // In async code `pending.await?`, else:
    /// assert_eq!(pending.wait()?[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// At once, inputs that do not fit the signature, as in [`run`](Self::run), and
    /// [`ErrorKind::Io`] when the system gives no thread. Later errors come out of the handle.
    pub fn submit(&self, inputs: &[HostTensor]) -> Result<Pending> {
        let in_operation = |e: Error| e.in_operation("submit");
        let shapes = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        self.signature().check_inputs(shapes).map_err(in_operation)?;
        Ok(self.submitter().map_err(in_operation)?.submit(inputs))
    }

    /// Made without the lock, since an executable's own code is asked for its concurrency.
    fn submitter(&self) -> Result<Arc<Submitter>> {
        let lock = || self.0.submitter.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().clone();
        if let Some(submitter) = known {
            return Ok(submitter);
        }
        let made = Arc::new(Submitter::new(self.0.executable.clone())?);
        let first = lock().get_or_insert_with(|| made.clone()).clone();
        Ok(first)
    }
}

/// A module is an executable too.
impl Executable for InferenceModule {
    fn signature(&self) -> &Signature {
        self.0.executable.signature()
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        Self::run(self, inputs)
    }

    fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        Self::run_within(self, inputs, limit)
    }

    fn concurrency(&self) -> usize {
        self.0.executable.concurrency()
    }

    fn overdue(&self) -> usize {
        self.0.executable.overdue()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device()
    }

    fn device_on(&self, ordinal: usize) -> Option<&dyn DeviceExecutable> {
        self.0.executable.device_on(ordinal)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        Ok(Box::new(Self::for_profile(self, name)?))
    }
}
