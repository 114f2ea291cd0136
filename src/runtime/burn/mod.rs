//! Burn modules on a backend: `optimize` has `.optimize_trt(…)`, and the module that the call gives is here. How a model
//! is exported is not known here.

mod optimize;

use std::{fmt, marker::PhantomData, path::Path, sync::Arc};

use ::burn::tensor::Device;

use super::{InferenceModule, OptimizeOptions};
use crate::backend::BackendKind;
use crate::error::{Error, ErrorKind, Result};
use crate::export::burn::{
    AnyTensor, BurnTensors, Layout, Lengths, Material, TensorPath, TensorSource, TensorVisitor,
};
use crate::export::interface::Interface;
use crate::spec::{DType, TensorSpec};
use crate::tensor::HostTensor;

pub use optimize::OptimizeTrt;

/// When an execution is enqueued, where that is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "burn-cuda"), allow(dead_code))]
pub(super) enum When {
    /// Before the call returns, which tells what went wrong.
    Now,
    /// By Burn's threads, in its turn among the operations that Burn has put off, if it puts off any.
    InTurn,
}

/// A compiled module with the inputs `I` and outputs `O` of the original forward function.
///
/// A clone shares the model, and threads can share a module.
///
/// ```
/// use accelerant::burn::{BurnModule, OptimizeTrt};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// struct Classifier {
///     model: BurnModule<Tensor<2>, Tensor<2>>,
/// }
///
/// let device = Device::default();
/// let layer = LinearConfig::new(8, 4).init(&device);
/// let x = Tensor::<2>::ones([2, 8], &device);
///
/// let model = layer.optimize_trt(x.clone(), |layer: &Linear, x| layer.forward(x))?;
/// let classifier = Classifier { model };
/// assert_eq!(classifier.model.forward(x).dims(), [2, 4]);
///
/// let error = classifier.model.try_forward(Tensor::ones([2, 9], &device)).unwrap_err();
/// assert_eq!(error.axis(), Some(1));
/// # Ok::<(), accelerant::Error>(())
/// ```
pub struct BurnModule<I, O> {
    inference: InferenceModule,
    layout: Arc<Layout>,
    types: PhantomData<fn(I) -> O>,
}

