//! Executions on host tensors: copied to the device, run, and copied back.

use bytes::Bytes;

use super::{Model, Shapes, Slot, byte_len};
use crate::backend::DeviceTensor;
use crate::backend::tensorrt::ffi::device_error;
use crate::backend::tensorrt::run::counters::Counters;
use crate::backend::tensorrt::run::memory::Buffer;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

impl Slot {
    /// Runs on host tensors and waits for the result. `values` are those of the inputs that decide shapes.
    /// The device must be bound.
    pub(crate) fn run(
        &mut self,
        model: &Model,
        tensors: &[HostTensor],
        values: &[i64],
        counters: &Counters,
    ) -> Result<Vec<HostTensor>> {
        let own = self.own;
        self.order.begin(own, counters)?;
        self.order.user = Some(own.id());
        if self.order.last.is_some() {
            // Tensors of the device may be on their way to the buffers, or from there.
            let waited = self.order.done.synchronize();
            waited.map_err(|e| device_error("earlier work failed", e))?;
        }
        let mut buffers = std::mem::take(&mut self.buffers);
        let outputs = self.run_through(model, tensors, values, &mut buffers, counters);
        // Whatever happened: the buffers must not be reused or freed before the copies are done.
        let done = self.stream.synchronize();
        self.order.last = done.is_err().then_some(own.id());
        self.buffers = buffers;
        let lens = outputs?;
        done.map_err(|e| {
            Error::new(ErrorKind::Device, format!("the device failed: {e}")).with_source(e)
        })?;
        let Shapes { outputs, ranges, .. } = &self.shapes;
        let specs = model.signature.outputs.iter();
        let tensors = specs.zip(&self.buffers[tensors.len()..]).zip(lens).zip(ranges);
        let tensors = tensors.map(|(((spec, buffer), len), range)| {
            // SAFETY: downloaded, and the stream is done.
            let bytes = Bytes::copy_from_slice(unsafe { buffer.host(len) });
            HostTensor::from_bytes(spec.dtype, &outputs[range.clone()], bytes)
        });
        tensors.collect()
    }

    /// Enqueues copies and execution, and gives the length of each output in bytes.
    fn run_through(
        &mut self,
        model: &Model,
        tensors: &[HostTensor],
        values: &[i64],
        buffers: &mut [Buffer],
        counters: &Counters,
    ) -> Result<Vec<usize>> {
        let (signature, own) = (&model.signature, self.own);
        let (inputs, outputs) = buffers.split_at_mut(tensors.len());
        let mut bound = Vec::with_capacity(tensors.len());
        for (i, (buffer, tensor)) in inputs.iter_mut().zip(tensors).enumerate() {
            let (spec, (dtype, shape)) = (&signature.inputs[i], (tensor.dtype(), tensor.shape()));
            if model.deciding.contains(&i) {
                bound.push(DeviceTensor { dtype, shape, address: 0 });
                continue;
            }
            // An output that is written over this input is read from its own buffer.
            let written = model.aliased.iter().position(|input| *input == Some(i));
            let buffer = written.map_or(buffer, |output| &mut outputs[output]);
            // SAFETY: the device is bound, the stream was done when the buffers were last used,
            // and it is waited for before they are used again.
            unsafe { buffer.upload(tensor.bytes(), &self.stream) }
                .map_err(|e| e.on_tensor(&spec.name))?;
            Counters::count(&counters.host_copies);
            bound.push(DeviceTensor { dtype, shape, address: buffer.address() });
        }
        let mut lens = vec![0; outputs.len()];
        let mut room = |i: usize, sizes: &[usize]| {
            let spec = &signature.outputs[i];
            let len = byte_len(spec, sizes)?;
            outputs[i].reserve(len).map_err(|e| e.on_tensor(&spec.name))?;
            lens[i] = len;
            Ok(outputs[i].address())
        };
        self.prepare(model, &bound, values, &mut room, counters)?;
        self.align(signature)?;
        let launch = self.has_graph(counters);
        // SAFETY: the buffers are as long as the shapes say and live until the stream is done.
        unsafe { self.enqueue_on(signature, own, launch, counters) }?;
        self.copy_computed(signature, own, &mut room, |_| Ok(()), counters)?;
        for ((spec, buffer), &len) in signature.outputs.iter().zip(outputs).zip(&lens) {
            // SAFETY: as above; `len` bytes were reserved.
            unsafe { buffer.download(len, &self.stream) }.map_err(|e| e.on_tensor(&spec.name))?;
            Counters::count(&counters.host_copies);
        }
        Ok(lens)
    }
}
