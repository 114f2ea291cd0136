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

    /// As [`run`](Self::run), with its own time limit instead of the module's [run
    /// timeout](crate::OptimizeOptions::run_timeout).
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::TimedOut`] and [`ErrorKind::Cancelled`]. The module can be run again.
    pub fn run_within(&self, inputs: &[HostTensor], limit: &TimeLimit) -> Result<Vec<HostTensor>> {
        self.timed(|| self.0.executable.run_within(inputs, limit))
    }

    /// The number of overdue runs: runs that exceeded their [limit](TimeLimit) and still compute a node that cannot be
    /// stopped. If the number of overdue runs reaches the number of CPU cores, tract starts no run with a limit. ONNX
    /// Runtime starts no run during an overdue run. A waiting run ends with [`ErrorKind::TimedOut`] at its own limit.
    /// On TensorRT, the number is 0.
    ///
    /// The memory of the model and the inputs is freed when the last overdue run ends, even if the module is dropped
    /// before.
    pub fn overdue_runs(&self) -> usize {
        self.0.executable.overdue()
    }

    /// The time of each layer on the device for these inputs, in execution order: the median of `runs` runs. Each
    /// layer waits for the previous layer. The sum of the times is therefore longer than a [run](Self::run).
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::UnsupportedOperation`] for a backend without layer times. TensorRT has
    /// layer times.
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

    /// Runs in the background, on a thread of the module. The handle is a [`Future`], and a thread can also wait for
    /// the handle. Runs start in the order of their submission. The backend decides [how many
    /// runs](Executable::concurrency) execute at the same time.
    ///
    /// If you drop the handle, a run that has not started is withdrawn. If you drop the last clone of the module, the
    /// drop waits for all runs whose handles still exist. The queue has no limit; the queue of a
    /// [`Batcher`](crate::serving::Batcher) has a limit.
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
    /// Immediately, inputs that do not match the signature, as in [`run`](Self::run), and [`ErrorKind::Io`] if the
    /// system cannot create a thread. The handle returns later errors.
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
