//! Code that the portable backends share: reading an engine that is an ONNX model. No runtime's own types.

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
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

/// The model that an engine holds, whose inputs and outputs must be those of the engine's header.
///
/// # Errors
/// [`ErrorKind::EngineCorrupt`] when the bytes are no model, or one with another signature.
pub(super) fn model_of(engine: &Engine) -> Result<OnnxModel> {
    let corrupt =
        |text: String| Error::new(ErrorKind::EngineCorrupt, text).in_operation("load engine");
    let model = OnnxModel::from_bytes(engine.plan().clone())
        .map_err(|e| corrupt(format!("the engine holds no model: {e}")).with_source(e))?;
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
    Ok(model)
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
