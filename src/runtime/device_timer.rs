//! Calls on device tensors that stay where they are, timed by CUDA events. What is made of the times is not here.

use std::sync::Arc;
use std::time::Instant;

use cudarc::driver::sys::CUevent_flags::CU_EVENT_DEFAULT;
use cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError};

use super::InferenceModule;
use super::cuda::{CudaModule, CudaRead, CudaTensor, CudaWrite, without_captures};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

/// Measures calls of a module on tensors in device memory, on the host and on the device.
///
/// ```no_run
/// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, cuda::DeviceTimer};
///
/// let module = InferenceModule::open("digits.engine", &OptimizeOptions::new())?;
/// let image = HostTensor::from_vec(vec![1, 1, 8, 8], vec![0f32; 64])?;
/// let mut timer = DeviceTimer::new(&module, 0, &[image])?;
/// // The first calls compile kernels and capture graphs.
/// timer.calls(20)?;
/// println!("{:.3} ms", timer.calls(200)?.median());
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Debug)]
pub struct DeviceTimer<'m> {
    module: CudaModule<'m>,
    stream: Arc<CudaStream>,
    inputs: Vec<CudaTensor>,
    outputs: Vec<CudaTensor>,
}

/// The times of successive calls on one stream, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct CallTimes {
    /// The time of the host to enqueue each call.
    pub enqueue: Vec<f64>,
    /// The time of the device for each call, between two CUDA events.
    pub compute: Vec<f64>,
}

impl CallTimes {
    /// The median time of the device; 0 without calls.
    pub fn median(&self) -> f64 {
        let mut times = self.compute.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

impl<'m> DeviceTimer<'m> {
    /// Copies `inputs` to the device `ordinal`, and calls the module once. Later calls reuse the memory of the
    /// outputs.
    ///
    /// # Errors
    /// [`ErrorKind::Device`] when the module does not run on that device; otherwise as
    /// [`CudaModule::run_alloc`](super::cuda::CudaModule::run_alloc).
    pub fn new(module: &'m InferenceModule, ordinal: usize, inputs: &[HostTensor]) -> Result<Self> {
        let module = module.cuda_on(ordinal)?;
        let context = CudaContext::new(ordinal).map_err(failed)?;
        let stream = without_captures(|| context.new_stream()).map_err(failed)?;
        let inputs = inputs.iter().map(|host| CudaTensor::upload(&stream, host));
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let outputs = module.run_alloc(&stream, &read(&inputs))?;
        Ok(Self { module, stream, inputs, outputs })
    }

    /// Calls the module `count` times, then waits for the device.
    ///
    /// # Errors
    /// As [`CudaModule::run_on`](super::cuda::CudaModule::run_on).
    pub fn calls(&mut self, count: usize) -> Result<CallTimes> {
        let mark = || self.stream.record_event(Some(CU_EVENT_DEFAULT)).map_err(failed);
        let read = read(&self.inputs);
        let mut events = vec![mark()?];
        let mut times = CallTimes::default();
        for _ in 0..count {
            let written = self.outputs.iter_mut().map(|output| output as &mut dyn CudaWrite);
            let mut written: Vec<_> = written.collect();
            let start = Instant::now();
            self.module.run_on(&self.stream, &read, &mut written)?;
            times.enqueue.push(start.elapsed().as_secs_f64() * 1e3);
            events.push(mark()?);
        }
        self.stream.synchronize().map_err(failed)?;
        let between = |pair: &[CudaEvent]| pair[0].elapsed_ms(&pair[1]).map(f64::from);
        times.compute = events.windows(2).map(between).collect::<Result<_, _>>().map_err(failed)?;
        Ok(times)
    }
}

fn read(tensors: &[CudaTensor]) -> Vec<(&dyn CudaRead, &[usize])> {
    tensors.iter().map(|tensor| (tensor as &dyn CudaRead, tensor.shape())).collect()
}

fn failed(error: DriverError) -> Error {
    Error::new(ErrorKind::Device, format!("the CUDA driver: {error}")).with_source(error)
}
