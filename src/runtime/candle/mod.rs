//! The module that takes the place of a Candle model, and in `optimize` the call that makes the module. `export::candle`
//! knows the export, and a backend knows how to run.

mod optimize;

use std::{path::Path, sync::Arc};

use candle_core::{DType, Device, Tensor};

use super::{InferenceModule, OptimizeOptions};
use crate::backend::BackendKind;
use crate::error::{Error, ErrorKind, Result};
use crate::export::candle::{
    Examples, Trace, Traced, candle_dtype, carried_dtype, from_host, given_names, to_candle,
    to_host,
};
use crate::export::interface::Interface;
use crate::progress::{Phase, Recorder, phase};
use crate::spec::TensorSpec;
use crate::tensor::HostTensor;

pub use optimize::OptimizeTrt;

/// A compiled model that you call like the original Candle model.
///
/// The type implements [`candle_core::Module`]. Inputs may be strided. Outputs are on the device of the first input,
/// with the types of the Candle model. A clone shares the model, and threads can share a module.
///
/// With the feature `candle-cuda` and on TensorRT, inputs of a CUDA device stay on the device. The module reads the
/// inputs on Candle's stream without a copy, and Candle's device allocates the outputs. The call does not wait for the
/// device. All inputs must be on the same Candle device, which must be the device of the engine. All other tensors go
/// through host memory. If the backend runs on the CPU, all tensors go through host memory.
///
/// ```
/// use accelerant::candle::{CandleModule, OptimizeTrt};
/// use candle_core::{DType, Device, Module, Tensor};
///
/// let weight = Tensor::ones((10, 64), DType::F32, &Device::Cpu)?;
/// let x = Tensor::ones((1, 64), DType::F32, &Device::Cpu)?;
/// let fast: CandleModule = candle_nn::Linear::new(weight, None).optimize_trt(&x)?;
///
/// let scores = fast.forward(&x)?;                       // one input, one output
/// let outputs = fast.run(&x)?;                          // any number of both
/// assert_eq!(scores.to_vec2::<f32>()?, outputs[0].to_vec2::<f32>()?);
/// println!("{}: {}", fast.backend(), fast.inference().signature());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CandleModule {
    inference: InferenceModule,
    inputs: Vec<DType>,
    outputs: Vec<DType>,
    /// Whether the types are those of a Candle model, and not the nearest to those of a file.
    exact: bool,
}

impl CandleModule {
    /// Compiles a traced model.
    ///
    /// # Errors
    /// Those of [`Trace::to_onnx`] and [`InferenceModule::compile`].
    pub fn compile(trace: &Trace, options: &OptimizeOptions) -> Result<Self> {
        Self::compile_recorded(&options.recorder(), trace, options)
    }

    /// Traces and compiles, both recorded.
    fn traced(trace: impl FnOnce() -> Result<Trace>, options: &OptimizeOptions) -> Result<Self> {
        let recorder = options.recorder();
        let trace = recorder.during(|| phase(Phase::Export, trace))?;
        Self::compile_recorded(&recorder, &trace, options)
    }

    fn compile_recorded(
        recorder: &Arc<Recorder>,
        trace: &Trace,
        options: &OptimizeOptions,
    ) -> Result<Self> {
        let export = |target| trace.to_onnx(options.target_of_export(target));
        let inference = InferenceModule::compile_recorded(recorder, export, options)?;
        let (inputs, outputs) = (trace.input_dtypes(), trace.output_dtypes());
        Ok(Self { inference, inputs, outputs, exact: true })
    }

