//! Burn modules that write texts: `.optimize_decoder(…)`, and what a forward over some tokens gets. The module generates as the
//! decoders of checkpoints do.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};

use ::burn::module::Module;
use ::burn::tensor::{Bool, DType as BurnDType, Device, Int, Tensor};

use super::OptimizeOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::export::burn::{BurnGraph, CachePlaces};
use crate::export::decoder::{DecoderOptions, Tokens};
use crate::export::{ExportOptions, OnnxModel, Target};
use crate::runtime::generate::DecoderModule;
use crate::spec::Dim;

/// One pass of a decoder over some tokens of each text.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DecoderPass {
    /// The tokens, `[texts, tokens]`.
    pub tokens: Tensor<2, Int>,
    /// Where each token stands in its text, ascending by 1, `[texts, tokens]`.
    pub positions: Tensor<2, Int>,
    /// The position whose successor is asked for, `[texts, 1]`.
    pub last: Tensor<2, Int>,
    /// The caches before the pass, each `[texts, heads, capacity, size]`.
    pub caches: Vec<Tensor<4>>,
    writes: Arc<Mutex<Vec<Write>>>,
}

/// A cache, by its number, with the rows that were written and what came of it.
#[derive(Clone, Debug)]
struct Write {
    cache: usize,
    rows: Tensor<4>,
    result: Tensor<4>,
}

impl DecoderPass {
    /// A cache with `new`, `[texts, heads, tokens, size]`, in the places of the tokens.
    ///
    /// TensorRT writes in place where the result is the cache that the forward gives back, and nothing else reads the cache
    /// as it was.
    ///
    /// # Panics
    /// Where the pass has no cache of this number, and as Burn's operations do where the sizes do not fit.
    pub fn written(&self, cache: usize, new: Tensor<4>) -> Tensor<4> {
        let result = self.chosen(self.caches[cache].clone(), new.clone());
        let write = Write { cache, rows: new, result: result.clone() };
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).push(write);
        result
    }

    /// For each place what was there, or what is new.
    fn chosen(&self, cache: Tensor<4>, new: Tensor<4>) -> Tensor<4> {
        let sizes = cache.dims();
        // `[texts, 1, capacity, tokens]`: a sum of one number and zeros is that number.
        let places = places(sizes[2], &cache.device()).reshape([1, 1, sizes[2] as i32, 1]);
        let positions: Tensor<4, Int> = self.positions.clone().unsqueeze_dims(&[1, 2]);
        let which = places.equal(positions).float().cast(new.dtype());
        let any = which.clone().max_dim(3).greater_elem(0.5).expand(sizes);
        cache.mask_where(any, which.matmul(new))
    }

    /// The places of a cache that each token does not see, since they are behind the token: `[texts, tokens, capacity]`.
    pub fn unseen(&self, capacity: usize) -> Tensor<3, Bool> {
        let places = places(capacity, &self.positions.device()).reshape([1, 1, capacity as i32]);
        let positions: Tensor<3, Int> = self.positions.clone().unsqueeze_dim(2);
        places.greater(positions)
    }

    /// The states, `[texts, tokens, size]`, of the tokens whose successors are asked for: `[texts, size]`.
    pub fn of_last(&self, states: Tensor<3>) -> Tensor<2> {
        let chosen = self.positions.clone().equal(self.last.clone()).float().cast(states.dtype());
        let chosen: Tensor<3> = chosen.unsqueeze_dim(1);
        chosen.matmul(states).squeeze_dim(1)
    }
}

fn places(capacity: usize, device: &Device) -> Tensor<1, Int> {
    Tensor::arange(0..capacity as i64, device).cast(BurnDType::I64)
}

/// The inputs of the graph. A pass over one token has no `last`: the token itself is asked for.
type Inputs = (Tensor<2, Int>, Tensor<2, Int>, Option<Tensor<2, Int>>, Vec<Tensor<4>>);
/// The outputs, and behind the caches what was written: rows, and the caches with them.
type Outputs =
    (Tensor<2, Int>, Tensor<2, Int>, Tensor<2>, Vec<Tensor<4>>, Vec<Tensor<4>>, Vec<Tensor<4>>);
/// The inputs and outputs before the caches.
const POSITIONS: usize = 1;
const RESULTS: usize = 3;

