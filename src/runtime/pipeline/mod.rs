//! Pipelines: from a type of the caller's, through a model, to another type, for one item or many. On host tensors, for
//! any executable. Knows no backend. What runs in the background runs by `serving`.

mod batching;
mod inputs;
mod scores;
mod submit;

pub use inputs::IntoInputs;
pub use scores::{Scores, softmax, top_k};
pub use submit::PendingItem;

use std::{borrow::Borrow, error, fmt, sync::Arc};

use self::batching::Batching;
use self::submit::Background;
use crate::backend::Executable;
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::HostTensor;

type Pre<T> = Arc<dyn Fn(&T) -> Result<Vec<HostTensor>> + Send + Sync>;
type Post<U> = Arc<dyn Fn(&[HostTensor]) -> Result<U> + Send + Sync>;

/// A model for items of type `T` and results of type `U`, with a function before and a function after the model.
///
/// Both functions work on one item, and the pipeline makes the batches. Threads can share a pipeline, and a clone
/// shares the model. If a function panics, the item gets an error, and the pipeline still works.
///
/// ```
/// # use accelerant::{DType, Dim, InferenceModule, OptimizeOptions, export::GraphBuilder};
/// use accelerant::pipeline::{Pipeline, softmax, top_k};
/// use ndarray::{Array1, array};
/// # let graph = GraphBuilder::new("identity");
/// # let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=32)?, Dim::from(3)])?;
/// # graph.output("y", &x.affine(1.0, 0.0)?)?;
/// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
///
/// let classify = Pipeline::new(module)                            // x: f32 [batch, 3]
///     .pre(|pixels: &[u8; 3]| Array1::from_iter(pixels.map(|p| f32::from(p) / 255.0)))
///     .post(|outputs| top_k(&softmax(&outputs[0], 0)?, 1));
/// assert_eq!(classify.run(&[0, 255, 51])?[0].0, 1);
/// let all = classify.run_batch(&[[0, 255, 51], [255, 0, 0]])?;    // or a Vec, or any iterator
/// assert_eq!((all[0][0].0, all[1][0].0), (1, 0));
/// # Ok::<(), accelerant::Error>(())
/// ```
///
/// # Batches
/// The first axis of a model is its batch under three conditions:
///
/// - all inputs begin with the same symbol or the same size;
/// - each output begins so too, or with a symbol of which nothing is known;
/// - the symbol is in no other axis.
///
/// Items and their outputs do not have this axis. Any other model, and any model after [`unbatched`](Self::unbatched),
/// runs one item at a time, with all axes of the model.
///
/// The batch size is the largest batch of the model, or 64 if the model has no limit. [`max_batch`](Self::max_batch)
/// sets a smaller batch. Items of different shapes run in different batches. If the model has a fixed or a minimum
/// batch, the pipeline pads the batch with copies of the last item, and drops the results of the copies. The items of
/// a batch must not influence each other in the model.
pub struct Pipeline<T: ?Sized = [HostTensor], U = Vec<HostTensor>> {
    executable: Arc<dyn Executable>,
    batching: Option<Batching>,
    pre: Pre<T>,
    post: Post<U>,
    background: Arc<Background>,
}

impl Pipeline {
    /// A pipeline without functions, from the inputs of one item to its outputs. `model` is an
    /// [`InferenceModule`](crate::InferenceModule), a [`Batcher`](crate::serving::Batcher) or any other executable.
    pub fn new(executable: impl Executable + 'static) -> Self {
        Self {
            batching: Batching::of(executable.signature()),
            background: Arc::new(Background::of(&executable)),
            executable: Arc::new(executable),
            pre: Arc::new(|inputs| Ok(inputs.to_vec())),
            post: Arc::new(|outputs| Ok(outputs.to_vec())),
        }
    }
}

impl<T: ?Sized, U> Pipeline<T, U> {
    /// Runs one item at a time, with all axes of the model.
    #[must_use]
    pub fn unbatched(mut self) -> Self {
        self.batching = None;
        self
    }

    /// Limits the items in a batch, within the limit of the model.
    #[must_use]
    pub fn max_batch(mut self, items: usize) -> Self {
        self.batching = self.batching.map(|batching| batching.at_most(items));
        self
    }

