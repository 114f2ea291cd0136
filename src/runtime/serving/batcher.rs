//! Single requests of many callers, run as batches: what a model must be for it, and the handle.

use std::{fmt, sync::Arc, time::Duration};

use super::joined::{BatchSizes, run_joined};
use super::pending::{Pending, pair};
use super::queue::{Limits, Queue};
use super::workers::Workers;
use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};
use crate::spec::{Dim, Signature, Symbol};
use crate::tensor::HostTensor;

/// Options of a [`Batcher`].
///
/// ```
/// use std::time::Duration;
/// use accelerant::serving::BatcherOptions;
///
/// // At most 32 rows, after at most 2 ms. The request behind 1000 that wait is refused.
/// let options = BatcherOptions::new().max_batch(32).max_delay(Duration::from_millis(2)).max_queue(1000);
/// ```
#[derive(Clone, Debug)]
pub struct BatcherOptions {
    max_batch: Option<usize>,
    batch_sizes: Vec<usize>,
    max_delay: Duration,
    max_queue: usize,
}

impl Default for BatcherOptions {
    fn default() -> Self {
        Self {
            max_batch: None,
            batch_sizes: Vec::new(),
            max_delay: Duration::from_millis(1),
            max_queue: 1024,
        }
    }
}

impl BatcherOptions {
    /// The defaults: the largest batch of the model, a delay of 1 ms, and a queue of 1024 requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Limits the rows of a batch. The default is the largest size of the model's batch axis.
    #[must_use]
    pub fn max_batch(mut self, rows: usize) -> Self {
        self.max_batch = Some(rows);
        self
    }

    /// Sets the allowed batch sizes, in any order. The batcher pads a batch to the next of these sizes with copies of
    /// its last row, and discards the results of the copies. The largest size is the limit of a batch. By default, a
    /// batch is not padded.
    ///
    /// TensorRT compiles or tunes kernels for each new size, and each context keeps the CUDA graphs of one size. With
    /// a few sizes, such as 1, 4 and 16, all kernels and graphs soon exist. On some devices, TensorRT-RTX is faster
    /// with profiles for these sizes ([`OptimizeOptions::batch_sizes`](crate::OptimizeOptions::batch_sizes)).
    #[must_use]
    pub fn batch_sizes(mut self, rows: impl IntoIterator<Item = usize>) -> Self {
        self.batch_sizes = rows.into_iter().collect();
        self.batch_sizes.sort_unstable();
        self.batch_sizes.dedup();
        self
    }

    /// Sets how long a request waits for other requests. With 0, a batch has the requests that arrived while the model
    /// was busy.
    #[must_use]
    pub fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = delay;
        self
    }

    /// Limits the number of waiting requests; at least 1. Further requests are refused.
    #[must_use]
    pub fn max_queue(mut self, requests: usize) -> Self {
        self.max_queue = requests;
        self
    }
}

/// The counters of a [`Batcher`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatcherCounters {
    /// Requests that ran.
    pub requests: u64,
    /// The rows of these requests.
    pub rows: u64,
    /// The batches of these requests.
    pub batches: u64,
    /// Requests that wait now.
    pub waiting: u64,
    /// Requests that were refused because the queue was full.
    pub refused: u64,
    /// Requests whose handle was dropped before the run.
    pub withdrawn: u64,
    /// Requests that got their outputs or an error.
    pub done: u64,
    /// Finished requests with an error.
    pub failed: u64,
    /// The sum of the latencies of all finished requests. A latency is the time from the submission of a request to
    /// its outputs or error.
    pub latency: Duration,
    /// The longest latency.
    pub longest_latency: Duration,
}

