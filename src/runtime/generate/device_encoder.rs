//! An encoder whose results stay on a GPU.

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result};

use super::device_memory::{Memory, bytes, failed, on_device};
use crate::backend::{DeviceTensor, StreamHandle};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::InferenceModule;
use crate::spec::TensorSpec;
use crate::tensor::HostTensor;

/// An engine that encodes, with memory for what it reads and gives.
pub(super) struct Encoder {
    module: InferenceModule,
    device: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    inputs: Vec<Memory>,
    outputs: Vec<Memory>,
}

impl Encoder {
    pub(super) fn new(
        module: &InferenceModule,
        device: &Arc<CudaContext>,
        stream: &Arc<CudaStream>,
    ) -> Result<Self> {
        let all = |specs: &[TensorSpec]| {
            specs.iter().map(|spec| Memory::new(stream, bytes(spec))).collect::<Result<_>>()
        };
        let signature = module.signature();
        Ok(Self {
            inputs: all(&signature.inputs)?,
            outputs: all(&signature.outputs)?,
            module: module.clone(),
            device: device.clone(),
            stream: stream.clone(),
        })
    }

    /// What was encoded, in the order of the module's outputs.
    pub(super) fn outputs(&self) -> &[Memory] {
        &self.outputs
    }

    /// Enqueues a pass over tensors of the host.
    pub(super) fn encode(&self, source: &[HostTensor]) -> Result<()> {
        let specs = &self.module.signature().inputs;
        let fits = |(spec, tensor): (&TensorSpec, &HostTensor)| tensor.bytes().len() == bytes(spec);
        if specs.len() != source.len() || !specs.iter().zip(source).all(fits) {
            let text = "the source has other sizes than the encoder";
            return Err(Error::new(ErrorKind::ShapeMismatch, text).in_operation("generate"));
        }
        self.device.bind_to_thread().map_err(|e| failed("no context", e))?;
        for (memory, tensor) in self.inputs.iter().zip(source) {
            let bytes: &[u8] = tensor.bytes();
            // SAFETY: memory of as many bytes; pageable memory is read before the call returns.
            unsafe { result::memcpy_htod_async(memory.address, bytes, self.stream.cu_stream()) }
                .map_err(|e| failed("the source cannot be copied", e))?;
        }
        let inputs: Vec<_> = source
            .iter()
            .zip(&self.inputs)
            .map(|(tensor, memory)| DeviceTensor {
                dtype: tensor.dtype(),
                shape: tensor.shape(),
                address: memory.address,
            })
            .collect();
        let mut output = |i: usize, _: &[usize]| Ok::<_, Error>(self.outputs[i].address);
        let stream = StreamHandle(self.stream.cu_stream() as usize);
        // SAFETY: our own stream, and memory of the sizes of the signature that lives until the stream is done.
        unsafe { on_device(&self.module)?.enqueue(stream, &inputs, &mut output) }
    }
}