    /// Runs one item.
    ///
    /// # Errors
    /// The errors of [`pre`](Pipeline::pre), of the model and of [`post`](Pipeline::post).
    pub fn run(&self, item: &T) -> Result<U> {
        let mut results = self.run_chunk(vec![self.prepare(item)]);
        results.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Execution, "no outputs")))
    }

    /// Runs any number of items, owned or borrowed, and returns the results in their order.
    ///
    /// If `T` is `str` or a slice, `texts.iter().map(String::as_str)` borrows the items of a `Vec<String>`.
    ///
    /// # Errors
    /// The first error of [`run_iter`](Self::run_iter). Later batches do not run.
    pub fn run_batch<I>(&self, items: I) -> Result<Vec<U>>
    where
        I: IntoIterator<Item: Borrow<T>>,
    {
        self.run_iter(items).collect()
    }

    /// Runs items batch by batch, while the caller takes results. The results are in the order of the items. At most
    /// one batch is in memory.
    ///
    /// An error belongs to one item, with the number [`Error::item`], and the other items continue. If a batch fails
    /// as a whole, each of its items gets the error.
    pub fn run_iter<'a, I>(&'a self, items: I) -> impl Iterator<Item = Result<U>> + use<'a, T, U, I>
    where
        I: IntoIterator<Item: Borrow<T>>,
    {
        let most = self.batching.as_ref().map_or(1, Batching::most);
        let mut items = items.into_iter().fuse();
        let mut start = 0;
        std::iter::from_fn(move || {
            let chunk = items.by_ref().take(most);
            let chunk: Vec<_> = chunk.map(|item| self.prepare(item.borrow())).collect();
            let first = start;
            start += chunk.len();
            let numbered =
                move |(i, result): (usize, Result<U>)| result.map_err(|e| e.at_item(first + i));
            (!chunk.is_empty()).then(|| self.run_chunk(chunk).into_iter().enumerate().map(numbered))
        })
        .flatten()
    }

    /// The inputs of one item, checked by themselves.
    fn prepare(&self, item: &T) -> Result<Vec<HostTensor>> {
        let inputs = (self.pre)(item).map_err(|e| e.in_operation("pre"))?;
        let signature = self.executable.signature();
        match &self.batching {
            Some(batching) => batching.check(signature, &inputs),
            None => signature.check_inputs(inputs.iter().map(|x| (x.dtype(), x.shape()))),
        }
        .map_err(|e| e.in_operation("pre"))?;
        Ok(inputs)
    }

    /// A result for each item, in order.
    fn run_chunk(&self, items: Vec<Result<Vec<HostTensor>>>) -> Vec<Result<U>> {
        let run =
            |inputs: &[HostTensor]| self.executable.run(inputs).map_err(|e| e.in_operation("run"));
        let outputs = match &self.batching {
            Some(batching) => batching.run(items, run),
            None => items.into_iter().map(|inputs| run(&inputs?)).collect(),
        };
        let post = |outputs: Result<Vec<HostTensor>>| {
            (self.post)(&outputs?).map_err(|e| e.in_operation("post"))
        };
        outputs.into_iter().map(post).collect()
    }
}

impl<U> Pipeline<[HostTensor], U> {
    /// Sets the function before the model. The function turns one item into the model's inputs, in order, without
    /// their batch axis.
    ///
    /// The function returns an array or a [`HostTensor`], or for several inputs a tuple, a `Vec` or an array of these.
    /// The function may also return a `Result` of these with any error. The error becomes the source of an
    /// [`ErrorKind::Processing`]; an [`Error`] stays unchanged.
    ///
    /// ```
    /// # use accelerant::{DType, HostTensor, InferenceModule, OptimizeOptions, export::GraphBuilder};
    /// # use accelerant::pipeline::Pipeline;
    /// # use ndarray::Array1;
    /// # let graph = GraphBuilder::new("sum");
    /// # let (a, b) = (graph.input("a", DType::F32, [1, 2])?, graph.input("b", DType::F32, [1, 2])?);
    /// # graph.output("y", &a.add(&b)?)?;
    /// # let module = InferenceModule::compile(&graph.finish()?, &OptimizeOptions::new())?;
    /// // a: f32 [1, 2], b: f32 [1, 2]
    /// let sum = Pipeline::new(module).pre(|line: &str| -> Result<_, std::num::ParseFloatError> {
    ///     let numbers = line.split(' ').map(str::parse::<f32>).collect::<Result<Array1<_>, _>>()?;
    ///     Ok((numbers.clone(), numbers))
    /// });
    /// assert_eq!(sum.run("1 2.5")?[0].to_vec::<f32>()?, [2.0, 5.0]);
    /// assert_eq!(sum.run_batch(["1 2", "3 x"]).unwrap_err().item(), Some(1));
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    #[must_use]
    pub fn pre<T: ?Sized, I: IntoInputs>(
        self,
        f: impl Fn(&T) -> I + Send + Sync + 'static,
    ) -> Pipeline<T, U> {
        let Self { executable, batching, pre, post, background } = self;
        let pre = Arc::new(move |item: &T| pre(&f(item).into_inputs()?));
        Pipeline { executable, batching, pre, post, background }
    }
}

impl<T: ?Sized> Pipeline<T> {
    /// Sets the function after the model. The function turns the outputs of one item, in order, without their batch
    /// axis, into a result. Errors are as in [`pre`](Pipeline::pre).
    ///
    /// The outputs share the memory of their batch. If you keep one output, the memory of the whole batch stays.
    #[must_use]
    pub fn post<U, E>(
        self,
        f: impl Fn(&[HostTensor]) -> Result<U, E> + Send + Sync + 'static,
    ) -> Pipeline<T, U>
    where
        E: Into<Box<dyn error::Error + Send + Sync>>,
    {
        let Self { executable, batching, pre, post, background } = self;
        let post = Arc::new(move |outputs: &[HostTensor]| f(&post(outputs)?).map_err(of_caller));
        Pipeline { executable, batching, pre, post, background }
    }
}

/// What a caller's function failed with.
fn of_caller(error: impl Into<Box<dyn error::Error + Send + Sync>>) -> Error {
    match error.into().downcast::<Error>() {
        Ok(error) => *error,
        Err(other) => Error::new(ErrorKind::Processing, other.to_string()).with_source(other),
    }
}

impl<T: ?Sized, U> Clone for Pipeline<T, U> {
    fn clone(&self) -> Self {
        Self {
            executable: self.executable.clone(),
            batching: self.batching.clone(),
            pre: self.pre.clone(),
            post: self.post.clone(),
            background: self.background.clone(),
        }
    }
}

impl<T: ?Sized, U> fmt::Debug for Pipeline<T, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.batching.as_ref().map_or(1, Batching::most);
        write!(f, "Pipeline({}, {most} at a time)", self.executable.signature())
    }
}