impl BatcherCounters {
    /// The mean latency of all finished requests. `None` before the first request is finished. For the mean latency of
    /// a period, subtract the counters at its start.
    ///
    /// ```
    /// # use accelerant::serving::BatcherCounters;
    /// assert_eq!(BatcherCounters::default().mean_latency(), None);
    /// ```
    pub fn mean_latency(&self) -> Option<Duration> {
        let nanos = self.latency.as_nanos().checked_div(self.done.into())?;
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

/// Collects requests of many callers into batches, up to a size or a delay.
///
/// A request has the inputs of the model, with one or more rows along the first axis, and gets its own rows of the
/// outputs. Requests with different other sizes run in different batches. If a batch fails, the batcher runs its
/// halves again, unless the device itself failed. A bad request therefore does not fail other requests. If the model
/// has a minimum batch size, the batcher pads the batch with copies of the last row.
///
/// Clones share the batcher. If you drop the last clone, the waiting requests run, and the drop blocks until they are
/// finished. On a thread that runs batches or [submitted runs](crate::InferenceModule::submit) itself, the drop does
/// not block, and the requests run in the background.
///
/// ```
/// # use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
/// use accelerant::serving::{Batcher, BatcherOptions};
/// # let graph = GraphBuilder::new("double");
/// # let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=32)?, Dim::from(3)])?;
/// # graph.output("y", &x.affine(2.0, 0.0)?)?;
/// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
///
/// let batcher = Batcher::new(module, &BatcherOptions::new())?;
/// let pending = batcher.submit(&[HostTensor::from(ndarray::array![[1.0f32, 2.0, 3.0]])])?;
/// // In async code `pending.await?`, else:
/// assert_eq!(pending.wait()?[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone)]
pub struct Batcher(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    signature: Signature,
    concurrency: usize,
    // Waits for the threads, after the queue was told to end.
    _workers: Workers,
}

impl Batcher {
    /// A batcher for a model. The number of its threads is the number of batches that the model runs at the same time.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with tensor and axis, if the inputs and outputs do not all have the same symbol
    /// as their first axis and nowhere else; with the symbol, if the model takes only one row, if the symbol has no
    /// largest size, or if an option has a size that the model does not take; and for a model without inputs.
    /// [`ErrorKind::Io`] if the system cannot create a thread.
    pub fn new(executable: impl Executable + 'static, options: &BatcherOptions) -> Result<Self> {
        Self::start(Arc::new(executable), options).map_err(|e| e.in_operation("batcher"))
    }

    fn start(executable: Arc<dyn Executable>, options: &BatcherOptions) -> Result<Self> {
        let batch = batch_symbol(executable.signature())?;
        let rows = rows_of(&batch, options)?;
        let narrow = |symbol: &Symbol| (symbol.name() == rows.name()).then(|| rows.clone());
        let signature = executable.signature().with_symbols(narrow);
        let limits = Limits {
            rows: rows.max(),
            delay: options.max_delay,
            requests: options.max_queue.max(1),
        };
        let queue = Arc::new(Queue::new(limits));
        let (jobs, of) = (queue.clone(), executable.clone());
        let sizes = BatchSizes { least: batch.min(), all: options.batch_sizes.clone() };
        let step = move || {
            let Some(requests) = jobs.take() else { return false };
            run_joined(&*executable, requests, &sizes);
            true
        };
        let workers = Workers::start("accelerant-batch", &*of, step)?;
        let concurrency = of.concurrency().saturating_mul(rows.max());
        Ok(Self(Arc::new(Inner { queue, signature, concurrency, _workers: workers })))
    }

    /// Inputs and outputs, in order, with the number of rows that a request may have.
    pub fn signature(&self) -> &Signature {
        &self.0.signature
    }

    /// Puts a request into the queue, and returns a handle for its outputs.
    ///
    /// # Errors
    /// Immediately, inputs that do not match the [signature](Self::signature), with tensor and axis, and
    /// [`ErrorKind::QueueFull`]. The handle returns later errors.
    pub fn submit(&self, inputs: &[HostTensor]) -> Result<Pending> {
        let in_operation = |e: Error| e.in_operation("submit");
        let shapes = inputs.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
        self.signature().check_inputs(shapes).map_err(in_operation)?;
        let (promise, pending) = pair();
        let request = self.0.queue.request(inputs, promise);
        self.0.queue.push(request).map_err(in_operation)?;
        Ok(pending)
    }

    /// Runs a request in a batch with other requests, and waits for its outputs.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit) and of the model.
    pub fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        self.submit(inputs)?.wait()
    }

    /// The counters, and the number of waiting requests.
    pub fn counters(&self) -> BatcherCounters {
        self.0.queue.counters()
    }
}

/// A batcher may stand wherever an executable does, and gathers what is run there at the same time.
impl Executable for Batcher {
    fn signature(&self) -> &Signature {
        Self::signature(self)
    }

