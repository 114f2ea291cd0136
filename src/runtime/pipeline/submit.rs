//! Items that run in the background: by the batcher that a pipeline is over, else by threads of the pipeline's own.

use std::{
    any::Any,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use super::batching::Batching;
use super::{Pipeline, Post};
use crate::backend::Executable;
use crate::error::Result;
use crate::runtime::serving::{Batcher, Pending, Submitter};
use crate::tensor::HostTensor;

/// What runs in the background, shared by all clones of a pipeline.
pub(super) struct Background {
    batcher: Option<Batcher>,
    /// Made by the first item that needs it.
    submitter: Mutex<Option<Arc<Submitter>>>,
}

impl Background {
    pub(super) fn of(executable: &(impl Executable + 'static)) -> Self {
        let batcher = (executable as &dyn Any).downcast_ref::<Batcher>().cloned();
        Self { batcher, submitter: Mutex::default() }
    }

    fn submit(&self, executable: &Arc<dyn Executable>, inputs: &[HostTensor]) -> Result<Pending> {
        if let Some(batcher) = &self.batcher {
            return batcher.submit(inputs);
        }
        let mut submitter = self.submitter.lock().unwrap_or_else(PoisonError::into_inner);
        let submitter = match &*submitter {
            Some(submitter) => submitter.clone(),
            None => submitter.insert(Arc::new(Submitter::new(executable.clone())?)).clone(),
        };
        Ok(submitter.submit(inputs))
    }
}

/// An item that was [submitted](Pipeline::submit): a [`Future`] of its result, or something to [`wait`](Self::wait) for.
///
/// The function after the model runs where the result is awaited. Dropping the handle withdraws an item that has not begun.
#[must_use = "dropping it withdraws the item"]
pub struct PendingItem<U> {
    pending: Pending,
    batching: Option<Batching>,
    post: Post<U>,
}

impl<T: ?Sized, U> Pipeline<T, U> {
    /// Runs one item in the background, after the function before the model has run here. A pipeline over a
    /// [`Batcher`] puts the item into the batcher's queue, where items of several callers become a batch. Every other
    /// pipeline has threads of its own, which run as many items at a time as the model does.
    ///
    /// ```
    /// # use accelerant::{DType, Dim, InferenceModule, OptimizeOptions, export::GraphBuilder};
    /// use accelerant::{pipeline::Pipeline, serving::{Batcher, BatcherOptions}};
    /// use ndarray::Array1;
    /// # let graph = GraphBuilder::new("double");
    /// # let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=32)?, Dim::from(3)])?;
    /// # graph.output("y", &x.affine(2.0, 0.0)?)?;
    /// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
    ///
    /// let pipeline = Pipeline::new(Batcher::new(module, &BatcherOptions::new())?)
    ///     .pre(|numbers: &[f32; 3]| Array1::from_iter(*numbers))
    ///     .post(|outputs| outputs[0].to_vec::<f32>());
    /// let (first, second) = (pipeline.submit(&[1.0, 2.0, 3.0])?, pipeline.submit(&[4.0, 5.0, 6.0])?);
    /// // In async code `first.await?`, else:
    /// assert_eq!(first.wait()?, [2.0, 4.0, 6.0]);
    /// assert_eq!(second.wait()?, [8.0, 10.0, 12.0]);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// At once those of [`pre`](Pipeline::pre), and those of [`Batcher::submit`] or of starting a thread. Later errors come
    /// out of the handle.
    pub fn submit(&self, item: &T) -> Result<PendingItem<U>> {
        let inputs = self.prepare(item)?;
        let inputs = match &self.batching {
            Some(batching) => batching.alone(&inputs)?,
            None => inputs,
        };
        let pending = self.background.submit(&self.executable, &inputs)?;
        Ok(PendingItem { pending, batching: self.batching.clone(), post: self.post.clone() })
    }
}

impl<U> PendingItem<U> {
    /// Blocks this thread until the result is there.
    ///
    /// # Errors
    /// Those of the model and of [`post`](Pipeline::post); [`ErrorKind::ShutDown`](crate::ErrorKind::ShutDown) when the
    /// pipeline or the batcher ended before the run.
    pub fn wait(self) -> Result<U> {
        let outputs = self.pending.wait();
        finish(self.batching.as_ref(), &self.post, outputs)
    }

    /// As [`wait`](Self::wait), no longer than `limit`. `None` means that the run is not done by then; another call
    /// waits again.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, limit: Duration) -> Option<Result<U>> {
        let outputs = self.pending.wait_timeout(limit)?;
        Some(finish(self.batching.as_ref(), &self.post, outputs))
    }

    /// Whether the run is done, well or not.
    pub fn is_done(&self) -> bool {
        self.pending.is_done()
    }
}

fn finish<U>(
    batching: Option<&Batching>,
    post: &Post<U>,
    outputs: Result<Vec<HostTensor>>,
) -> Result<U> {
    let outputs = outputs.map_err(|e| e.in_operation("run"))?;
    let outputs = match batching {
        Some(batching) => batching.outputs_alone(&outputs)?,
        None => outputs,
    };
    post(&outputs).map_err(|e| e.in_operation("post"))
}

impl<U> Future for PendingItem<U> {
    type Output = Result<U>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<U>> {
        let outputs = ready!(Pin::new(&mut self.pending).poll(context));
        Poll::Ready(finish(self.batching.as_ref(), &self.post, outputs))
    }
}

impl<U> fmt::Debug for PendingItem<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingItem").field("done", &self.is_done()).finish()
    }
}
