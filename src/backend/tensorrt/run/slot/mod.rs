//! A context with what an execution needs beside it: the shapes it was told, the order of its work
//! among streams, and memory to copy through. Which execution gets which slot is the pool's business.

mod captured;
mod host;
mod order;
mod own_memory;
mod shapes;

use std::sync::Arc;

use cudarc::driver::{CudaContext, CudaStream, result};
use cxx::UniquePtr;

use super::captures::not_captured;
use super::computed::ComputedOutputs;
use super::context::{COMPUTED, Context};
use super::counters::Counters;
use super::graphs::{Graph, Recent, Wanted};
use super::memory::Buffer;
use super::pool::Member;
use super::queue::Queue;
use super::ranges::Ranges;
use super::scratch::Scratch;
use crate::backend::tensorrt::ffi::{HostMemory, LayerTime};
use crate::backend::tensorrt::ffi::{bind, device_error};
use crate::backend::{ADDRESS_ALIGNMENT, DeviceTensor};
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{DType, Signature, TensorSpec};
use order::Order;
use own_memory::Copy;
use shapes::{Met, Shapes};

/// What every execution is checked against.
pub(crate) struct Model {
    pub(crate) signature: Signature,
    /// The engine's own profiles.
    pub(crate) profiles: Ranges,
    /// The places of the inputs whose values decide shapes. TensorRT reads them on the host.
    pub(crate) deciding: Vec<usize>,
    /// For each output the place of the input that it is written over, if it is.
    pub(crate) aliased: Vec<Option<usize>>,
}

impl Model {
    /// The sizes of all inputs, one after the other, and the profile for them and the values.
    ///
    /// # Errors
    /// All that is refused about them.
    pub(crate) fn accept<'a>(
        &self,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])> + Clone,
        values: &[i64],
    ) -> Result<(Vec<usize>, usize)> {
        self.signature.check_inputs(inputs.clone())?;
        self.signature.check_not_empty(inputs.clone())?;
        let sizes: Vec<_> = inputs.flat_map(|(_, sizes)| sizes.iter().copied()).collect();
        let profile = self.profiles.choose(&sizes, values)?;
        Ok((sizes, profile))
    }
}

/// A context that may be used by one execution at a time. Fields are dropped in this order.
pub(crate) struct Slot {
    order: Order,
    /// Go before the context that they were captured from.
    graphs: Recent<Graph>,
    /// The shapes and values of inputs whose kernels are loaded, where that must be known.
    executed: Met,
    context: Context,
    /// What the context was given, if it shares it with others.
    scratch: Option<Arc<Scratch>>,
    shapes: Shapes,
    /// As the context is told them: inputs, then outputs.
    addresses: Vec<u64>,
    /// The copies before the next execution, and after it.
    copies: [Vec<Copy>; 2],
    computed: ComputedOutputs,
    /// Memory of the slot's own for each tensor, which is made when it is needed.
    buffers: Vec<Buffer>,
    /// For what does not come with a stream that TensorRT likes.
    own: Queue,
    /// Whether captures are kept apart from what other threads do.
    isolated: bool,
    stream: Arc<CudaStream>,
    /// The shapes whose kernels were [given out](Slot::new_kernels).
    kept: Met,
    /// Whether the context was told other shapes since, and the bytes of its kernels then.
    compiled: bool,
    kernel_bytes: usize,
}

impl Slot {
    pub(crate) fn new(
        mut context: Context,
        profiles: usize,
        device: &Arc<CudaContext>,
        signature: &Signature,
        graphs: Wanted,
        isolated: bool,
        scratch: Option<Arc<Scratch>>,
    ) -> Result<Self> {
        let stream =
            device.new_stream().map_err(|e| device_error("a stream cannot be created", e))?;
        // SAFETY: just made, and the slot keeps it.
        let own = unsafe { Queue::new(stream.cu_stream() as usize) }?;
        let event =
            || device.new_event(None).map_err(|e| device_error("an event cannot be created", e));
        if profiles > 0 {
            // SAFETY: our own stream, and nothing was enqueued yet.
            unsafe { context.select_profile(0, stream.cu_stream() as usize) }?;
        }
        let tensors = signature.inputs.len() + signature.outputs.len();
        let mut slot = Self {
            order: Order { done: event()?, last: None, user: None, moved: event()? },
            context,
            scratch,
            shapes: Shapes::new(signature),
            graphs: Recent::new(graphs),
            executed: Met::default(),
            kept: Met::default(),
            copies: Default::default(),
            computed: ComputedOutputs::new(signature.outputs.len(), device),
            addresses: vec![0; tensors],
            buffers: (0..tensors).map(|_| Buffer::new(device.clone())).collect(),
            own,
            isolated,
            stream,
            compiled: true,
            kernel_bytes: 0,
        };
        slot.order.enqueued(own)?;
        Ok(slot)
    }

