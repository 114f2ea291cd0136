//! Outputs with a computed shape. The shape is not known before the execution, and TensorRT asks for memory in the middle of
//! the execution. That memory is kept here, and its contents are copied to the output.

use std::sync::Arc;

use cudarc::driver::CudaContext;

use super::memory::DeviceMemory;
use crate::backend::tensorrt::ffi::Outputs;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::TensorSpec;

/// Memory for the outputs of one context, and what the last execution said of them.
pub(crate) struct ComputedOutputs {
    outputs: Vec<Output>,
    /// Why TensorRT was given no memory.
    error: Option<Error>,
}

struct Output {
    memory: DeviceMemory,
    sizes: Option<Vec<usize>>,
}

impl ComputedOutputs {
    pub(crate) fn new(outputs: usize, device: &Arc<CudaContext>) -> Self {
        let output = |_| Output { memory: DeviceMemory::new(device.clone()), sizes: None };
        Self { outputs: (0..outputs).map(output).collect(), error: None }
    }

    /// Forgets the execution before.
    pub(crate) fn forget(&mut self) {
        self.error = None;
        self.outputs.iter_mut().for_each(|output| output.sizes = None);
    }

    /// Why the execution was given no memory, if that is why it failed.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Where an output is, and its sizes.
    ///
    /// # Errors
    /// [`ErrorKind::Execution`] when TensorRT did not tell.
    pub(crate) fn get(&self, output: usize, spec: &TensorSpec) -> Result<(u64, &[usize])> {
        let output = self.outputs.get(output);
        let known =
            output.and_then(|output| Some((output.memory.address(), output.sizes.as_deref()?)));
        known.filter(|(_, sizes)| sizes.len() == spec.shape.rank()).ok_or_else(|| {
            Error::new(ErrorKind::Execution, "TensorRT did not tell the shape that it computed")
                .on_tensor(&spec.name)
        })
    }
}

impl Outputs for ComputedOutputs {
    /// Memory for an output, 0 when there is none. The device must be bound, and
    /// nothing enqueued before may use the memory.
    fn reserve(&mut self, output: usize, size: u64, alignment: u64) -> u64 {
        let Some(Output { memory, .. }) = self.outputs.get_mut(output) else { return 0 };
        match memory.reserve(usize::try_from(size).unwrap_or(usize::MAX)) {
            Ok(()) if memory.address().is_multiple_of(alignment.max(1)) => memory.address(),
            Ok(()) => {
                let text = format!("no memory at a multiple of {alignment} for output {output}");
                self.error = Some(Error::new(ErrorKind::Device, text));
                0
            }
            Err(error) => {
                self.error = Some(error);
                0
            }
        }
    }

    /// The sizes that TensorRT computed.
    fn shape_known(&mut self, output: usize, sizes: &[i64]) {
        if let Some(output) = self.outputs.get_mut(output) {
            let sizes = sizes.iter().map(|&size| usize::try_from(size).ok());
            output.sizes = sizes.collect();
        }
    }
}