/// `.optimize_decoder(…)` for every Burn module.
pub trait OptimizeDecoder: Module + Sized {
    /// Compiles a forward over some tokens, and gives a module that [generates](DecoderModule::generate).
    ///
    /// `forward` returns the logits behind the [last](DecoderPass::last) tokens, `[texts, vocabulary]`, and the caches behind
    /// the pass, in the order of those before. `caches` has the number of heads and the size of each cache. Texts and capacity
    /// come from the options, and the type is that of the module. No token ends a text unless
    /// [`stop_tokens`](crate::generate::GenerateOptions::stop_tokens) names the token.
    ///
    /// TensorRT writes the caches in place that the forward [writes](DecoderPass::written) and gives back, and reads in no
    /// other way. The others are copied on the GPU in each pass.
    ///
    /// ```
    /// use accelerant::OptimizeOptions;
    /// use accelerant::burn::{DecoderPass, OptimizeDecoder};
    /// use accelerant::generate::{DecoderOptions, GenerateOptions, Tokens};
    /// use burn::module::Module;
    /// use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    ///
    /// /// The next token follows from the mean of the tokens so far.
    /// #[derive(Module, Debug)]
    /// struct Mean {
    ///     table: Embedding,
    ///     head: Linear,
    /// }
    ///
    /// impl Mean {
    ///     fn forward(&self, pass: DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>) {
    ///         let new = self.table.forward(pass.tokens.clone()).unsqueeze_dim(1);
    ///         let cache = pass.written(0, new);
    ///         let seen = pass.unseen(32).bool_not().float();
    ///         let states = seen.matmul(cache.clone().squeeze_dim(1));
    ///         (self.head.forward(pass.of_last(states)), vec![cache])
    ///     }
    /// }
    ///
    /// let device = Device::default();
    /// let model = Mean {
    ///     table: EmbeddingConfig::new(20, 8).init(&device),
    ///     head: LinearConfig::new(8, 20).init(&device),
    /// };
    /// let options = DecoderOptions::new(32).tokens(Tokens::UpTo(4));
    /// let fast = model.optimize_decoder(&[[1, 8]], Mean::forward, &options, &OptimizeOptions::new())?;
    /// let text = fast.generate(&[1, 2, 3, 4, 5], &GenerateOptions::new().max_tokens(6))?;
    /// assert_eq!(text.count(), 6);
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`OptimizeTrt::optimize_trt`](super::burn::OptimizeTrt::optimize_trt); [`ErrorKind::InvalidModel`] when the forward
    /// gives another number of caches.
    fn optimize_decoder(
        &self,
        caches: &[[usize; 2]],
        forward: impl Fn(&Self, DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>),
        options: &DecoderOptions,
        compiling: &OptimizeOptions,
    ) -> Result<DecoderModule> {
        let model = |target: Target, options: &DecoderOptions| {
            self.decoder_model(caches, &forward, options, target)
        };
        DecoderModule::of_models(model, options, compiling)
    }

    /// The graph of one pass for a target, as [`optimize_decoder`](Self::optimize_decoder) compiles it. Inputs and outputs
    /// are those of [`Decoder::model`](crate::generate::Decoder::model), with names of their own.
    ///
    /// # Errors
    /// As [`optimize_decoder`](Self::optimize_decoder).
    fn decoder_model(
        &self,
        caches: &[[usize; 2]],
        forward: impl Fn(&Self, DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>),
        options: &DecoderOptions,
        target: Target,
    ) -> Result<OnnxModel> {
        options.check(usize::MAX)?;
        let device = self.devices().into_iter().next().unwrap_or_default();
        written(self, caches, &forward, options, &device, target)
    }
}

impl<M: Module> OptimizeDecoder for M {}

fn written<M: Module>(
    module: &M,
    caches: &[[usize; 2]],
    forward: &impl Fn(&M, DecoderPass) -> (Tensor<2>, Vec<Tensor<4>>),
    options: &DecoderOptions,
    device: &Device,
    target: Target,
) -> Result<OnnxModel> {
    let (batch, capacity) = (options.batch, options.capacity);
    let mut exporting = ExportOptions::new().name("decoder");
    let count = match options.tokens {
        Tokens::Fixed(count) => count,
        Tokens::UpTo(most) => {
            let count = Dim::dynamic("tokens", 1..=most)?;
            exporting = exporting.dynamic_axis(0, 1, count.clone()).dynamic_axis(1, 1, count);
            most
        }
    };
    let whole = |count: usize| Tensor::<2, Int>::zeros([batch, count], device).cast(BurnDType::I64);
    let last = (options.tokens != Tokens::Fixed(1)).then(|| whole(1));
    let empty =
        caches.iter().map(|&[heads, size]| Tensor::zeros([batch, heads, capacity, size], device));
    let inputs_before = if last.is_some() { 3 } else { 2 };
    let example: Inputs = (whole(count), whole(count), last, empty.collect());
    let written = OnceCell::new();
    let pass = |module: &M, (tokens, positions, last, caches): Inputs| -> Outputs {
        let last = last.unwrap_or_else(|| positions.clone());
        let writes = Arc::<Mutex<Vec<Write>>>::default();
        let pass =
            DecoderPass { tokens, positions, last: last.clone(), caches, writes: writes.clone() };
        let (logits, caches) = forward(module, pass);
        let next = logits.clone().argmax(1).cast(BurnDType::I64);
        let writes = std::mem::take(&mut *writes.lock().unwrap_or_else(PoisonError::into_inner));
        written.get_or_init(|| writes.iter().map(|write| write.cache).collect::<Vec<_>>());
        let (rows, results) = writes.into_iter().map(|write| (write.rows, write.result)).unzip();
        (next, last.add_scalar(1), logits.cast(BurnDType::F32), caches, rows, results)
    };
    let graph = BurnGraph::capture(module, &example, pass, &exporting)?;
    let written = written.into_inner().unwrap_or_default();
    let graph = graph.with_caches(&CachePlaces {
        positions: POSITIONS,
        inputs_before,
        outputs_before: RESULTS,
        written: &written,
    });
    let in_place = graph.writes_caches();
    let model = graph.to_onnx(if in_place { target.with_caches_in_place() } else { target })?;
    let given = model.signature().outputs.len() - RESULTS;
    if given != caches.len() {
        let text = format!("the forward gives {given} caches, and takes {}", caches.len());
        return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("optimize_decoder"));
    }
    Ok(model)
}
