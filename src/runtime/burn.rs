//! Burn modules on a backend: `.optimize_trt(…)`, and the module it gives. How a model is
//! exported is not known here.

use std::{fmt, marker::PhantomData};

use ::burn::module::Module;

use super::{InferenceModule, OptimizeOptions};
use crate::backend::BackendKind;
use crate::error::{Error, ErrorKind, Result};
use crate::export::burn::{BurnGraph, BurnTensors};

/// A compiled module with the inputs `I` and outputs `O` of the original's forward function.
/// Cloning shares the model; threads may share it.
pub struct BurnModule<I, O> {
    inference: InferenceModule,
    types: PhantomData<fn(I) -> O>,
}

impl<I: BurnTensors, O: BurnTensors> BurnModule<I, O> {
    /// Runs the model. The outputs live on the device of the first input.
    ///
    /// # Panics
    /// Where [`try_forward`](Self::try_forward) returns an error.
    #[track_caller]
    pub fn forward(&self, input: I) -> O {
        match self.try_forward(input) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs the model. The outputs live on the device of the first input.
    ///
    /// # Errors
    /// [`ErrorKind::InputMismatch`], [`ErrorKind::DTypeMismatch`], [`ErrorKind::ShapeMismatch`] or
    /// [`ErrorKind::OutOfProfile`] naming tensor and axis; [`ErrorKind::Execution`] when the
    /// backend fails.
    pub fn try_forward(&self, input: I) -> Result<O> {
        let in_forward = |e: Error| e.in_operation("forward");
        let device = input.device().unwrap_or_default();
        let mut inputs = Vec::with_capacity(self.inference.signature().inputs.len());
        input.into_host(&mut inputs).map_err(in_forward)?;
        let outputs = self.inference.run(&inputs).map_err(in_forward)?;
        let mut outputs = outputs.into_iter();
        let result = O::from_host(&mut outputs, &device.without_autodiff()).map_err(in_forward)?;
        match outputs.next() {
            None => Ok(result),
            Some(_) => Err(Error::new(
                ErrorKind::InputMismatch,
                "the model has more outputs than this type",
            )),
        }
    }

    /// The backend that runs.
    pub fn backend(&self) -> BackendKind {
        self.inference.backend()
    }

    /// The model without the framework's types: its signature, its backend, and why that one.
    pub fn inference(&self) -> &InferenceModule {
        &self.inference
    }
}

/// `.optimize_trt(…)` for every Burn module.
pub trait OptimizeTrt: Module + Sized {
    /// Exports `forward` and compiles it for the best backend this machine has. `example` gives
    /// types and sizes of the inputs; its values do not matter.
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
    /// [`ErrorKind::UnsupportedOperation`] naming every operation that cannot be exported;
    /// [`ErrorKind::NoBackend`] with every backend's reason.
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

    /// As [`optimize_trt`](Self::optimize_trt), with options.
    ///
    /// # Errors
    /// As [`optimize_trt`](Self::optimize_trt); [`ErrorKind::Io`] for the files asked for.
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
        let graph = BurnGraph::capture(self, &example, forward, options)?;
        let inference = InferenceModule::compile_with(|consumer| graph.to_onnx(consumer), options)?;
        Ok(BurnModule { inference, types: PhantomData })
    }
}

impl<M: Module> OptimizeTrt for M {}

impl<I, O> Clone for BurnModule<I, O> {
    fn clone(&self) -> Self {
        Self { inference: self.inference.clone(), types: PhantomData }
    }
}

impl<I, O> fmt::Debug for BurnModule<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BurnModule({:?})", self.inference)
    }
}
