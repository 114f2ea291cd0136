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
mod sequence;
mod tensors;
mod trace;

use ::burn::module::Module;

pub use operation::{Lowered, Operation};
pub use tensors::BurnTensors;

use super::{Consumer, OnnxModel};
use crate::error::Result;
use crate::runtime::OptimizeOptions;
use crate::spec::TensorSpec;
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
}

impl BurnGraph {
    /// Captures `forward` of `module` in its inference form ([`Module::valid`]) on tensors of the
    /// types and sizes of `example`, whose values do not matter.
    ///
    /// # Errors
    /// When `forward` records no usable graph, or differs with the sizes of the dynamic axes.
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
        let mut sizes = Vec::new();
        example.describe(&mut sizes)?;
        let inputs = options.input_specs(&sizes)?;
        let (first, second) = trace::sizes(&inputs)?;
        let trace = capture::capture(module, example, &forward, &first)?;
        let other = match second {
            Some(sizes) => Some(capture::capture(module, example, &forward, &sizes)?),
            None => None,
        };
        if let Some(other) = &other {
            trace.check_same_operations(other)?;
        }
        let output_names = options.names_of_outputs(trace.output_count())?;
        Ok(Self { name: options.model_name().to_owned(), inputs, output_names, trace, other })
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
