//! How far the values of a model reach on samples: the model gives all of them, and runs on whatever backend there is.
//! What is kept of a value is a few numbers and a histogram, however many samples there are. How a limit is found in a
//! histogram is in `threshold`; what ranges are for is in `export/passes/precision`.

mod ahead;
mod histogram;
mod moments;
mod seen;
mod threshold;
mod workers;

use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::export::precision::{Range, Ranges};
use crate::spec::Signature;
use crate::tensor::HostTensor;
use ahead::Constant;
use histogram::Histogram;
pub use threshold::Method;
use workers::Workers;

const CALIBRATE: &str = "calibrate";

/// Fewer samples say nothing of what comes.
pub(super) const LEAST_SAMPLES: usize = 8;

/// Measures the ranges of a model's values.
///
/// ```no_run
/// use accelerant::precision::{Calibration, Method, Precision, PrecisionOptions};
/// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Registry, export::OnnxModel};
///
/// # fn batches() -> Vec<Vec<HostTensor>> { Vec::new() }
/// let model = OnnxModel::open("model.onnx")?;
/// let ranges = Calibration::new(Method::Entropy).run(&model, &Registry::default(), batches())?;
/// ranges.save("model.ranges.json")?;
/// let int8 = PrecisionOptions::new(Precision::Int8).ranges(ranges);
/// let fast = InferenceModule::compile(&model, &OptimizeOptions::new().precision(int8))?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Calibration {
    method: Method,
    least: usize,
    at_once: Option<usize>,
}

impl Calibration {
    /// A calibration with a method for the limits, on at least eight samples.
    pub const fn new(method: Method) -> Self {
        Self { method, least: LEAST_SAMPLES, at_once: None }
    }

    /// Sets the number of batches that run at the same time, each in a copy of the model with its part of the CPU
    /// cores. A copy takes the memory of all values of a batch. The default is one batch for each four cores, and at
    /// most four.
    #[must_use]
    pub const fn batches_at_once(mut self, count: usize) -> Self {
        self.at_once = Some(count);
        self
    }

    /// Sets the least number of samples. Samples are counted along axis 0 of the first input.
    #[must_use]
    pub const fn least_samples(mut self, count: usize) -> Self {
        self.least = count;
        self
    }

    /// Runs a model on batches of inputs, with the first backend of the registry that can run the model. The tensors
    /// of a batch are in the order of the signature.
    ///
    /// The ranges are stored by the names of this model's values. Therefore calibrate the same model that later gets
    /// the precision. Export a model of a framework for the same target first; ONNX Runtime can run a model that was
    /// exported for TensorRT.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for an invalid method, for 0 batches at once, for too few samples, for NaN and
    /// for samples in which all numbers are equal, with the tensor and the batch; errors of the inputs, before
    /// anything is built; and the errors of [`Registry::compile`].
    pub fn run(
        &self,
        model: &OnnxModel,
        registry: &Registry,
        batches: impl IntoIterator<Item = Vec<HostTensor>>,
    ) -> Result<Ranges> {
        self.measured(model, registry, batches).map_err(|e| e.in_operation(CALIBRATE))
    }

    fn measured(
        &self,
        model: &OnnxModel,
        registry: &Registry,
        batches: impl IntoIterator<Item = Vec<HostTensor>>,
    ) -> Result<Ranges> {
        self.method.check()?;
        if self.at_once == Some(0) {
            let text = "no batch at once is none at all: it is 1 or more";
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        }
        let signature = model.signature();
        let mut batches = batches.into_iter().enumerate().peekable();
        let ready = ahead::first(signature, &mut batches, self.least)?;
        let batches = ready.into_iter().chain(batches);
        let observed = model.observed(|_| true)?;
        let mut workers = Workers::new(self.method, registry, &observed, signature);
        if let Some(count) = self.at_once {
            workers.count = count;
        }
        let (mut samples, mut constant) = (0, Constant::default());
        let checked = batches.map(|(place, batch)| {
            check(signature, &batch).map_err(|e| e.at_item(place))?;
            constant.add(&batch);
            samples += counted(&batch);
            Ok(batch)
        });
        let seen = workers.run(checked)?;
        enough(samples, self.least)?;
        constant.expect_not(signature)?;
        let range = |(name, histogram): (String, Histogram)| (name, self.range(&histogram));
        let ranges = seen.histograms.into_iter().map(range);
        Ok(Ranges::new(self.method.to_string(), samples, ranges))
    }

    fn range(&self, histogram: &Histogram) -> Range {
        let [min, max] = histogram.ends();
        let [mean, deviation] = histogram.moments();
        Range::new(min, max, mean, deviation, self.method.limit(histogram))
    }
}

/// Whether a batch fits the model's inputs.
fn check(signature: &Signature, batch: &[HostTensor]) -> Result<()> {
    signature.check_inputs(batch.iter().map(|tensor| (tensor.dtype(), tensor.shape()))).map(drop)
}

/// How many samples a batch has.
pub(super) fn counted(batch: &[HostTensor]) -> usize {
    batch.first().and_then(|input| input.shape().first().copied()).unwrap_or(1)
}

/// Refuses too few samples.
fn enough(samples: usize, least: usize) -> Result<()> {
    if samples >= least {
        return Ok(());
    }
    let text = format!("{samples} samples are too few; {least} are wanted");
    Err(Error::new(ErrorKind::InvalidArgument, text))
}
