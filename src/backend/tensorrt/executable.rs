//! Runs an engine on host tensors: a bounded pool of contexts, each with a stream and buffers of
//! its own. Tensors that are on the device already do not pass here.

use std::{
    fmt,
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cudarc::driver::{CudaContext, CudaStream};
use cxx::UniquePtr;

use super::builder::read_if_there;
use super::device::{self, Buffer, device_error};
use super::ffi::{ContextOptions, HostMemory};
use super::options::TensorRtOptions;
use super::runtime::{Context, LoadedEngine};
use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::spec::{Signature, TensorSpec};
use crate::tensor::HostTensor;

/// An engine that runs on one device.
pub(super) struct DeviceExecutable {
    signature: Signature,
    pool: Pool,
    engine: LoadedEngine,
    device: Arc<CudaContext>,
    runtime_cache: Option<PathBuf>,
}

impl DeviceExecutable {
    /// Takes over an engine and makes a first context, so that a device that cannot run it is
    /// found out here.
    pub(super) fn new(
        engine: LoadedEngine,
        device: Arc<CudaContext>,
        signature: Signature,
        options: &TensorRtOptions,
    ) -> Result<Self> {
        let runtime_cache = options.runtime_cache.clone();
        let asked = ContextOptions {
            cuda_graph: options.cuda_graph,
            use_runtime_cache: runtime_cache.is_some(),
            runtime_cache: runtime_cache
                .as_deref()
                .map(read_if_there)
                .transpose()?
                .unwrap_or_default(),
        };
        let pool = Pool {
            asked,
            max: options.max_contexts,
            state: Mutex::default(),
            freed: Condvar::new(),
        };
        let executable = Self { signature, pool, engine, device, runtime_cache };
        executable.lease()?.keep();
        Ok(executable)
    }

    /// A free slot, a new one, or the next that becomes free.
    fn lease(&self) -> Result<Lease<'_>> {
        let mut state = self.pool.lock();
        loop {
            if let Some(slot) = state.idle.pop() {
                return Ok(Lease { pool: &self.pool, slot: Some(slot), keep: false });
            }
            if state.made < self.pool.max {
                state.made += 1;
                break;
            }
            state = self.pool.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        // From here the lease gives the place back if making the slot fails.
        let mut lease = Lease { pool: &self.pool, slot: None, keep: false };
        let context = self.engine.create_context(&self.pool.asked)?;
        let profiles = self.engine.profile_count();
        lease.slot = Some(Slot::new(context, profiles, &self.device, &self.signature)?);
        Ok(lease)
    }
}

impl Executable for DeviceExecutable {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.signature
            .check_inputs(inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape())))?;
        for (spec, tensor) in self.signature.inputs.iter().zip(inputs) {
            if let Some(axis) = tensor.shape().iter().position(|&size| size == 0) {
                let text = "TensorRT takes no tensors without elements";
                return Err(Error::new(ErrorKind::ShapeMismatch, text)
                    .on_tensor(&spec.name)
                    .at_axis(axis));
            }
        }
        let mut lease = self.lease()?;
        let outputs = lease.slot()?.run(&self.signature, inputs)?;
        lease.keep();
        Ok(outputs)
    }
}

impl fmt::Debug for DeviceExecutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceExecutable")
            .field("device", &self.device.ordinal())
            .field("signature", &self.signature)
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl Drop for DeviceExecutable {
    fn drop(&mut self) {
        // The contexts go first: they use the engine.
        let slots = std::mem::take(&mut self.pool.lock().idle);
        let Some(path) = &self.runtime_cache else { return };
        let caches = slots.into_iter().filter_map(|slot| slot.finish().transpose());
        let kept = caches.collect::<Result<Vec<_>>>().and_then(|caches| {
            // The context that met the most shapes has compiled the most.
            match caches.iter().map(|cache| cache.bytes()).max_by_key(|bytes| bytes.len()) {
                Some(bytes) if bytes != self.pool.asked.runtime_cache => {
                    write_atomic(path, |file| file.write_all(bytes))
                }
                _ => Ok(()),
            }
        });
        if let Err(e) = kept {
            tracing::warn!(target: "accelerant::tensorrt", "the compiled kernels are not kept: {e}");
        }
    }
}

/// The slots that are free, and how many there are in all.
struct Pool {
    asked: ContextOptions,
    max: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Slot>,
    made: usize,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole at every point where a panic could leave it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot out of the pool. It goes back if it is to be kept; after a failure it is thrown away,
/// because nobody knows what its stream still does.
struct Lease<'a> {
    pool: &'a Pool,
    slot: Option<Slot>,
    keep: bool,
}

