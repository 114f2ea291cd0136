//! `.optimize_trt(…)` and `.check_trt(…)` for every Burn module.

use std::{marker::PhantomData, sync::Arc};

use ::burn::module::Module;

use super::BurnModule;
use crate::error::Result;
use crate::export::Target;
use crate::export::burn::{BurnGraph, BurnTensors, Report};
use crate::progress::{Phase, phase};
use crate::runtime::check::ask_parser;
use crate::runtime::{InferenceModule, OptimizeOptions};

/// `.optimize_trt(…)` for every Burn module.
///
/// ```
/// use accelerant::{OptimizeOptions, burn::OptimizeTrt};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let layer = LinearConfig::new(8, 4).init(&device);
/// let example = Tensor::<2>::zeros([1, 8], &device);
///
/// let options = OptimizeOptions::new().dynamic_batch(1..=16);
/// let fast = layer.optimize_trt_with(example, |layer: &Linear, x| layer.forward(x), &options)?;
/// let y: Tensor<2> = fast.forward(Tensor::ones([16, 8], &device));
/// assert_eq!(y.dims(), [16, 4]);
/// # Ok::<(), accelerant::Error>(())
/// ```
pub trait OptimizeTrt: Module + Sized {
    /// Exports `forward`, and compiles the model for the first backend that works. The types and shapes of `example`
    /// matter, and its values do not.
    ///
    /// ```
    /// use accelerant::burn::OptimizeTrt;
    /// use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Distribution, Tensor}};
    ///
    /// let device = Device::default();
    /// let layer = LinearConfig::new(8, 4).init(&device);
    /// let x = Tensor::<2>::random([2, 8], Distribution::Default, &device);
    ///
    /// let fast = layer.optimize_trt(x.clone(), |layer: &Linear, x| layer.forward(x))?;
    /// let y: Tensor<2> = fast.forward(x.clone());
    /// y.into_data().assert_approx_eq::<f32>(&layer.forward(x).into_data(), Default::default());
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) with all operations that cannot be exported;
    /// [`NoBackend`](crate::ErrorKind::NoBackend) with the reason of each backend.
    fn optimize_trt<I, O>(
        &self,
        example: I,
        forward: impl Fn(&Self, I) -> O,
    ) -> Result<BurnModule<I, O>>
    where
        I: BurnTensors,
        O: BurnTensors,
    {
        self.optimize_trt_with(example, forward, &OptimizeOptions::new())
    }

    /// Lists everything that prevents an export of `forward` to TensorRT, and builds nothing.
    ///
    /// If all operations can be exported, the parser of the first usable TensorRT library reads the model, and the
    /// report lists what the parser refuses. [`Report::parser`] names the parser, or says why no parser was used. The
    /// parser lists all missing operators. If no operator is missing, the parser stops at the first node that it
    /// cannot convert. Some faults appear only when an engine is built, and the check does not find these faults.
    ///
    /// ```
    /// use accelerant::burn::OptimizeTrt;
    /// use burn::{nn::{Linear, LinearConfig}, tensor::{Device, Tensor}};
    ///
    /// let device = Device::default();
    /// let layer = LinearConfig::new(8, 4).init(&device);
    /// let x = Tensor::<2>::zeros([2, 8], &device);
    /// let report = layer.check_trt(x, |layer: &Linear, x| layer.forward(x))?;
    /// assert!(report.is_exportable(), "{report}");
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`BurnGraph::capture`], if `forward` cannot be captured at all.
    fn check_trt<I, O>(&self, example: I, forward: impl Fn(&Self, I) -> O) -> Result<Report>
    where
        I: BurnTensors,
        O: BurnTensors,
    {
        self.check_trt_with(example, forward, &OptimizeOptions::new())
    }

    /// As [`check_trt`](Self::check_trt), with options.
    ///
    /// # Errors
    /// As [`check_trt`](Self::check_trt).
    fn check_trt_with<I, O>(
        &self,
        example: I,
        forward: impl Fn(&Self, I) -> O,
        options: &OptimizeOptions,
    ) -> Result<Report>
    where
        I: BurnTensors,
        O: BurnTensors,
    {
        let graph = BurnGraph::capture(self, &example, forward, options)?;
        graph.check_parsed(Target::tensorrt(), |model| ask_parser(options.backends(), model))
    }

    /// As [`optimize_trt`](Self::optimize_trt), with options.
    ///
    /// # Errors
    /// As [`optimize_trt`](Self::optimize_trt); [`Io`](crate::ErrorKind::Io) for files that cannot be written.
    fn optimize_trt_with<I, O>(
        &self,
        example: I,
        forward: impl Fn(&Self, I) -> O,
        options: &OptimizeOptions,
    ) -> Result<BurnModule<I, O>>
    where
        I: BurnTensors,
        O: BurnTensors,
    {
        let recorder = options.recorder();
        let capture = || BurnGraph::capture(self, &example, forward, options);
        let graph = recorder.during(|| phase(Phase::Export, capture))?;
        let export = |target| graph.to_onnx(options.target_of_export(target));
        let inference = InferenceModule::compile_recorded(&recorder, export, options)?;
        Ok(BurnModule { inference, layout: Arc::new(graph.layout), types: PhantomData })
    }
}

impl<M: Module> OptimizeTrt for M {}
