//! Which layers bear a precision: each is quantized by itself, the model runs on samples, and what it gives is compared
//! with what it gives in 32 bits. Forward passes only, on a backend without a GPU. The layers that lose most stay in half
//! precision until the rest loses no more than is allowed.

mod auto;
mod bench;
mod clock;
mod found;
mod groups;
mod metric;
mod rounded;
mod svg;
mod tried;

use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::PrecisionOptions;
use crate::export::{OnnxModel, Target};
use crate::progress::{Phase, step};
use crate::tensor::HostTensor;
pub use auto::Auto;
use bench::Bench;
pub use found::{LayerDrop, Sensitivity};
pub use metric::Metric;
pub use rounded::in_32_bits;
pub use tried::{TimedGroup, Tried};

const SEARCH: &str = "search layers";

/// Finds the layers that lose too much accuracy in 8 or 4 bits.
///
/// ```no_run
/// use accelerant::precision::{Metric, Precision, PrecisionOptions, Search};
/// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Registry};
/// use accelerant::export::{OnnxModel, Target};
///
/// # fn batches() -> Vec<Vec<HostTensor>> { Vec::new() }
/// let model = OnnxModel::open("model.onnx")?;
/// let asked = PrecisionOptions::new(Precision::Int4Weights).block(32);
/// let search = Search::new(asked, 0.01).metric(Metric::Cosine);
/// let (options, sensitivity) =
///     search.run(&model, Target::tensorrt(), &Registry::default(), &batches())?;
/// sensitivity.save("sensitivity.json")?;
/// let fast = InferenceModule::compile(&model, &OptimizeOptions::new().precision(options))?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Search {
    options: PrecisionOptions,
    max_drop: f64,
    metric: Metric,
    parts: usize,
}

impl Search {
    /// A search for a precision with its options, and the allowed loss by the [metric](Self::metric).
    pub const fn new(options: PrecisionOptions, max_drop: f64) -> Self {
        Self { options, max_drop, metric: Metric::Cosine, parts: usize::MAX }
    }

    /// Divides the model into at most this number of parts of adjacent layers, and measures each part as a whole. By
    /// default, the search measures each layer alone, with one build for each layer.
    #[must_use]
    pub const fn parts(mut self, most: usize) -> Self {
        self.parts = most;
        self
    }

    /// Sets the metric of the loss; the default is [`Metric::Cosine`].
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Runs the search. The result is the options with the layers that stay in fp16, and the loss of each layer.
    ///
    /// The model runs on `batches`, with the first backend of the registry that can run the model for `target`; ONNX
    /// Runtime can run a model for TensorRT. The tensors of a batch are in the order of the signature. If all layers
    /// together lose too much, the search builds the model once for each layer or [part](Self::parts).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid limit, for 0 parts, without samples, for a metric that returns no
    /// number, if no layer is quantized, and if fp16 alone loses more than allowed; the errors of
    /// [`OnnxModel::with_precision`] and [`Registry::compile`].
    pub fn run(
        &self,
        model: &OnnxModel,
        target: Target,
        registry: &Registry,
        batches: &[Vec<HostTensor>],
    ) -> Result<(PrecisionOptions, Sensitivity)> {
        let bench = Bench::new(model, registry, batches, None);
        let found = self.check(model, batches).and_then(|()| self.search(target, &bench));
        found.map_err(|e| e.in_operation(SEARCH))
    }

