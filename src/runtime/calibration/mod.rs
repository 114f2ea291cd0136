//! How far the values of a model reach on samples: the model gives all of them, and runs on whatever backend there is.
//! What is kept of a value is a few numbers and a histogram, however many samples there are. How a limit is found in a
//! histogram is in `threshold`; what ranges are for is in `export/passes/precision`.

mod histogram;
mod moments;
mod threshold;

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};

use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::export::precision::{Range, Ranges};
use crate::spec::{DType, Signature, TensorSpec};
use crate::tensor::HostTensor;
use histogram::Histogram;
pub use threshold::Method;

const CALIBRATE: &str = "calibrate";

/// Fewer samples say nothing of what comes.
const LEAST_SAMPLES: usize = 8;

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
}

impl Calibration {
    /// Finds limits by a method, on eight samples or more.
    pub const fn new(method: Method) -> Self {
        Self { method, least: LEAST_SAMPLES }
    }

    /// Sets the least number of samples. Samples are counted along axis 0 of the first input.
    #[must_use]
    pub const fn least_samples(mut self, count: usize) -> Self {
        self.least = count;
        self
    }

    /// Runs a model on batches of inputs, each in the order of its signature, with the first backend of a registry that
    /// can run it.
    ///
    /// The ranges belong to the names of this model's values, so this model must be the one that gets a precision later.
    /// A model of a framework is exported for the same target first; ONNX Runtime reads a model that is written for
    /// TensorRT.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a method that makes no sense, for too few samples, for NaN and for samples that
    /// are all the same, with the tensor and the batch; errors about the inputs, before anything is built; and the errors
    /// of [`Registry::compile`].
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
        let signature = model.signature();
        let mut batches = batches.into_iter().enumerate().peekable();
        let Some((_, first)) = batches.peek() else {
            return Err(Error::new(ErrorKind::InvalidArgument, "there are no samples"));
        };
        check(signature, first)?;
        let observed = model.observed(|_| true)?;
        let compiled = registry.compile(|_| Ok(observed.clone()))?;
        let outputs = compiled.executable.signature().outputs.clone();
        let mut seen = Seen::new(self.method);
        let mut samples = 0;
        for (place, batch) in batches {
            check(signature, &batch).map_err(|e| e.at_item(place))?;
            samples += counted(&batch);
            // What is wrong with the samples themselves is told first.
            seen.add_inputs(&signature.inputs, &batch).map_err(|e| e.at_item(place))?;
            let look = &mut |values: &[Option<&[f32]>]| {
                let each = outputs.iter().zip(values);
                let floats = each.filter_map(|(spec, values)| Some((&*spec.name, (*values)?)));
                seen.add(&floats.collect())
            };
            compiled.executable.look(&batch, look).map_err(|e| e.at_item(place))?;
        }
        enough(samples, self.least)?;
        let mut inputs = signature.inputs.iter().filter(|spec| spec.dtype == DType::F32).peekable();
        let constant = |name: &str| seen.histograms.get(name).is_none_or(Histogram::is_constant);
        if inputs.peek().is_some() && inputs.all(|spec| constant(&spec.name)) {
            let text = "all samples are one and the same number";
            let name = signature.inputs.first().map_or("", |spec| spec.name.as_str());
            return Err(Error::new(ErrorKind::InvalidArgument, text).on_tensor(name));
        }
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

/// What was seen of all values.
struct Seen {
    method: Method,
    histograms: BTreeMap<String, Histogram>,
}

impl Seen {
    const fn new(method: Method) -> Self {
        Self { method, histograms: BTreeMap::new() }
    }

    /// Adds the inputs of one batch.
    fn add_inputs(&mut self, specs: &[TensorSpec], tensors: &[HostTensor]) -> Result<()> {
        let floats = specs.iter().zip(tensors).filter(|(spec, _)| spec.dtype == DType::F32);
        let views = floats.map(|(spec, tensor)| Ok((&*spec.name, tensor.view::<f32>()?)));
        let views = views.collect::<Result<Vec<_>>>()?;
        let values = views.iter().filter_map(|(name, view)| Some((*name, view.as_slice()?)));
        self.add(&values.collect())
    }

    /// Adds the values of one batch, on all processors.
    fn add(&mut self, tensors: &BTreeMap<&str, &[f32]>) -> Result<()> {
        for name in tensors.keys().copied() {
            if !self.histograms.contains_key(name) {
                let new = Histogram::new(self.method.wants_counts());
                self.histograms.insert(name.to_owned(), new);
            }
        }
        let mut work = Vec::new();
        for (name, histogram) in &mut self.histograms {
            if let Some(values) = tensors.get(name.as_str()).copied() {
                work.push((name.as_str(), values, histogram));
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let threads = threads.min(work.len());
        let left = Mutex::new(work.into_iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let worker = || -> Result<()> {
            while let Some((name, values, histogram)) = next() {
                let wrong = |text| Error::new(ErrorKind::InvalidArgument, text).on_tensor(name);
                histogram.add(values).map_err(wrong)?;
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            workers.into_iter().try_for_each(|worker| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })
    }
}

/// Whether a batch fits the model's inputs.
fn check(signature: &Signature, batch: &[HostTensor]) -> Result<()> {
    signature.check_inputs(batch.iter().map(|tensor| (tensor.dtype(), tensor.shape()))).map(drop)
}

/// How many samples a batch has.
fn counted(batch: &[HostTensor]) -> usize {
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