impl<I: BurnTensors, O: BurnTensors> BurnModule<I, O> {
    /// Runs the model. The outputs live on the device of the first input.
    ///
    /// On a CUDA device, Burn's threads enqueue the execution like Burn's own operations, and the call does not wait.
    /// If the execution fails, the code that reads an output gets the error. [`try_forward`](Self::try_forward) waits
    /// until the execution is enqueued.
    ///
    /// # Panics
    /// When [`try_forward`](Self::try_forward) would return an error. Errors of an execution on a CUDA device do not
    /// panic here.
    #[track_caller]
    pub fn forward(&self, input: I) -> O {
        match self.run(&input, When::InTurn).map_err(|e| e.in_operation("forward")) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs the model. The outputs live on the device of the first input.
    ///
    /// TensorRT reads unsigned 64-bit integers as signed integers, up to 2^63 - 1. Larger integers in host memory are
    /// refused. On a CUDA device, the crate does not check the values, and larger integers become negative.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::OutOfProfile`] naming tensor and axis; [`ErrorKind::Execution`] when the
    /// backend fails.
    pub fn try_forward(&self, input: I) -> Result<O> {
        self.run(&input, When::Now).map_err(|e| e.in_operation("forward"))
    }

    fn run(&self, input: &I, when: When) -> Result<O> {
        let mut device = None;
        let lengths = visit(input, |tensor| {
            device.get_or_insert_with(|| tensor.device());
            Ok(())
        })?;
        if lengths != self.layout.inputs {
            let text = format!(
                "the lists and options of tensors have other lengths than in the example: {lengths:?}, not {:?}",
                self.layout.inputs
            );
            return Err(Error::new(ErrorKind::InputMismatch, text));
        }
        self.check_types(input)?;
        let device = device.unwrap_or_default().without_autodiff();
        let mut outputs = self.outputs(input, &device, when)?.into_iter();
        let mut source = TensorSource::new(&device, &self.layout.outputs, &mut outputs);
        O::build(&mut source)
    }

    /// Checks that the inputs have the types of the example, whatever the backend is handed.
    fn check_types(&self, input: &I) -> Result<()> {
        let specs = self.inference.signature().inputs.iter();
        let mut expected = specs.zip(&self.layout.input_types);
        visit(input, |tensor| {
            let got = tensor.dtype()?;
            match expected.next() {
                // A file does not say which integers Burn's device has.
                Some((spec, _)) if !self.layout.exact && fits(got, spec.dtype) => Ok(()),
                Some((spec, &dtype)) if dtype != got => {
                    let text = format!("expected {dtype}, got {got}");
                    Err(Error::new(ErrorKind::DTypeMismatch, text).on_tensor(&spec.name))
                }
                _ => Ok(()),
            }
        })?;
        Ok(())
    }

    #[cfg_attr(not(feature = "burn-cuda"), allow(unused_variables))]
    fn outputs(&self, input: &I, device: &Device, when: When) -> Result<Vec<Material>> {
        #[cfg(feature = "burn-cuda")]
        if self.inference.device().is_some() {
            let (signature, settings) = (self.inference.signature(), device.settings());
            let (mut inputs, mut specs) = (Vec::new(), signature.inputs.iter());
            visit(input, |tensor| {
                let dtype = specs.next().map_or_else(|| tensor.dtype(), |spec| Ok(spec.dtype))?;
                inputs.push(tensor.dispatch(dtype));
                Ok(())
            })?;
            let outputs = super::burn_cuda::run(&self.inference, inputs, settings, when)?;
            if let Some(outputs) = outputs {
                let outputs = outputs.into_iter().zip(&self.layout.output_types);
                return Ok(outputs.map(|(tensor, own)| Material::Ready(tensor, *own)).collect());
            }
        }
        let specs = &self.inference.signature().inputs;
        let mut inputs = Vec::with_capacity(specs.len());
        visit(input, |tensor| {
            let own = tensor.host()?;
            inputs.push(match specs.get(inputs.len()) {
                Some(spec) => handed(&own, spec)?,
                None => own,
            });
            Ok(())
        })?;
        let outputs = self.inference.run(&inputs)?.into_iter().zip(&self.layout.output_types);
        outputs.map(|(tensor, own)| Ok(Material::Host(tensor.convert(*own)?))).collect()
    }

    /// Opens a file without the source code of the model. The file is an engine, an [entry of the
    /// cache](crate::cache::Entry::path), or a model with a file name that ends in `.onnx`. `I` and `O` are the types
    /// that [`forward`](Self::forward) takes and returns, and the tensors of the file must match them.
    ///
    /// A file of a Burn model keeps Burn's types, and the module behaves as the compiled one. All other files have the
    /// types of the signature. Inputs may then also have a smaller integer type, and `I` and `O` cannot have lists and
    /// options. An engine is a program: see [`Engine::open`](crate::Engine::open).
    ///
    /// ```
    /// use accelerant::{OptimizeOptions, burn::{BurnModule, OptimizeTrt}};
    /// use burn::nn::{Linear, LinearConfig};
    /// use burn::tensor::{Device, Tensor};
    ///
    /// let device = Device::default();
    /// let layer = LinearConfig::new(8, 4).init(&device);
    /// let x = Tensor::<2>::ones([2, 8], &device);
    /// let folder = tempfile::tempdir()?;
    /// let (engine, model) = (folder.path().join("net.engine"), folder.path().join("net.onnx"));
    ///
    /// let options = OptimizeOptions::new().save_onnx(&model);
    /// let fast = layer.optimize_trt_with(x.clone(), |layer: &Linear, x| layer.forward(x), &options)?;
    /// fast.inference().engine().save(&engine)?;
    ///
    /// // In another program:
    /// for file in [engine, model] {
    ///     let module = BurnModule::<Tensor<2>, Tensor<2>>::open(file, &OptimizeOptions::new())?;
    ///     let (y, expected) = (module.forward(x.clone()), fast.forward(x.clone()));
    ///     y.into_data().assert_approx_eq::<f32>(&expected.into_data(), Default::default());
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
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`] or [`ErrorKind::ShapeMismatch`] if the tensors of
    /// `I` or `O` differ from the model in number, kind or rank.
    pub fn from_inference(inference: InferenceModule) -> Result<Self> {
        let signature = inference.signature();
        let own = inference.engine().interface();
        let own = own.and_then(|text| Interface::read(text, "burn", signature)).and_then(|own| {
            let types = |names: &[String]| -> Option<Vec<DType>> {
                names.iter().map(|name| name.parse().ok()).collect()
            };
            let (input_types, output_types) = (types(&own.inputs)?, types(&own.outputs)?);
            let (inputs, outputs) = (own.input_lengths, own.output_lengths);
            Some(Layout { inputs, outputs, input_types, output_types, exact: true })
        });
        let mut layout = own.unwrap_or_else(|| {
            let types = |specs: &[TensorSpec]| specs.iter().map(|spec| spec.dtype).collect();
            Layout {
                inputs: Lengths::new(),
                outputs: Lengths::new(),
                input_types: types(&signature.inputs),
                output_types: types(&signature.outputs),
                exact: false,
            }
        });
        let (inputs, outputs) = (&signature.inputs, &signature.outputs);
        layout.inputs = expect::<I>("inputs", inputs, &layout.input_types, &layout.inputs)?;
        layout.outputs = expect::<O>("outputs", outputs, &layout.output_types, &layout.outputs)?;
        Ok(Self { inference, layout: Arc::new(layout), types: PhantomData })
    }

    /// The backend that runs.
    pub fn backend(&self) -> BackendKind {
        self.inference.backend()
    }

    /// The same model on these [devices](InferenceModule::on_devices). Tensors of a device run on that device, and
    /// tensors in host memory go to the least busy device.
    ///
    /// # Errors
    /// As [`InferenceModule::on_devices`].
    pub fn on_devices(&self, ordinals: &[usize]) -> Result<Self> {
        let inference = self.inference.on_devices(ordinals)?;
        Ok(Self { inference, layout: self.layout.clone(), types: PhantomData })
    }

    /// The same model with only one of the engine's profiles, as [`InferenceModule::for_profile`].
    ///
    /// # Errors
    /// As there.
    pub fn for_profile(&self, name: &str) -> Result<Self> {
        let inference = self.inference.for_profile(name)?;
        Ok(Self { inference, layout: self.layout.clone(), types: PhantomData })
    }

    /// The module without the framework's types. It has the signature, the report, and the reasons against other
    /// backends.
    pub fn inference(&self) -> &InferenceModule {
        &self.inference
    }
}

/// Whether a model that takes `wanted` may be given `got`.
fn fits(got: DType, wanted: DType) -> bool {
    got == wanted || (got.is_int() && wanted.is_int() && got.size() < wanted.size())
}

/// Checks that a value of type `T` has the tensors of a model, and tells the lengths that its type does not tell.
fn expect<T: BurnTensors>(
    what: &str,
    specs: &[TensorSpec],
    types: &[DType],
    lengths: &Lengths,
) -> Result<Lengths> {
    let smallest = |(spec, &own): (&TensorSpec, &DType)| {
        let sizes: Vec<_> = spec.shape.dims().iter().map(|dim| dim.min().max(1)).collect();
        let bytes = vec![0; sizes.iter().product::<usize>() * own.size()];
        HostTensor::from_bytes(own, sizes, bytes).map(Material::Host)
    };
    let examples = specs.iter().zip(types).map(smallest).collect::<Result<Vec<_>>>()?;
    let mut taken = 0;
    let mut examples = examples.into_iter().inspect(|_| taken += 1);
    let device = Device::default();
    let built = T::build(&mut TensorSource::new(&device, lengths, &mut examples));
    let error = match built {
        Ok(value) if taken == specs.len() => return visit(&value, |_| Ok(())),
        Ok(_) => {
            let text = format!("the type has {taken} tensors, and the model {}", specs.len());
            Error::new(ErrorKind::InputMismatch, text)
        }
        Err(error) if specs.is_empty() || taken == 0 => error,
        Err(error) => error.on_tensor(&specs[taken - 1].name),
    };
    Err(error.in_operation(format!("{what} of {}", std::any::type_name::<T>())))
}

/// An input in the type that the backend takes.
fn handed(own: &HostTensor, spec: &TensorSpec) -> Result<HostTensor> {
    let tensor = own.convert(spec.dtype)?;
    let large = || tensor.to_vec::<i64>().is_ok_and(|values| values.iter().any(|&v| v < 0));
    if (own.dtype(), spec.dtype) == (DType::U64, DType::I64) && large() {
        let text = "the backend takes unsigned 64-bit integers up to 2^63 - 1 only";
        return Err(Error::new(ErrorKind::InputMismatch, text).on_tensor(&spec.name));
    }
    Ok(tensor)
}

/// Shows each tensor of `input`, and tells the lengths that its type does not tell.
fn visit(
    input: &impl BurnTensors,
    mut each: impl FnMut(&dyn AnyTensor) -> Result<()>,
) -> Result<Lengths> {
    let mut each = |_: &TensorPath<'_>, tensor: &dyn AnyTensor| each(tensor);
    let mut visitor = TensorVisitor::new(&mut each);
    input.visit(&mut visitor)?;
    Ok(visitor.into_lengths())
}

impl<I, O> Clone for BurnModule<I, O> {
    fn clone(&self) -> Self {
        let (inference, layout) = (self.inference.clone(), self.layout.clone());
        Self { inference, layout, types: PhantomData }
    }
}

impl<I, O> fmt::Debug for BurnModule<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BurnModule({:?})", self.inference)
    }
}
