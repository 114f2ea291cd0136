//! Runs an engine, on host tensors and on tensors of its device: what it takes, what it checks, and
//! how it ends. The work itself is a slot's.

use std::{fmt, path::PathBuf, sync::Arc};

use cudarc::driver::{CudaContext, result};

use super::captures::loading;
use super::counters::Counters;
use super::engine::LoadedEngine;
use super::graphs::Wanted;
use super::kernels::Kernels;
use super::known_shapes::KnownShapes;
use super::needs::{contexts_within, kernels_file, kernels_may_overlap, memory, model};
use super::pool::{Pool, SlotLease, Wish};
use super::queue::Queue;
use super::scratch::Scratch;
use super::slot::{Model, Slot, byte_len};
use crate::backend::tensorrt::build::values::integers;
use crate::backend::tensorrt::build::{LayerRanges, TensorRtOptions};
use crate::backend::tensorrt::ffi::{ContextOptions, bind, device_error, sides};
use crate::backend::{
    DeviceExecutable, DeviceTensor, Engine, EngineMemory, Executable, ExecutionCounters, LayerTime,
    StreamHandle,
};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Signature};
use crate::tensor::HostTensor;

/// An engine on a device, which may run with several choices of its profiles.
struct Loaded {
    engine: LoadedEngine,
    /// As the engine was built, with the ranges of all profiles.
    signature: Signature,
    profile_names: Vec<String>,
    options: TensorRtOptions,
    graphs: Wanted,
    /// The file that keeps compiled kernels.
    kernels: Option<PathBuf>,
}

/// An engine that runs on one device.
pub(crate) struct EngineExecutable {
    model: Model,
    // The contexts go before the engine that they use.
    pool: Pool<Slot>,
    loaded: Arc<Loaded>,
    device: Arc<CudaContext>,
    asked: ContextOptions,
    /// What the contexts were given, which keep it too.
    scratch: Option<Arc<Scratch>>,
    kernels: Option<Kernels>,
    known: KnownShapes,
    counters: Counters,
}

impl EngineExecutable {
    /// Takes over an engine and makes a first context, so that a device that cannot run it is
    /// found out here.
    pub(crate) fn new(
        engine: LoadedEngine,
        device: Arc<CudaContext>,
        header: &Engine,
        options: &TensorRtOptions,
    ) -> Result<Self> {
        let overlap = match options.kernel_overlap {
            Some(allowed) => allowed,
            None => kernels_may_overlap(&device, header.kind())?,
        };
        let graphs = match (overlap, options.cuda_graph) {
            (false, _) => Wanted::Always,
            (true, true) => Wanted::Again,
            (true, false) => Wanted::Never,
        };
        let loaded = Loaded {
            graphs,
            engine,
            signature: header.signature().clone(),
            profile_names: header.profile_names().to_vec(),
            options: options.clone(),
            kernels: kernels_file(&device, header, options),
        };
        Self::with_profile(Arc::new(loaded), device, options.profile.as_deref())
    }

    /// What the library tells of the engine's layers, as JSON.
    pub(super) fn described(&self) -> Result<String> {
        bind(self.cuda())?;
        self.loaded.engine.layer_information()
    }

    /// All profiles, or one alone.
    fn with_profile(
        loaded: Arc<Loaded>,
        device: Arc<CudaContext>,
        profile: Option<&str>,
    ) -> Result<Self> {
        let Loaded { engine, options, .. } = &*loaded;
        let model = model(engine, &loaded.signature, &loaded.profile_names, profile)?;
        let contexts = contexts_within(engine, &model.signature, options)?;
        let kernels = loaded.kernels.clone().map(Kernels::open).transpose()?;
        let scratch_size = engine.scratch_bytes();
        let scratch = options.shared_scratch.then(|| {
            bind(&device)?;
            Scratch::new(&device, scratch_size).map(Arc::new)
        });
        let scratch = scratch.transpose()?;
        let asked = ContextOptions {
            tensors: sides(&model.signature).map(|(spec, _)| spec.name.clone()).collect(),
            inputs: model.signature.inputs.len(),
            // A captured kernel stays: the one for any shape would never be replaced.
            eager: loaded.graphs != Wanted::Never,
            use_runtime_cache: kernels.is_some(),
            runtime_cache: Vec::new(),
            user_scratch: scratch.is_some(),
            scratch: scratch.as_ref().map_or(0, |scratch| scratch.address()),
            scratch_size: scratch_size as u64,
            layer_ranges: LayerRanges::number(loaded.options.layer_ranges),
        };
        // A graph is of one context and its shapes, and a capture takes longer than most executions.
        let pool = Pool::new(contexts, loaded.graphs != Wanted::Never);
        let known = KnownShapes::default();
        let counters = Counters::default();
        let executable =
            Self { model, pool, loaded, device, asked, scratch, kernels, known, counters };
        let mut lease = executable.pool.lease(Wish::Idle, |_| true, || executable.slot())?;
        if let Some(slot) = lease.slot() {
            executable.keep_kernels(slot);
        }
        drop(lease);
        Ok(executable)
    }

