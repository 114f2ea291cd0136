//! The seam for tensors that are in device memory already: addresses and a stream go in, and work is enqueued. Nothing is
//! copied, and nothing waits. No framework and no driver is named here.

use crate::error::{Error, ErrorKind, Result};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// A stream of the device's driver, by its raw handle: for CUDA a `CUstream` as a number.
///
/// 0, 1 and 2 are CUDA's default streams. Their work runs on a stream of the executable's own, in order by events, because
/// TensorRT would wait for the whole device on a default stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamHandle(pub usize);

/// An input in device memory: contiguous and row-major.
#[derive(Clone, Copy, Debug)]
pub struct DeviceTensor<'a> {
    /// The element type.
    pub dtype: DType,
    /// The sizes, outermost first.
    pub shape: &'a [usize],
    /// The address of the first element. An address that is not a multiple of [`ADDRESS_ALIGNMENT`] costs a copy on the
    /// device.
    pub address: u64,
}

/// The alignment of addresses that TensorRT needs, in bytes. Memory that CUDA gives begins at such addresses.
pub const ADDRESS_ALIGNMENT: u64 = 256;

/// How long a layer takes in one execution. A layer is what the backend runs as one: often several operators of the model.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct LayerTime {
    /// The backend's name for it, with the names of the model's nodes where the backend keeps them.
    pub name: String,
    /// Microseconds on the device: the median of all runs.
    pub micros: f64,
    /// Microseconds on the device: the mean of all runs.
    pub mean_micros: f64,
    /// The nodes of the model that the layer computes, as the backend names them. TensorRT knows the nodes of engines that
    /// were built with `TensorRtOptions::layer_details`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The types of what the layer reads and writes, in the backend's words, where [`nodes`](Self::nodes) are known too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
}

impl LayerTime {
    /// A layer with its median and mean time in microseconds.
    pub fn new(name: impl Into<String>, micros: f64, mean_micros: f64) -> Self {
        Self { name: name.into(), micros, mean_micros, ..Self::default() }
    }

    /// The same with the nodes that the layer computes, and the types of what it reads and writes.
    #[must_use]
    pub fn of_nodes(mut self, nodes: Vec<String>, types: Vec<String>) -> Self {
        (self.nodes, self.types) = (nodes, types);
        self
    }
}

/// Device memory that an executable takes, in bytes. Inputs and outputs are the caller's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EngineMemory {
    /// The weights, once for all contexts.
    pub weights: u64,
    /// Scratch memory of one context.
    pub scratch: u64,
    /// The most contexts that will be made.
    pub contexts: usize,
    /// Whether all contexts share one scratch memory.
    pub shared_scratch: bool,
    /// All inputs at their largest sizes.
    pub inputs: u64,
    /// All outputs at their largest sizes.
    pub outputs: u64,
}

impl EngineMemory {
    /// The weights and the scratch memory of all contexts, or the scratch memory that they share.
    pub fn total(&self) -> u64 {
        let scratches = if self.shared_scratch { 1 } else { self.contexts as u64 };
        self.weights.saturating_add(self.scratch.saturating_mul(scratches))
    }
}

/// The work of an executable since it was loaded.
///
/// The copies are those of this crate. Copies of frameworks are not counted; a profiler shows all copies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionCounters {
    /// Executions enqueued.
    pub executions: u64,
    /// Copies between host and device.
    pub host_copies: u64,
    /// Copies on the device: of inputs at unaligned addresses, and of outputs with a computed shape.
    pub device_copies: u64,
    /// Executions on memory of the context's own. All tensors were copied to and from that memory on the device. These are
    /// the first executions at new addresses where kernels may not overlap.
    pub staged: u64,
    /// Times that a context got other input shapes than before.
    pub reshapes: u64,
    /// Times that one stream had to wait for another one.
    pub stream_waits: u64,
    /// Contexts made.
    pub contexts: u64,
    /// Executions that were the launch of a CUDA graph.
    pub graph_launches: u64,
    /// CUDA graphs captured.
    pub graph_captures: u64,
    /// Captures that failed. The execution goes on without a graph, and the context tries again after a pause that is
    /// doubled with each failure.
    pub graph_refusals: u64,
}

/// An [`Executable`](super::Executable) for tensors in device memory.
///
/// Executions of one stream run in the order in which they were enqueued. Executions of several streams may run at the
/// same time, one for each context. Other executions wait on the device, by events. A call blocks its thread only while
/// other threads hold all contexts. A call holds a context for the time of an enqueue, or of a whole run on
/// [host tensors](super::Executable::run).
pub trait DeviceExecutable: Send + Sync {
    /// The device, counted from 0.
    fn ordinal(&self) -> usize;

    /// The memory that the executable takes on the device.
    fn memory(&self) -> EngineMemory;

    /// The runs, copies and graphs so far.
    fn counters(&self) -> ExecutionCounters;

    /// How long each layer takes on these inputs, the median of so many runs. The layers run one after the other, on
    /// memory of their own; other runs that go on at the same time make the times longer.
    ///
    /// # Errors
    /// As [`Executable::run`](super::Executable::run), and [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation)
    /// where the backend does not tell.
    fn layer_times(&self, _inputs: &[HostTensor], _runs: usize) -> Result<Vec<LayerTime>> {
        let text = "this backend does not tell how long its layers take";
        Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("time layers"))
    }

    /// The input that an output is written over, counted as in the signature: the output must be given the memory of this
    /// input. `None` for outputs with memory of their own.
    fn aliased_input(&self, _output: usize) -> Option<usize> {
        None
    }

    /// The sizes of all outputs for these sizes of all inputs.
    ///
    /// # Errors
    /// Shapes that do not fit the signature, as in [`enqueue`](Self::enqueue), and
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) for a model in which the values
    /// of an input decide shapes, or an output's shape is computed.
    fn output_shapes(&self, inputs: &[&[usize]]) -> Result<Vec<Vec<usize>>>;

    /// Enqueues an execution on `stream` and returns without waiting for the execution. If the values of an input decide
    /// shapes, the call reads these values first, and waits for `stream` to do so.
    ///
    /// `output` is called once for each output, with the place and the sizes of the output. `output` gives the address of
    /// memory: a multiple of [`ADDRESS_ALIGNMENT`], and not 0. `output` may enqueue work on `stream`, such as the
    /// allocation itself, but must not call this executable. Outputs with a computed shape come last, after an execution
    /// that waits until the shape is known.
    ///
    /// # Errors
    /// Inputs that do not fit the signature, naming tensor and axis; errors of `output`;
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a stream that is being captured and
    /// for an unaligned output; [`Execution`](crate::ErrorKind::Execution) and
    /// [`Device`](crate::ErrorKind::Device) when the backend fails. After an error, the contents of the outputs are
    /// undefined.
    ///
    /// # Safety
    /// - `stream` must be a live stream of this [device](Self::ordinal), in its primary context.
    /// - Each input must be memory of this device that holds its type and shape, written by work
    ///   that `stream` comes after.
    /// - Each output address must be memory of this device for the sizes given.
    /// - All of this memory must stay unchanged until `stream` has done this execution. Memory that is freed in the order
    ///   of `stream`, as `cuMemFreeAsync` does, may be freed at once.
    unsafe fn enqueue(
        &self,
        stream: StreamHandle,
        inputs: &[DeviceTensor<'_>],
        output: &mut dyn FnMut(usize, &[usize]) -> Result<u64>,
    ) -> Result<()>;
}