    /// What is [checked](Self::check) already.
    fn search(&self, target: Target, bench: &Bench<'_>) -> Result<(PrecisionOptions, Sensitivity)> {
        let (model, precision) = (bench.model, self.options.precision());
        if !precision.is_quantized() {
            let text = format!("{precision} quantizes no layers; int8, fp8 and int4-weights do");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let written = model.with_precision(target, self.options.clone())?;
        let layers = quantized(&written);
        if layers.is_empty() {
            let text = format!("no layer is quantized in {precision}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        bench.check(&self.metric, self.max_drop)?;
        let of_all = bench.drop(&self.metric, &written)?;
        let mut found = Sensitivity::new(precision, self.metric.name(), self.max_drop, of_all);
        if of_all <= self.max_drop {
            found.layers.extend(layers.into_iter().map(LayerDrop::unmeasured));
            return Ok((self.options.clone(), found));
        }
        let with_halves = |names: Vec<String>| -> Result<f64> {
            let options = self.options.clone().in_half(names);
            bench.drop(&self.metric, &model.with_precision(target, options)?)
        };
        let mut left = with_halves(layers.clone())?;
        if left > self.max_drop {
            let text = format!(
                "half precision alone loses {left:.3e} by {}, more than {:.3e}",
                self.metric.name(),
                self.max_drop
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let parts: Vec<&[String]> =
            layers.chunks(layers.len().div_ceil(self.parts.min(layers.len()))).collect();
        let mut drops = Vec::new();
        for (place, part) in parts.iter().enumerate() {
            let more = match part.len() {
                1 => String::new(),
                count => format!(" and {} that follow", count - 1),
            };
            let told = format!("{precision} of `{}`{more}", part[0]);
            step(Phase::Search, &told, place, parts.len())?;
            let others = layers.iter().filter(|other| !part.contains(other)).cloned();
            let drop = with_halves(others.collect())?;
            tracing::debug!(target: "accelerant::export", "{told} alone: {drop:e}");
            drops.push((drop, *part));
        }
        // The sort keeps the order of parts that lose the same.
        drops.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        // The least number of the worst parts that is enough, between none, which is not, and all of them.
        let worst = |count: usize| -> Vec<String> {
            drops[..count].iter().flat_map(|(_, part)| part.iter().cloned()).collect()
        };
        let (mut too_few, mut enough) = (0, drops.len());
        while enough - too_few > 1 {
            let middle = (too_few + enough) / 2;
            step(Phase::Search, "the worst layers in half precision", middle, drops.len())?;
            let lost = with_halves(worst(middle))?;
            match lost <= self.max_drop {
                true => (enough, left) = (middle, lost),
                false => too_few = middle,
            }
        }
        let options = self.options.clone().in_half(worst(enough));
        for (place, (drop, part)) in drops.iter().enumerate() {
            let layers = part.iter().map(|name| LayerDrop::new(name, *drop, place < enough));
            found.layers.extend(layers);
        }
        found.drop = left;
        Ok((options, found))
    }

    /// Refuses what cannot be searched, before anything is built.
    fn check(&self, model: &OnnxModel, batches: &[Vec<HostTensor>]) -> Result<()> {
        if !self.max_drop.is_finite() || self.max_drop < 0.0 {
            let text = format!("a drop of {} is none: it is 0 or more", self.max_drop);
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        if self.parts == 0 {
            let text = "a model has one part or more, and not 0";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        for (place, batch) in batches.iter().enumerate() {
            let given = batch.iter().map(|tensor| (tensor.dtype(), tensor.shape()));
            model.signature().check_inputs(given).map_err(|e| e.at_item(place))?;
        }
        match batches.is_empty() {
            true => Err(Error::new(ErrorKind::InvalidArgument, "there are no samples")),
            false => Ok(()),
        }
    }

    /// The options with which the precision suits the model, what is lost with them, and how many layers stay in half
    /// precision. Precisions of 16 bits and more are only measured.
    fn suited(&self, target: Target, bench: &Bench<'_>) -> Result<(PrecisionOptions, f64, usize)> {
        if self.options.precision().is_quantized() {
            let (options, found) = self.search(target, bench)?;
            return Ok((options, found.drop, found.in_half().count()));
        }
        let written = bench.model.with_precision(target, self.options.clone())?;
        Ok((self.options.clone(), bench.drop(&self.metric, &written)?, 0))
    }
}

/// The layers of a model that have fewer than 16 bits.
fn quantized(model: &OnnxModel) -> Vec<String> {
    let layers = model.precision_report().map_or(&[][..], |report| &report.layers);
    let few = layers.iter().filter(|layer| layer.is_quantized());
    few.map(|layer| layer.name.clone()).collect()
}