    /// Whether nothing is lost when these shapes and values come: the context knows them, or none at all.
    pub(crate) fn suits<'a>(
        &self,
        model: &Model,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])>,
        values: &[i64],
    ) -> bool {
        !self.shapes.set || self.shapes.are(&model.signature, inputs, values)
    }

    /// Whether the next execution is better off with another slot: this one cannot capture any more.
    pub(crate) fn is_spent(&self) -> bool {
        self.context.is_serial()
    }

    /// Has the context keep how long each layer takes, and wait for each.
    pub(crate) fn set_timed(&mut self) -> Result<()> {
        self.context.set_timed()
    }

    /// The layers of the [runs](Self::run) since this was asked last.
    pub(crate) fn take_times(&mut self) -> Result<Vec<LayerTime>> {
        self.context.take_times()
    }

    /// The kernels of the context, if it was told new shapes since this was asked last, and has more of them. Shapes that
    /// come back cost nothing: their kernels were given out.
    pub(crate) fn new_kernels(&mut self) -> Result<Option<UniquePtr<HostMemory>>> {
        if !std::mem::take(&mut self.compiled) || !self.kept.add(&self.shapes) {
            return Ok(None);
        }
        let kernels = self.context.kernels()?;
        Ok(kernels.filter(|kernels| {
            let bytes = kernels.bytes().len();
            std::mem::replace(&mut self.kernel_bytes, bytes) != bytes
        }))
    }

    /// Ends the context and gives the kernels that it compiled, if they are to be kept.
    pub(crate) fn finish(self) -> Result<Option<UniquePtr<HostMemory>>> {
        let Self { order, graphs, context, .. } = self;
        drop((order, graphs));
        // SAFETY: what was enqueued is done.
        unsafe { context.finish() }
    }

    /// The sizes of the outputs for these of the inputs.
    pub(crate) fn output_shapes<'a>(
        &mut self,
        model: &Model,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])> + Clone,
        counters: &Counters,
    ) -> Result<Vec<Vec<usize>>> {
        self.set_shapes(model, inputs, &[], counters)?;
        if let Some(i) = self.shapes.computed.iter().position(|&computed| computed) {
            let text = "the shape of this output is computed, and not known before";
            let name = &model.signature.outputs[i].name;
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).on_tensor(name));
        }
        let Shapes { outputs, ranges, .. } = &self.shapes;
        Ok(ranges.iter().map(|range| outputs[range.clone()].to_vec()).collect())
    }

    /// Tells the context the shapes of the inputs, and the values of those that decide shapes, if they are
    /// not those of last time.
    fn set_shapes<'a>(
        &mut self,
        model: &Model,
        inputs: impl ExactSizeIterator<Item = (DType, &'a [usize])> + Clone,
        values: &[i64],
        counters: &Counters,
    ) -> Result<()> {
        if self.shapes.are(&model.signature, inputs.clone(), values) {
            return Ok(());
        }
        // Before the context forgets what it knows.
        let (sizes, profile) = model.accept(inputs, values)?;
        let shapes = &mut self.shapes;
        shapes.set = false;
        // The context may keep what belongs to the old shapes where a graph looks for it.
        self.graphs.clear();
        shapes.inputs = sizes;
        shapes.values = values.to_vec();
        if profile != shapes.profile {
            // Copies on the stream it is given, before the next execution and after the last.
            self.order.begin(self.own, counters)?;
            let _plainly = not_captured();
            // SAFETY: our own stream, which comes after all work of this context.
            unsafe { self.context.select_profile(profile, self.own.raw() as usize) }?;
            self.order.enqueued(self.own)?;
            shapes.profile = profile;
        }
        if !values.is_empty() {
            // What is on its way may read the values before.
            let waited = self.order.done.synchronize();
            waited.map_err(|e| device_error("earlier work failed", e))?;
        }
        // SAFETY: just waited for.
        unsafe { self.context.set_shapes(&shapes.inputs, &shapes.values, &mut shapes.outputs) }?;
        for (computed, range) in shapes.computed.iter_mut().zip(&shapes.ranges) {
            *computed = shapes.outputs[range.clone()].contains(&COMPUTED);
        }
        for (i, spec) in model.signature.outputs.iter().enumerate() {
            if !shapes.computed[i] {
                spec.check_result(&shapes.outputs[shapes.ranges[i].clone()])?;
            }
        }
        shapes.set = true;
        self.compiled = true;
        Counters::count(&counters.reshapes);
        Ok(())
    }

    /// All that can be refused before work is enqueued: checks the inputs, tells the context their
    /// shapes, and collects the addresses. `values` are those of the inputs that decide shapes.
    pub(crate) fn prepare(
        &mut self,
        model: &Model,
        inputs: &[DeviceTensor<'_>],
        values: &[i64],
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
        counters: &Counters,
    ) -> Result<()> {
        let shapes = inputs.iter().map(|input| (input.dtype, input.shape));
        self.set_shapes(model, shapes, values, counters)?;
        let Model { signature, deciding, .. } = model;
        let (to_inputs, to_outputs) = self.addresses.split_at_mut(inputs.len());
        for (i, (input, address)) in inputs.iter().zip(to_inputs).enumerate() {
            if deciding.contains(&i) {
                continue;
            }
            let spec = &signature.inputs[i];
            if input.address == 0 {
                let text = "the address is null";
                return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&spec.name));
            }
            *address = input.address;
        }
        let Shapes { outputs, ranges, computed, .. } = &self.shapes;
        for (i, (range, address)) in ranges.iter().zip(to_outputs).enumerate() {
            if computed[i] {
                continue;
            }
            *address = output(i, &outputs[range.clone()])?;
            check_output(*address, &signature.outputs[i])?;
            if let Some(input) = model.aliased[i]
                && *address != inputs[input].address
            {
                let name = &signature.inputs[input].name;
                let text = format!("it is written over input `{name}`, and must have its address");
                let error = Error::new(ErrorKind::InvalidArgument, text);
                return Err(error.on_tensor(&signature.outputs[i].name));
            }
        }
        Ok(())
    }

    /// Enqueues what was [prepared](Self::prepare). `output` gives memory for outputs whose shape was
    /// computed.
    ///
    /// # Safety
    /// As [`DeviceExecutable::enqueue`](crate::backend::DeviceExecutable::enqueue); the device must
    /// be bound.
    pub(crate) unsafe fn enqueue(
        &mut self,
        model: &Model,
        queue: Queue,
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
        counters: &Counters,
    ) -> Result<()> {
        self.order.user = Some(queue.id());
        self.align(&model.signature)?;
        let launch = self.has_graph(counters);
        if !launch && self.is_to_be_captured(counters) {
            self.stage(model, counters)?;
        }
        // TensorRT waits for the device on a default stream; the launch of a graph is just a launch.
        let detour = queue.is_default() && !launch;
        let on = if detour { self.own } else { queue };
        self.order.begin(on, counters)?;
        if detour {
            queue.record(&self.order.moved)?;
            on.wait(&self.order.moved)?;
        }
        // SAFETY: the caller's promise, and `on` comes after the caller's stream or is it.
        let enqueued = unsafe { self.enqueue_on(&model.signature, on, launch, counters) };
        let enqueued = enqueued.and_then(|()| {
            let after = |order: &Order| match detour {
                true => queue.record(&order.moved).and_then(|()| on.wait(&order.moved)),
                false => Ok(()),
            };
            self.copy_computed(&model.signature, on, output, after, counters)
        });
        // Also after a failure: something may be on its way, which must be over before this slot
        // is gone.
        self.order.enqueued(on)?;
        if detour {
            queue.wait(&self.order.done)?;
        }
        enqueued
    }

    /// Copies the outputs whose shape was computed to the memory that `output` gives, which `on` comes
    /// after once `after` was called.
    fn copy_computed(
        &mut self,
        signature: &Signature,
        on: Queue,
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
        after: impl Fn(&Order) -> Result<()>,
        counters: &Counters,
    ) -> Result<()> {
        let Shapes { outputs, ranges, computed, .. } = &mut self.shapes;
        for (i, spec) in signature.outputs.iter().enumerate().filter(|&(i, _)| computed[i]) {
            let (from, sizes) = self.computed.get(i, spec)?;
            spec.check_result(sizes)?;
            let to = output(i, sizes)?;
            check_output(to, spec)?;
            outputs[ranges[i].clone()].copy_from_slice(sizes);
            let len = byte_len(spec, sizes)?;
            bind(self.stream.context())?;
            after(&self.order)?;
            if len > 0 {
                // SAFETY: what was written for these sizes, and memory for them that the caller
                // promised; in the order of this slot, which keeps its side.
                unsafe { result::memcpy_dtod_async(to, from, len, on.raw()) }.map_err(|e| {
                    device_error("an output cannot be copied", e).on_tensor(&spec.name)
                })?;
                Counters::count(&counters.device_copies);
            }
        }
        Ok(())
    }

    /// # Safety
    /// As [`enqueue`](Self::enqueue); `launch` says that there is a graph.
    unsafe fn enqueue_on(
        &mut self,
        signature: &Signature,
        queue: Queue,
        launch: bool,
        counters: &Counters,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { self.copy(&self.copies[0], signature, queue, counters) }?;
        let scratch = self.scratch.clone();
        let turn = scratch.as_ref().map(|scratch| scratch.turn(queue)).transpose()?;
        // SAFETY: the caller's promise.
        let executed = unsafe { self.execute(queue, launch, counters) };
        if let Some(turn) = turn {
            // Also after a failure: something may be on its way.
            turn.over()?;
        }
        executed?;
        // SAFETY: the caller's promise.
        unsafe { self.copy(&self.copies[1], signature, queue, counters) }?;
        Counters::count(&counters.executions);
        Ok(())
    }

    /// # Safety
    /// As [`enqueue_on`](Self::enqueue_on).
    unsafe fn execute(&mut self, queue: Queue, launch: bool, counters: &Counters) -> Result<()> {
        if self.shapes.computed.contains(&true) {
            // Its memory may grow, and the execution before writes there.
            let waited = self.order.done.synchronize();
            waited.map_err(|e| device_error("earlier work failed", e))?;
        }
        let capture = !launch && self.is_to_be_captured(counters);
        // SAFETY: the caller's promise.
        let launch = launch || (capture && unsafe { self.capture_at_once(queue, counters) }?);
        match self.graphs.current().filter(|_| launch) {
            Some(graph) => {
                // SAFETY: it is of these shapes and addresses, which are as the caller promises or
                // ours. Its launches are in the order of this slot, which waits for them.
                unsafe { graph.launch(queue) }?;
                Counters::count(&counters.graph_launches);
                Ok(())
            }
            // SAFETY: the caller's promise.
            None => unsafe { self.enqueue_plainly(queue) },
        }
    }

    /// # Safety
    /// As [`enqueue_on`](Self::enqueue_on).
    unsafe fn enqueue_plainly(&mut self, queue: Queue) -> Result<()> {
        let _plainly = not_captured();
        let stream = queue.raw() as usize;
        // SAFETY: shapes were set and every tensor has an address, whose memory is as the
        // caller promises or ours; the slot waits for this work before it lets go.
        unsafe { self.context.enqueue(&self.addresses, &mut self.computed, stream) }
    }
}

impl Member for Slot {
    fn last_user(&self) -> Option<u64> {
        self.order.user
    }

    fn is_idle(&mut self) -> bool {
        if self.order.last.is_some() && self.order.done.is_complete() {
            self.order.last = None;
        }
        self.order.last.is_none()
    }
}

/// Memory for an output must be aligned.
fn check_output(address: u64, spec: &TensorSpec) -> Result<()> {
    if address == 0 || !address.is_multiple_of(ADDRESS_ALIGNMENT) {
        let text =
            format!("the address {address:#x} is not a multiple of {ADDRESS_ALIGNMENT}, or null");
        return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&spec.name));
    }
    Ok(())
}

/// The length of a tensor in bytes.
pub(crate) fn byte_len(spec: &TensorSpec, sizes: &[usize]) -> Result<usize> {
    let len = sizes.iter().try_fold(spec.dtype.size(), |n, &size| n.checked_mul(size));
    len.ok_or_else(|| {
        let text = format!("{} {sizes:?} is too large for this machine", spec.dtype);
        Error::new(ErrorKind::Execution, text).on_tensor(&spec.name)
    })
}
