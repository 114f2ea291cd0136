//! Burn models to ONNX: the forward pass is captured, then lowered operation by operation. Running
//! the result is not done here.
//!
//! A capture has fixed sizes. For a dynamic axis the forward pass is captured twice, with two
//! different sizes, and what differs between the two must follow from the sizes of the inputs:
//! an operation whose sizes cannot be derived is refused, never exported with a baked size. The two
//! are the ends of the range where memory allows; a branch on a size that is taken at neither end
//! is not seen.

mod canonical;
mod capture;
mod lower;
mod operation;
mod parameters;
mod recurrent;
mod sequence;
mod tensors;
mod trace;

use ::burn::module::Module;

pub use operation::{Lowered, Operation};
pub(crate) use tensors::{AnyTensor, Lengths, Material, Place};
pub use tensors::{BurnTensors, TensorSource, TensorVisitor};

use super::{Consumer, OnnxModel};
use crate::error::{Error, ErrorKind, Result};
use crate::runtime::OptimizeOptions;
use crate::spec::TensorSpec;
use capture::{Captured, Capturer, describe};
use parameters::Parameters;
use trace::Trace;

/// A captured forward pass, from which a model can be written for any consumer.
#[derive(Debug)]
pub struct BurnGraph {
    name: String,
    inputs: Vec<TensorSpec>,
    output_names: Vec<String>,
    trace: Trace,
    /// The same with other sizes along the dynamic axes, if there are any.
    other: Option<Trace>,
    pub(crate) layout: Layout,
}

/// How the tensors of a model are put together to what its forward function takes and returns.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) inputs: Lengths,
    pub(crate) outputs: Lengths,
}

impl BurnGraph {
    /// Captures `forward` of `module` in its inference form ([`Module::valid`]) on tensors of the
    /// types and sizes of `example`, whose values do not matter.
    ///
    /// The function is called several times, on tensors without values.
    ///
    /// # Errors
    /// When `forward` panics, reads the value of a tensor, does not do the same each time, or does
    /// something else with the sizes of the dynamic axes.
    pub fn capture<M, I, O>(
        module: &M,
        example: &I,
        forward: impl Fn(&M, I) -> O,
        options: &OptimizeOptions,
    ) -> Result<Self>
    where
        M: Module,
        I: BurnTensors,
        O: BurnTensors,
    {
        let (described, lengths, device) = describe(example)?;
        let device = device.or_else(|| module.devices().into_iter().next()).unwrap_or_default();
        let settings = device.settings();
        let own: Vec<_> = described.iter().map(|input| input.name.clone()).collect();
        let types: Vec<_> =
            described.iter().map(|input| (input.dtype, input.sizes.clone())).collect();
        let inputs = options.named_input_specs(&own, &types)?;
        let (first, second) = trace::sizes(&inputs)?;
        let parameters = Parameters::read(module)?;
        let capturer = Capturer {
            module,
            forward: &forward,
            parameters: &parameters,
            inputs: &described,
            lengths: &lengths,
            types: (settings.float_dtype, settings.int_dtype),
        };
        let Captured { trace, output_names, output_lengths } = capturer.capture(&first)?;
        if trace.outputs.is_empty() {
            let text = "the forward function returns no tensor";
            return Err(Error::new(ErrorKind::InvalidModel, text).in_operation("forward"));
        }
        let other = capturer.capture(second.as_ref().unwrap_or(&first))?;
        if other.output_lengths != output_lengths || other.output_names != output_names {
            let text = "the number of its outputs is not the same each time";
            return Err(Error::new(ErrorKind::UnsupportedOperation, text).in_operation("forward"));
        }
        trace.check_same_operations(&other.trace, second.is_some())?;
        let output_names = options.named_outputs(&output_names, &inputs)?;
        Ok(Self {
            name: options.model_name().to_owned(),
            inputs,
            output_names,
            trace,
            other: second.map(|_| other.trace),
            layout: Layout { inputs: lengths, outputs: output_lengths },
        })
    }

    /// Writes the model for one consumer. The weights are shared, not copied.
    ///
    /// # Errors
    /// [`UnsupportedOperation`](crate::ErrorKind::UnsupportedOperation) naming every operation
    /// that cannot be exported.
    pub fn to_onnx(&self, consumer: Consumer) -> Result<OnnxModel> {
        Ok(lower::lower(self, consumer)?.0)
    }

    /// The captured operations in order, each with the ONNX operators that stand for it. A layer
    /// that Burn takes apart is one operation again.
    ///
    /// # Errors
    /// As [`to_onnx`](Self::to_onnx).
    pub fn lowered(&self, consumer: Consumer) -> Result<Vec<Lowered>> {
        Ok(lower::lower(self, consumer)?.1)
    }
}

/// Exports a module to an ONNX model for every consumer.
///
/// # Errors
/// As [`BurnGraph::capture`] and [`BurnGraph::to_onnx`].
pub fn export_onnx<M, I, O>(
    module: &M,
    example: &I,
    forward: impl Fn(&M, I) -> O,
    options: &OptimizeOptions,
) -> Result<OnnxModel>
where
    M: Module,
    I: BurnTensors,
    O: BurnTensors,
{
    BurnGraph::capture(module, example, forward, options)?.to_onnx(Consumer::portable())
}