impl Lease<'_> {
    fn slot(&mut self) -> Result<&mut Slot> {
        self.slot.as_mut().ok_or_else(|| Error::new(ErrorKind::Execution, "the context is gone"))
    }

    fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let slot = self.slot.take();
        let (kept, dropped) = if self.keep { (slot, None) } else { (None, slot) };
        // Outside the lock: it waits for the device.
        drop(dropped);
        let mut state = self.pool.lock();
        match kept {
            Some(slot) => state.idle.push(slot),
            None => state.made -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

/// A context with what it needs to run. Fields are dropped in this order.
struct Slot {
    done: Done,
    context: Context,
    inputs: Vec<Binding>,
    outputs: Vec<Binding>,
    stream: Arc<CudaStream>,
}

/// Waits for a stream when it is dropped.
struct Done(Arc<CudaStream>);

impl Drop for Done {
    fn drop(&mut self) {
        // An error here is one of the work before, which was told then.
        let _ = self.0.synchronize();
    }
}

/// The memory of an input or output, and what the context was told of it.
struct Binding {
    buffer: Buffer,
    sizes: Option<Vec<usize>>,
    address: u64,
}

impl Slot {
    fn new(
        mut context: Context,
        profiles: usize,
        device: &Arc<CudaContext>,
        signature: &Signature,
    ) -> Result<Self> {
        let stream =
            device.new_stream().map_err(|e| device_error("a stream cannot be created", e))?;
        if profiles > 0 {
            // SAFETY: our own stream, and nothing was enqueued yet.
            unsafe { context.select_profile(0, stream.cu_stream() as usize) }?;
        }
        let bindings = |specs: &[TensorSpec]| {
            let binding =
                |_| Binding { buffer: Buffer::new(device.clone()), sizes: None, address: 0 };
            specs.iter().map(binding).collect()
        };
        let (inputs, outputs) = (bindings(&signature.inputs), bindings(&signature.outputs));
        Ok(Self { done: Done(stream.clone()), context, inputs, outputs, stream })
    }

    /// Ends the context and gives the kernels that it compiled, if they are to be kept.
    fn finish(self) -> Result<Option<UniquePtr<HostMemory>>> {
        let Self { done, context, .. } = self;
        drop(done);
        // SAFETY: the stream is done.
        unsafe { context.finish() }
    }

    fn run(&mut self, signature: &Signature, tensors: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let Self { context, inputs, outputs, stream, .. } = self;
        device::bind(stream.context())?;
        let mut reshaped = false;
        for ((spec, binding), tensor) in signature.inputs.iter().zip(&mut *inputs).zip(tensors) {
            // SAFETY: the device is bound, the stream was done when this slot was kept, and the
            // slot waits for the stream before it is dropped.
            unsafe { binding.buffer.upload(tensor.bytes(), stream) }
                .map_err(|e| e.on_tensor(&spec.name))?;
            if binding.sizes.as_deref() != Some(tensor.shape()) {
                context.set_input_shape(&spec.name, tensor.shape())?;
                binding.sizes = Some(tensor.shape().to_vec());
                reshaped = true;
            }
            binding.tell_address(context, &spec.name)?;
        }
        if reshaped {
            context.check_shapes()?;
        }
        for (spec, binding) in signature.outputs.iter().zip(&mut *outputs) {
            if reshaped || binding.sizes.is_none() {
                let sizes = context.shape(&spec.name)?;
                let len = byte_len(spec, &sizes)?;
                binding.buffer.reserve(len).map_err(|e| e.on_tensor(&spec.name))?;
                binding.sizes = Some(sizes);
            }
            binding.tell_address(context, &spec.name)?;
        }
        // SAFETY: all inputs and outputs have an address and memory for their shapes; the slot
        // owns memory and stream and waits for the stream before it lets go of them.
        unsafe { context.enqueue(stream.cu_stream() as usize) }?;
        let mut lens = Vec::with_capacity(outputs.len());
        for (spec, binding) in signature.outputs.iter().zip(&mut *outputs) {
            let len = byte_len(spec, binding.sizes())?;
            // SAFETY: as above; `len` bytes were reserved.
            unsafe { binding.buffer.download(len, stream) }.map_err(|e| e.on_tensor(&spec.name))?;
            lens.push(len);
        }
        stream.synchronize().map_err(|e| {
            Error::new(ErrorKind::Execution, format!("the device failed: {e}")).with_source(e)
        })?;
        let tensors =
            signature.outputs.iter().zip(&*outputs).zip(lens).map(|((spec, binding), len)| {
                // SAFETY: downloaded above, and the stream is done.
                let bytes = Bytes::copy_from_slice(unsafe { binding.buffer.host(len) });
                HostTensor::from_bytes(spec.dtype, binding.sizes(), bytes)
            });
        tensors.collect()
    }
}

impl Binding {
    fn sizes(&self) -> &[usize] {
        self.sizes.as_deref().unwrap_or_default()
    }

    fn tell_address(&mut self, context: &mut Context, name: &str) -> Result<()> {
        let address = self.buffer.address();
        if address != self.address {
            context.set_address(name, address)?;
            self.address = address;
        }
        Ok(())
    }
}

fn byte_len(spec: &TensorSpec, sizes: &[usize]) -> Result<usize> {
    let len = sizes.iter().try_fold(spec.dtype.size(), |n, &size| n.checked_mul(size));
    len.ok_or_else(|| {
        let text = format!("{} {sizes:?} is too large for this machine", spec.dtype);
        Error::new(ErrorKind::Execution, text).on_tensor(&spec.name)
    })
}