    /// Keeps what a context compiled, at once: a program that is killed drops nothing.
    fn keep_kernels(&self, slot: &mut Slot) {
        let Some(kernels) = &self.kernels else { return };
        match slot.new_kernels() {
            Ok(None) => {}
            Ok(Some(compiled)) => kernels.add(&self.loaded.engine, compiled.bytes()),
            Err(e) => {
                tracing::warn!(target: "accelerant::tensorrt", "the compiled kernels are not kept: {e}");
            }
        }
    }

    /// Keeps what an execution with new shapes compiled. Where kernels are compiled in the background, they are kept
    /// when the module is dropped.
    fn keep_new_kernels(&self, slot: &mut Slot) {
        if self.asked.eager {
            self.keep_kernels(slot);
        }
    }

    /// A slot for these inputs, whose `values` are those of the inputs that decide shapes.
    fn lease<'a>(
        &self,
        wish: Wish,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])> + Clone,
        values: &[i64],
    ) -> Result<SlotLease<'_, Slot>> {
        let model = &self.model;
        let suits = |slot: &Slot| slot.suits(model, inputs.clone(), values);
        self.pool.lease(wish, suits, || {
            // A context is not made for what is refused.
            model.accept(inputs.clone(), values)?;
            self.slot()
        })
    }

    fn slot(&self) -> Result<Slot> {
        self.slot_with(self.loaded.graphs)
    }

    /// A slot that captures its executions as `graphs` says.
    pub(super) fn slot_with(&self, graphs: Wanted) -> Result<Slot> {
        let _loading = loading();
        let mut asked = self.asked.clone();
        asked.runtime_cache = self.kernels.as_ref().map(Kernels::known).unwrap_or_default();
        // SAFETY: the slot keeps the scratch memory, and takes turns.
        let context = unsafe { self.loaded.engine.create_context(&asked) }?;
        let profiles = self.loaded.engine.profile_count();
        let signature = &self.model.signature;
        let scratch = self.scratch.clone();
        let isolated = self.loaded.options.isolated_captures;
        let slot =
            Slot::new(context, profiles, &self.device, signature, graphs, isolated, scratch)?;
        Counters::count(&self.counters.contexts);
        Ok(slot)
    }
}

impl EngineExecutable {
    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn cuda(&self) -> &Arc<CudaContext> {
        &self.device
    }

    pub(super) fn counted(&self) -> &Counters {
        &self.counters
    }

    /// The values of the inputs that decide shapes, one input after the other.
    pub(super) fn values_of(&self, inputs: &[HostTensor]) -> Vec<i64> {
        let deciding = self.model.deciding.iter().map(|&i| &inputs[i]);
        deciding.flat_map(|x| integers(x.dtype(), x.bytes()).unwrap_or_default()).collect()
    }

    /// The values of the inputs that decide shapes, one input after the other. They are copied to the
    /// host in the order of the stream, which is waited for; an engine without such inputs waits for
    /// nothing.
    ///
    /// # Safety
    /// As [`DeviceExecutable::enqueue`]; the device must be bound.
    unsafe fn values(&self, queue: Queue, inputs: &[DeviceTensor<'_>]) -> Result<Vec<i64>> {
        let Model { signature, deciding, .. } = &self.model;
        if deciding.is_empty() {
            return Ok(Vec::new());
        }
        signature.check_inputs(inputs.iter().map(|input| (input.dtype, input.shape)))?;
        let mut values = Vec::new();
        for &i in deciding {
            let (spec, input) = (&signature.inputs[i], &inputs[i]);
            let mut bytes = vec![0u8; byte_len(spec, input.shape)?];
            // SAFETY: the caller's promise; what is copied to is there until the stream is done.
            let copied =
                unsafe { result::memcpy_dtoh_async(&mut bytes, input.address, queue.raw()) };
            // Also after a failure: a copy may be on its way.
            // SAFETY: the caller's promise.
            let waited = unsafe { result::stream::synchronize(queue.raw()) };
            copied.and(waited).map_err(|e| {
                device_error("the values of an input cannot be read", e).on_tensor(&spec.name)
            })?;
            Counters::count(&self.counters.host_copies);
            values.extend(integers(input.dtype, &bytes).unwrap_or_default());
        }
        Ok(values)
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Execution, "the context is gone")
}

impl Executable for EngineExecutable {
    fn signature(&self) -> &Signature {
        &self.model.signature
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        let shapes = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        self.model.signature.check_inputs(shapes.clone())?;
        self.model.signature.check_not_empty(shapes.clone())?;
        let values = self.values_of(inputs);
        bind(&self.device)?;
        let mut lease = self.lease(Wish::Idle, shapes, &values)?;
        let slot = lease.doubt().ok_or_else(lost)?;
        let outputs = slot.run(&self.model, inputs, &values, &self.counters)?;
        self.keep_new_kernels(slot);
        if !slot.is_spent() {
            lease.trust();
        }
        Ok(outputs)
    }

