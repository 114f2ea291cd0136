//! Code that the portable backends share: reading an engine that is an ONNX model. No runtime's own types.

use std::{sync::LazyLock, thread};

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
#[cfg(feature = "ort")]
use crate::export::KnownInputs;
use crate::export::OnnxModel;
#[cfg(feature = "ort")]
use crate::export::onnx::NodeProto;
use crate::limit::{Overdue, TimeLimit};
use crate::progress;
use crate::spec::{Dim, TensorSpec};

/// A copy of an output's values.
///
/// # Errors
/// [`ErrorKind::Execution`] where memory is out, which would end the process otherwise.
pub(super) fn copied<T: Copy>(values: &[T]) -> Result<Vec<T>> {
    let mut copy = Vec::new();
    if copy.try_reserve_exact(values.len()).is_err() {
        let text = format!("no memory for the {} values of an output", values.len());
        return Err(Error::new(ErrorKind::Execution, text));
    }
    copy.extend_from_slice(values);
    Ok(copy)
}

/// Compiles on a thread of its own for as long as `limit` allows, and tells the progress to the caller's callback. What
/// cannot be stopped goes on, and as many processors as there are may be busy with that.
///
/// # Errors
/// [`ErrorKind::TimedOut`] and [`ErrorKind::Cancelled`].
pub(super) fn apart<T: Send + 'static>(
    limit: &TimeLimit,
    stop: impl FnOnce(),
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    static OVERDUE: LazyLock<Overdue> = LazyLock::new(Overdue::default);
    let most = thread::available_parallelism().map_or(1, usize::from);
    OVERDUE.expect_fewer_than(most, limit)?;
    let recorder = progress::current();
    limit.apart(&OVERDUE, stop, move || match recorder {
        Some(recorder) => recorder.during(work),
        None => work(),
    })
}

/// The model that an engine holds, whose inputs and outputs must be those of the engine's header.
///
/// # Errors
/// [`ErrorKind::EngineCorrupt`] when the bytes are no model, or one with another signature.
#[cfg(feature = "tract")]
pub(super) fn model_of(engine: &Engine) -> Result<OnnxModel> {
    let model = OnnxModel::from_bytes(engine.plan().clone()).map_err(no_model)?;
    expect_signature(&model, engine).map(|()| model)
}

/// As [`model_of`], with what is known of the inputs of the nodes that `wanted` names.
#[cfg(feature = "ort")]
pub(super) fn model_and_inputs_of(
    engine: &Engine,
    wanted: &dyn Fn(&NodeProto) -> bool,
) -> Result<(OnnxModel, KnownInputs)> {
    let read = OnnxModel::from_bytes_with_inputs(engine.plan().clone(), wanted);
    let (model, known) = read.map_err(no_model)?;
    expect_signature(&model, engine).map(|()| (model, known))
}

fn corrupt(text: String) -> Error {
    Error::new(ErrorKind::EngineCorrupt, text).in_operation("load engine")
}

fn no_model(cause: Error) -> Error {
    corrupt(format!("the engine holds no model: {cause}")).with_source(cause)
}

fn expect_signature(model: &OnnxModel, engine: &Engine) -> Result<()> {
    let (inside, header) = (model.signature(), engine.signature());
    for (what, inside, header) in
        [("inputs", &inside.inputs, &header.inputs), ("outputs", &inside.outputs, &header.outputs)]
    {
        if inside.len() != header.len() {
            let (inside, header) = (inside.len(), header.len());
            return Err(corrupt(format!("the header has {header} {what}, and the model {inside}")));
        }
        let is_input = what == "inputs";
        let differs =
            |(inside, header): &(&TensorSpec, &TensorSpec)| !agree(inside, header, is_input);
        if let Some((inside, header)) = inside.iter().zip(header).find(differs) {
            let text = format!("the header says {header}, and the model {inside}");
            return Err(corrupt(text).on_tensor(&header.name));
        }
    }
    Ok(())
}

/// Whether a header may say this of a tensor of a model: it may narrow the sizes that the model leaves open. An input
/// that the model takes at one size has this one; the size of an output is seen when it is there.
fn agree(inside: &TensorSpec, header: &TensorSpec, is_input: bool) -> bool {
    let (inside_dims, header_dims) = (inside.shape.dims(), header.shape.dims());
    inside.name == header.name
        && inside.dtype == header.dtype
        && inside_dims.len() == header_dims.len()
        && inside_dims.iter().zip(header_dims).all(|pair| match pair {
            (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
            (Dim::Fixed(_), Dim::Symbol(_)) => !is_input,
            _ => true,
        })
}