    /// Compiles a function of several tensors, traced on inputs like `examples`.
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, candle::{CandleModule, TensorOps}};
    /// use candle_core::{Device, Tensor};
    ///
    /// fn distance<T: TensorOps>(a: &T, b: &T) -> candle_core::Result<T> {
    ///     a.sub(b)?.sqr()?.sum(1)?.sqrt()
    /// }
    ///
    /// let a = Tensor::new(&[[1f32, 2.0]], &Device::Cpu)?;
    /// let b = Tensor::new(&[[4f32, 6.0]], &Device::Cpu)?;
    /// let fast = CandleModule::of_fn(&[&a, &b], &OptimizeOptions::new(), |inputs| {
    ///     Ok(vec![distance(&inputs[0], &inputs[1])?])
    /// })?;
    /// assert_eq!(fast.run(&[&a, &b])?[0].to_vec1::<f32>()?, [5.0]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`OptimizeTrt::optimize_trt_with`].
    pub fn of_fn<'a>(
        examples: impl Into<Examples<'a>>,
        options: &OptimizeOptions,
        forward: impl Fn(&[Traced]) -> candle_core::Result<Vec<Traced>>,
    ) -> Result<Self> {
        Self::traced(|| Trace::of_fn(examples, options, forward), options)
    }

    /// Opens a file without the source code of the model. The file is an engine, an [entry of the
    /// cache](crate::cache::Entry::path), or a model with a file name that ends in `.onnx`.
    ///
    /// A file of a Candle model keeps Candle's types, and the module behaves as the compiled one. All other files have
    /// the types of the signature, and an input may have the type `u32` instead of `i64`. An engine is a program: see
    /// [`Engine::open`](crate::Engine::open).
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, candle::{CandleModule, OptimizeTrt}};
    /// use candle_core::{DType, Device, Module, Tensor};
    ///
    /// let weight = Tensor::ones((10, 64), DType::F32, &Device::Cpu)?;
    /// let x = Tensor::ones((1, 64), DType::F32, &Device::Cpu)?;
    /// let folder = tempfile::tempdir()?;
    /// let (engine, model) = (folder.path().join("net.engine"), folder.path().join("net.onnx"));
    ///
    /// let options = OptimizeOptions::new().save_onnx(&model);
    /// let fast = candle_nn::Linear::new(weight, None).optimize_trt_with(&x, &options)?;
    /// fast.inference().engine().save(&engine)?;
    ///
    /// // In another program:
    /// for file in [engine, model] {
    ///     let module = CandleModule::open(file, &OptimizeOptions::new())?;
    ///     assert_eq!(module.forward(&x)?.to_vec2::<f32>()?, [[64.0; 10]]);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`InferenceModule::open`] and [`from_inference`](Self::from_inference).
    pub fn open(path: impl AsRef<Path>, options: &OptimizeOptions) -> Result<Self> {
        Self::from_inference(InferenceModule::open(path, options)?)
    }

    /// A module for a loaded model, such as a model from a file after
    /// [`OnnxModel::bind`](crate::export::OnnxModel::bind). The types are as for [`open`](Self::open).
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for an input or output of a type that Candle does not have.
    pub fn from_inference(inference: InferenceModule) -> Result<Self> {
        let signature = inference.signature();
        let own = inference.engine().interface();
        let own = own.and_then(|text| Interface::read(text, "candle", signature)).and_then(|own| {
            let types = |names: &[String]| -> Option<Vec<DType>> {
                names.iter().map(|name| name.parse().ok()).collect()
            };
            Some((types(&own.inputs)?, types(&own.outputs)?))
        });
        let exact = own.is_some();
        let (inputs, outputs) = match own {
            Some(types) => types,
            None => {
                let types = |specs: &[TensorSpec]| -> Result<Vec<DType>> {
                    let own = |spec: &TensorSpec| {
                        candle_dtype(spec.dtype).map_err(|e| e.on_tensor(&spec.name))
                    };
                    specs.iter().map(own).collect()
                };
                (types(&signature.inputs)?, types(&signature.outputs)?)
            }
        };
        Ok(Self { inference, inputs, outputs, exact })
    }

    /// The backend that runs.
    pub fn backend(&self) -> BackendKind {
        self.inference.backend()
    }

    /// The module without Candle's types. It has the signature, the report, and the reasons against other backends.
    pub fn inference(&self) -> &InferenceModule {
        &self.inference
    }

    /// The same model on these [devices](InferenceModule::on_devices). Tensors of a device run on that device, and
    /// tensors in host memory go to the least busy device.
    ///
    /// # Errors
    /// As [`InferenceModule::on_devices`].
    pub fn on_devices(&self, ordinals: &[usize]) -> Result<Self> {
        Ok(Self { inference: self.inference.on_devices(ordinals)?, ..self.clone() })
    }

    /// The same model with only one of the engine's profiles, as [`InferenceModule::for_profile`].
    ///
    /// # Errors
    /// As there.
    pub fn for_profile(&self, name: &str) -> Result<Self> {
        Ok(Self { inference: self.inference.for_profile(name)?, ..self.clone() })
    }

    /// Runs on tensors in the order of the signature, or by name. Returns the outputs in the order of the signature.
    ///
    /// # Errors
    /// [`ErrorKind::DTypeMismatch`] for another type than the example's,
    /// [`ErrorKind::InputMismatch`] for a name that the model does not have; else as
    /// [`InferenceModule::run`].
    pub fn run<'a>(&self, inputs: impl Into<Examples<'a>>) -> Result<Vec<Tensor>> {
        let inputs = self.in_order(inputs.into()).map_err(|e| e.in_operation("run"))?;
        let signature = self.inference.signature();
        for ((input, &expected), spec) in inputs.iter().zip(&self.inputs).zip(&signature.inputs) {
            let carried =
                || carried_dtype(input.dtype()).is_ok_and(|carried| carried == spec.dtype);
            if input.dtype() != expected && (self.exact || !carried()) {
                let text = format!(
                    "expected {}, got {}: cast the tensor first",
                    expected.as_str(),
                    input.dtype().as_str()
                );
                let error = Error::new(ErrorKind::DTypeMismatch, text);
                return Err(error.in_operation("run").on_tensor(&spec.name));
            }
        }
        #[cfg(feature = "candle-cuda")]
        if let (Some(executable), Some(Device::Cuda(device))) =
            (self.inference.device(), inputs.first().map(|input| input.device()))
            && inputs.len() == signature.inputs.len()
        {
            return super::candle_cuda::run(
                &self.inference,
                executable,
                device,
                &inputs,
                &self.outputs,
            )
            .map_err(|e| e.in_operation("run"));
        }
        // In place of a type that a backend does not have, it takes a wider one.
        let host = |(i, input): (usize, &&Tensor)| {
            let host = to_host(input)?;
            match (host.dtype(), signature.inputs.get(i).map(|spec| spec.dtype)) {
                (crate::DType::I16, Some(wider)) => host.convert(wider),
                // Candle has no bools, and files have.
                (crate::DType::U8, Some(crate::DType::Bool)) => {
                    let values = host.to_vec::<u8>()?.into_iter().map(|value| value != 0);
                    HostTensor::from_vec(host.shape().to_vec(), values.collect::<Vec<bool>>())
                }
                _ => Ok(host),
            }
        };
        let host = inputs.iter().enumerate().map(host).collect::<Result<Vec<_>>>()?;
        let outputs = self.inference.run(&host)?;
        let device = inputs.first().map_or(&Device::Cpu, |input| input.device());
        outputs
            .iter()
            .zip(&self.outputs)
            .map(|(output, &dtype)| from_host(output, dtype, device))
            .collect()
    }

    /// The inputs in the order of the signature: those with names in their places, the others in
    /// the places that are left.
    fn in_order<'a>(&self, Examples(inputs): Examples<'a>) -> Result<Vec<&'a Tensor>> {
        if inputs.iter().all(|(name, _)| name.is_none()) {
            return Ok(inputs.into_iter().map(|(_, tensor)| tensor).collect());
        }
        let specs = &self.inference.signature().inputs;
        let names = specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
        let given = given_names(inputs.iter().map(|(name, _)| name.as_deref()));
        let mismatch = |text: String| {
            Error::new(ErrorKind::InputMismatch, format!("{text}; given: {given}; known: {names}"))
        };
        let mut places: Vec<Option<&Tensor>> = vec![None; specs.len()];
        let (named, others): (Vec<_>, Vec<_>) =
            inputs.into_iter().partition(|(name, _)| name.is_some());
        for (name, tensor) in named.into_iter().chain(others) {
            let place = match &name {
                Some(name) => specs.iter().position(|spec| spec.name == *name),
                None => places.iter().position(Option::is_none),
            };
            let place = match (place, &name) {
                (Some(place), _) if places[place].is_none() => place,
                (Some(_), Some(name)) => {
                    return Err(mismatch(format!("the input `{name}` is given twice")));
                }
                (None, Some(name)) => {
                    return Err(mismatch(format!("the module has no input `{name}`")));
                }
                (_, None) => {
                    return Err(mismatch(format!("more inputs than the module's {}", specs.len())));
                }
            };
            places[place] = Some(tensor);
        }
        let missing = |(place, tensor): (usize, Option<&'a Tensor>)| {
            tensor.ok_or_else(|| {
                mismatch("this input is missing".into()).on_tensor(&specs[place].name)
            })
        };
        places.into_iter().enumerate().map(missing).collect()
    }

    /// Runs a model with one input, and returns the first output, as [`candle_core::Module`] does. You do not have to
    /// import the trait.
    ///
    /// # Errors
    /// The errors of [`run`](Self::run) as Candle errors; [`error_of`](crate::candle::error_of) returns the original
    /// error.
    pub fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        let context = || format!("while running on {}", self.inference.backend());
        let outputs = self.run(xs).map_err(|e| to_candle(e, context()))?;
        outputs.into_iter().next().ok_or_else(|| {
            let error = Error::new(ErrorKind::InvalidModel, "the model has no outputs");
            to_candle(error, context())
        })
    }
}

impl candle_core::Module for CandleModule {
    fn forward(&self, xs: &Tensor) -> candle_core::Result<Tensor> {
        CandleModule::forward(self, xs)
    }
}