    fn run(&self, inputs: &[HostTensor]) -> Result<Vec<HostTensor>> {
        Self::run(self, inputs)
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl fmt::Debug for Batcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batcher({}, {:?})", self.signature(), self.counters())
    }
}

/// The symbol that is the first axis of all tensors, and no other axis.
fn batch_symbol(signature: &Signature) -> Result<Symbol> {
    let mut batch: Option<&Symbol> = None;
    if signature.inputs.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the model has no inputs to join"));
    }
    for spec in signature.inputs.iter().chain(&signature.outputs) {
        let refuse = |axis: usize, text: String| {
            Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(&spec.name).at_axis(axis))
        };
        let first = match (spec.shape.dims().first(), batch) {
            (Some(Dim::Symbol(symbol)), None) => symbol,
            (Some(Dim::Symbol(symbol)), Some(batch)) if symbol.name() == batch.name() => symbol,
            (first, _) => {
                let wanted =
                    batch.map_or("a symbolic dimension".into(), |s| format!("`{}`", s.name()));
                let found = first.map_or("none".into(), |dim| format!("`{dim}`"));
                let mut text =
                    format!("requests are joined along {wanted}; the first axis is {found}");
                if batch.is_none() {
                    text +=
                        ": `OptimizeOptions::dynamic_batch` and `OnnxModel::bind` state a symbol";
                }
                return refuse(0, text);
            }
        };
        let batch = batch.insert(first).name();
        let same = |dim: &Dim| matches!(dim, Dim::Symbol(s) if s.depends_on(batch));
        if let Some(axis) = spec.shape.dims().iter().skip(1).position(same) {
            let text =
                format!("requests are joined along `{batch}`, which is another axis as well");
            return refuse(axis + 1, text);
        }
    }
    batch.cloned().ok_or_else(|| Error::new(ErrorKind::InvalidArgument, "the model has no inputs"))
}

/// The rows that a request may have.
fn rows_of(batch: &Symbol, options: &BatcherOptions) -> Result<Symbol> {
    let name = batch.name();
    let refuse = |text: String| Err(Error::new(ErrorKind::InvalidArgument, text));
    if let Some(&size) = options.batch_sizes.iter().find(|&&size| {
        size < batch.min()
            || size > batch.max()
            || options.max_batch.is_some_and(|most| size > most)
    }) {
        let most = options.max_batch.map_or(batch.max(), |most| most.min(batch.max()));
        let range = format!("{}..={most}", batch.min());
        return refuse(format!("a batch size of {size} is outside of `{name}` = {range}"));
    }
    let rows = match options.batch_sizes.last().copied().or(options.max_batch) {
        None if batch.max() == Symbol::UNBOUNDED => {
            return refuse(format!(
                "the largest batch is not known: `{name}` has no largest size; set max_batch"
            ));
        }
        Some(asked) if asked > batch.max() || asked < batch.min() => {
            let range = format!("{}..={}", batch.min(), batch.max());
            return refuse(format!(
                "max_batch = {asked} is outside the profile `{name}` = {range}"
            ));
        }
        asked => asked.unwrap_or(batch.max()),
    };
    if rows < 2 {
        return refuse(format!("there is nothing to gather: `{name}` is {rows} at most"));
    }
    Symbol::new(name, 1, batch.opt().clamp(1, rows), rows)
}
