//! How what layers read goes together on samples: the model gives what its layers read, and runs on whatever backend
//! there is.

use ndarray::ArrayView2;

use super::{LEAST_SAMPLES, ahead, check, counted};
use crate::backend::Registry;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::export::precision::Moments;
use crate::tensor::HostTensor;

const MEASURE: &str = "measure moments";

impl Moments {
    /// Runs a model on batches of inputs, eight samples or more, each in the order of its signature, with the first
    /// backend of a registry that can run it. The more samples, and the more alike to what comes later, the better.
    ///
    /// As with [`Ranges`](crate::precision::Ranges), the model must be the one that gets a precision later.
    ///
    /// ```no_run
    /// use accelerant::precision::{Moments, Precision, PrecisionOptions};
    /// use accelerant::{HostTensor, InferenceModule, OptimizeOptions, Registry, export::OnnxModel};
    ///
    /// # fn batches() -> Vec<Vec<HostTensor>> { Vec::new() }
    /// let model = OnnxModel::open("model.onnx")?;
    /// let moments = Moments::measure(&model, &Registry::default(), batches())?;
    /// let int4 = PrecisionOptions::new(Precision::Int4Weights).block(16).moments(moments);
    /// let small = InferenceModule::compile(&model, &OptimizeOptions::new().precision(int4))?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for too few samples, for values that are no finite numbers, with the tensor and the
    /// batch, and for a model without layers of weights; errors about the inputs, before anything is built; and the
    /// errors of [`Registry::compile`].
    pub fn measure(
        model: &OnnxModel,
        registry: &Registry,
        batches: impl IntoIterator<Item = Vec<HostTensor>>,
    ) -> Result<Self> {
        measured(model, registry, batches).map_err(|e| e.in_operation(MEASURE))
    }
}

fn measured(
    model: &OnnxModel,
    registry: &Registry,
    batches: impl IntoIterator<Item = Vec<HostTensor>>,
) -> Result<Moments> {
    let read = model.read_by_layers();
    if read.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "no layer multiplies with a weight"));
    }
    let signature = model.signature();
    let mut batches = batches.into_iter().enumerate().peekable();
    let ready = ahead::first(signature, &mut batches, LEAST_SAMPLES)?;
    let observed = model.observed(|name| read.contains_key(name))?;
    let compiled = registry.compile(|_| Ok(observed.clone()))?;
    let outputs = compiled.executable.signature().outputs.clone();
    let mut moments = Moments::default();
    let mut samples = 0;
    for (place, batch) in ready.into_iter().chain(batches) {
        check(signature, &batch).map_err(|e| e.at_item(place))?;
        samples += counted(&batch);
        let results = compiled.executable.run(&batch).map_err(|e| e.at_item(place))?;
        let given = outputs.iter().zip(&results).chain(signature.inputs.iter().zip(&batch));
        for (spec, tensor) in given {
            if let Some(&columns) = read.get(&*spec.name) {
                add(&mut moments, &spec.name, tensor, columns).map_err(|e| e.at_item(place))?;
            }
        }
    }
    super::enough(samples, LEAST_SAMPLES)?;
    Ok(moments)
}

/// Adds all rows of a tensor.
fn add(moments: &mut Moments, name: &str, tensor: &HostTensor, columns: usize) -> Result<()> {
    let wrong = |text: &str| Error::new(ErrorKind::InvalidArgument, text).on_tensor(name);
    if tensor.shape().last() != Some(&columns) {
        return Ok(());
    }
    let values = tensor.view::<f32>()?;
    if !values.iter().all(|value| value.is_finite()) {
        return Err(wrong("a value is no finite number"));
    }
    let values = values.as_slice().ok_or_else(|| wrong("its rows are not one after the other"))?;
    let rows = ArrayView2::from_shape((values.len() / columns, columns), values);
    let rows = rows.map_err(|e| wrong(&e.to_string()))?;
    moments.add(name, rows);
    Ok(())
}
