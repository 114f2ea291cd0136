//! `.optimize_trt(…)` and `.check_trt(…)` for every Candle model that can be traced.

use super::CandleModule;
use crate::error::Result;
use crate::export::candle::{Examples, Trace, Traceable};
use crate::export::{Report, Target};
use crate::runtime::OptimizeOptions;
use crate::runtime::check::ask_parser;

/// `.optimize_trt(…)` for Candle models.
///
/// Every [`Traceable`] type has this trait: a type with a [`Forward`](crate::candle::Forward), or with
/// [`accelerant::trace`](crate::trace) on its impl.
///
/// ```
/// use accelerant::{OptimizeOptions, candle::OptimizeTrt};
/// use candle_core::{DType, Device, Module, Result, Tensor};
///
/// struct Mean;
///
/// #[accelerant::trace]
/// impl Module for Mean {
///     fn forward(&self, xs: &Tensor) -> Result<Tensor> {
///         xs.mean(1)
///     }
/// }
///
/// let example = Tensor::ones((1, 64), DType::F32, &Device::Cpu)?;
/// let options = OptimizeOptions::new().dynamic_batch(1..=32);
/// let fast = Mean.optimize_trt_with(&example, &options)?;
///
/// let xs = Tensor::ones((8, 64), DType::F32, &Device::Cpu)?;
/// assert_eq!(fast.forward(&xs)?.to_vec1::<f32>()?, [1.0; 8]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait OptimizeTrt {
    /// Exports the model for inputs like the examples, and compiles the model for the first backend that works.
    ///
    /// # Errors
    /// As [`optimize_trt_with`](Self::optimize_trt_with).
    fn optimize_trt<'a>(&self, examples: impl Into<Examples<'a>>) -> Result<CandleModule> {
        self.optimize_trt_with(examples, &OptimizeOptions::new())
    }

    /// As [`optimize_trt`](Self::optimize_trt), with options. The examples are `&x`, `(&x, &y)`, or by name `[("x",
    /// &x), ("y", &y)]`. Their types and shapes matter, and their values do not.
    ///
    /// # Errors
    /// Those of [`Trace::of`], [`Trace::to_onnx`] and [`InferenceModule::compile`](crate::InferenceModule::compile).
    fn optimize_trt_with<'a>(
        &self,
        examples: impl Into<Examples<'a>>,
        options: &OptimizeOptions,
    ) -> Result<CandleModule>;

    /// Lists everything that prevents an export of the model to TensorRT, and builds nothing.
    ///
    /// If all operations can be exported, the parser of the first usable TensorRT library reads the model, and the
    /// report lists what the parser refuses. [`Report::parser`] names the parser, or says why no parser was used. The
    /// parser lists all missing operators. If no operator is missing, the parser stops at the first node that it
    /// cannot convert. Some faults appear only when an engine is built, and the check does not find these faults.
    ///
    /// ```
    /// use accelerant::candle::OptimizeTrt;
    /// use candle_core::{DType, Device, Tensor};
    ///
    /// let weight = Tensor::ones((10, 64), DType::F32, &Device::Cpu)?;
    /// let model = candle_nn::Linear::new(weight, None);
    /// let report = model.check_trt(&Tensor::zeros((1, 64), DType::F32, &Device::Cpu)?)?;
    /// assert!(report.is_exportable(), "{report}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The errors of [`Trace::of`], if the forward cannot be traced at all.
    fn check_trt<'a>(&self, examples: impl Into<Examples<'a>>) -> Result<Report> {
        self.check_trt_with(examples, &OptimizeOptions::new())
    }

    /// As [`check_trt`](Self::check_trt), with options.
    ///
    /// # Errors
    /// As [`check_trt`](Self::check_trt).
    fn check_trt_with<'a>(
        &self,
        examples: impl Into<Examples<'a>>,
        options: &OptimizeOptions,
    ) -> Result<Report>;
}

impl<M: Traceable> OptimizeTrt for M {
    fn optimize_trt_with<'a>(
        &self,
        examples: impl Into<Examples<'a>>,
        options: &OptimizeOptions,
    ) -> Result<CandleModule> {
        CandleModule::traced(|| Trace::of(self, examples, options), options)
    }

    fn check_trt_with<'a>(
        &self,
        examples: impl Into<Examples<'a>>,
        options: &OptimizeOptions,
    ) -> Result<Report> {
        let trace = Trace::of(self, examples, options)?;
        trace.check_parsed(Target::tensorrt(), |model| ask_parser(options.backends(), model))
    }
}