    fn concurrency(&self) -> usize {
        self.pool.max()
    }

    fn device(&self) -> Option<&dyn DeviceExecutable> {
        Some(self)
    }

    fn for_profile(&self, name: &str) -> Result<Box<dyn Executable>> {
        let (loaded, device) = (self.loaded.clone(), self.device.clone());
        bind(&device)?;
        Ok(Box::new(Self::with_profile(loaded, device, Some(name))?))
    }
}

impl DeviceExecutable for EngineExecutable {
    fn ordinal(&self) -> usize {
        self.device.ordinal()
    }

    fn memory(&self) -> EngineMemory {
        let Loaded { engine, options, .. } = &*self.loaded;
        memory(engine, &self.model.signature, self.pool.max(), options)
    }

    fn counters(&self) -> ExecutionCounters {
        self.counters.read()
    }

    fn layer_times(&self, inputs: &[HostTensor], runs: usize) -> Result<Vec<LayerTime>> {
        self.times_of_layers(inputs, runs)
    }

    fn aliased_input(&self, output: usize) -> Option<usize> {
        self.model.aliased.get(output).copied().flatten()
    }

    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>> {
        if let Some(shapes) = self.known.get(inputs) {
            return Ok(shapes);
        }
        // Only the number is known of those too many; they are refused by it.
        let dtype = |i: usize| self.model.signature.inputs.get(i).map(|spec| spec.dtype);
        let given = inputs.iter().enumerate();
        let given: Vec<_> =
            given.map(|(i, &shape)| (dtype(i).unwrap_or(DType::F32), shape)).collect();
        if let Some(&i) = self.model.deciding.first() {
            let text =
                "the values of this input decide the shapes of outputs, which sizes do not tell";
            let name = &self.model.signature.inputs[i].name;
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(name));
        }
        bind(&self.device)?;
        let mut lease = self.lease(Wish::Any, given.iter().copied(), &[])?;
        let slot = lease.slot().ok_or_else(lost)?;
        let shapes = slot.output_shapes(&self.model, given.iter().copied(), &self.counters)?;
        self.known.keep(inputs, &shapes);
        Ok(shapes)
    }

    unsafe fn enqueue(
        &self,
        stream: StreamHandle,
        inputs: &[DeviceTensor<'_>],
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
    ) -> Result<()> {
        bind(&self.device)?;
        // SAFETY: the caller's promise; the device is bound.
        let queue = unsafe { Queue::new(stream.0) }?;
        // SAFETY: the caller's promise; the device is bound.
        let values = unsafe { self.values(queue, inputs) }?;
        let shapes = inputs.iter().map(|input| (input.dtype, input.shape));
        let mut lease = self.lease(Wish::Stream(queue.id()), shapes, &values)?;
        let slot = lease.slot().ok_or_else(lost)?;
        slot.prepare(&self.model, inputs, &values, output, &self.counters)?;
        // What `output` called may have bound another device.
        bind(&self.device)?;
        let slot = lease.doubt().ok_or_else(lost)?;
        // SAFETY: the caller's promise; the device is bound.
        unsafe { slot.enqueue(&self.model, queue, output, &self.counters) }?;
        self.keep_new_kernels(slot);
        if !slot.is_spent() {
            lease.trust();
        }
        Ok(())
    }
}

impl fmt::Debug for EngineExecutable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineExecutable")
            .field("device", &self.device.ordinal())
            .field("signature", &self.model.signature)
            .field("engine", &self.loaded.engine)
            .finish_non_exhaustive()
    }
}

impl Drop for EngineExecutable {
    fn drop(&mut self) {
        // The contexts go first: they use the engine.
        let slots = self.pool.take();
        let Some(kernels) = &self.kernels else { return };
        for slot in slots {
            match slot.finish() {
                Ok(Some(compiled)) => kernels.add(&self.loaded.engine, compiled.bytes()),
                Ok(None) => {}
                Err(e) => {
                    tracing::warn!(target: "accelerant::tensorrt", "the compiled kernels are not kept: {e}");
                }
            }
        }
    }
}
