//! Which layers bear a precision: each is quantized by itself, the model runs on samples, and what it gives is compared
//! with what it gives in 32 bits. Forward passes only, on a backend without a GPU. The layers that lose most stay in half
//! precision until the rest loses no more than is allowed.

mod auto;
mod found;
mod metric;
mod svg;

use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::precision::PrecisionOptions;
use crate::export::{OnnxModel, Target};
use crate::tensor::HostTensor;
pub use auto::{Auto, Tried};
pub use found::{LayerDrop, Sensitivity};
pub use metric::Metric;

const SEARCH: &str = "search layers";

/// Searches the layers that a precision of 8 or 4 bits does not suit.
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
}

impl Search {
    /// A precision with its options, and how much may be lost, as the [metric](Self::metric) counts it.
    pub const fn new(options: PrecisionOptions, max_drop: f64) -> Self {
        Self { options, max_drop, metric: Metric::Cosine }
    }

    /// How what is lost is counted; [`Metric::Cosine`] otherwise.
    #[must_use]
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// The options with the layers that stay in half precision, and what each layer loses.
    ///
    /// The model runs on `batches`, each in the order of its signature, with the first backend of the registry that can
    /// run it as it is written for `target`; ONNX Runtime reads what is written for TensorRT. It is built once for each
    /// layer, if all together lose too much.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a drop that is none, without samples, for a metric that gives no number, where
    /// nothing is quantized, and where half precision alone loses more than is allowed; those of
    /// [`OnnxModel::with_precision`] and [`Registry::compile`].
    pub fn run(
        &self,
        model: &OnnxModel,
        target: Target,
        registry: &Registry,
        batches: &[Vec<HostTensor>],
    ) -> Result<(PrecisionOptions, Sensitivity)> {
        self.search(model, target, registry, batches).map_err(|e| e.in_operation(SEARCH))
    }

    fn search(
        &self,
        model: &OnnxModel,
        target: Target,
        registry: &Registry,
        batches: &[Vec<HostTensor>],
    ) -> Result<(PrecisionOptions, Sensitivity)> {
        let precision = self.options.precision();
        if !precision.is_quantized() {
            let text = format!("{precision} quantizes no layers; int8, fp8 and int4-weights do");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        self.check(model, batches)?;
        let written = model.with_precision(target, self.options.clone())?;
        let layers = quantized(&written);
        if layers.is_empty() {
            let text = format!("no layer is quantized in {precision}");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let bench = Bench { registry, batches, expected: results(model, registry, batches)? };
        let of_all = self.drop(&bench, &written)?;
        let mut found = Sensitivity::new(precision, self.metric.name(), self.max_drop, of_all);
        if of_all <= self.max_drop {
            found.layers.extend(layers.into_iter().map(LayerDrop::unmeasured));
            return Ok((self.options.clone(), found));
        }
        let half = self.options.clone().in_half(layers.iter().cloned());
        let mut left = self.drop(&bench, &model.with_precision(target, half)?)?;
        if left > self.max_drop {
            let text = format!(
                "half precision alone loses {left:.3e} by {}, more than {:.3e}",
                self.metric.name(),
                self.max_drop
            );
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        for name in &layers {
            let others = layers.iter().filter(|other| *other != name).cloned();
            let alone = self.options.clone().in_half(others);
            let drop = self.drop(&bench, &model.with_precision(target, alone)?)?;
            tracing::debug!(target: "accelerant::export", "{precision} of `{name}` alone: {drop:e}");
            found.layers.push(LayerDrop::new(name, drop));
        }
        found.sort();
        // The least number of the worst layers that is enough, between none, which is not, and all of them.
        let kept = |count: usize| {
            let worst = found.layers[..count].iter().map(|layer| layer.name.clone());
            self.options.clone().in_half(worst)
        };
        let drop = |count: usize| -> Result<f64> {
            self.drop(&bench, &model.with_precision(target, kept(count))?)
        };
        let (mut too_few, mut enough) = (0, layers.len());
        while enough - too_few > 1 {
            let middle = (too_few + enough) / 2;
            let lost = drop(middle)?;
            match lost <= self.max_drop {
                true => (enough, left) = (middle, lost),
                false => too_few = middle,
            }
        }
        let options = kept(enough);
        found.layers[..enough].iter_mut().for_each(|layer| layer.in_half = true);
        found.drop = left;
        Ok((options, found))
    }

    /// Refuses what cannot be searched, before anything is built.
    fn check(&self, model: &OnnxModel, batches: &[Vec<HostTensor>]) -> Result<()> {
        if !self.max_drop.is_finite() || self.max_drop < 0.0 {
            let text = format!("a drop of {} is none: it is 0 or more", self.max_drop);
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
    fn suited(
        &self,
        model: &OnnxModel,
        target: Target,
        registry: &Registry,
        batches: &[Vec<HostTensor>],
    ) -> Result<(PrecisionOptions, f64, usize)> {
        if self.options.precision().is_quantized() {
            let (options, found) = self.search(model, target, registry, batches)?;
            return Ok((options, found.drop, found.in_half().count()));
        }
        let written = model.with_precision(target, self.options.clone())?;
        let bench = Bench { registry, batches, expected: results(model, registry, batches)? };
        Ok((self.options.clone(), self.drop(&bench, &written)?, 0))
    }

    /// What a model loses.
    fn drop(&self, bench: &Bench<'_>, model: &OnnxModel) -> Result<f64> {
        let got = results(model, bench.registry, bench.batches)?;
        let mut most = 0f64;
        for (place, (got, expected)) in got.iter().zip(&bench.expected).enumerate() {
            let drop = self.metric.drop(got, expected).map_err(|e| e.at_item(place))?;
            if drop.is_nan() {
                let text = format!("the metric {} gives no number (NaN)", self.metric.name());
                return Err(Error::new(ErrorKind::InvalidArgument, text).at_item(place));
            }
            most = most.max(drop);
        }
        Ok(most)
    }
}

struct Bench<'a> {
    registry: &'a Registry,
    batches: &'a [Vec<HostTensor>],
    expected: Vec<Vec<HostTensor>>,
}

/// The layers of a model that have fewer than 16 bits.
fn quantized(model: &OnnxModel) -> Vec<String> {
    let layers = model.precision_report().map_or(&[][..], |report| &report.layers);
    let few = layers.iter().filter(|layer| layer.is_quantized());
    few.map(|layer| layer.name.clone()).collect()
}

fn results(
    model: &OnnxModel,
    registry: &Registry,
    batches: &[Vec<HostTensor>],
) -> Result<Vec<Vec<HostTensor>>> {
    let compiled = registry.compile(|_| Ok(model.clone()))?;
    let each = batches.iter().enumerate();
    each.map(|(place, batch)| compiled.executable.run(batch).map_err(|e| e.at_item(place)))
        .collect()
}
