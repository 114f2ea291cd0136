//! What the portable backends share: a panic of a runtime becomes an error, and an engine that is an ONNX model is read.
//! No runtime's own types.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Engine;
use crate::error::{Error, ErrorKind, Result};
use crate::export::OnnxModel;
use crate::spec::{Dim, TensorSpec};

/// Runs `call`, and makes an error of `kind` from its panic. The panic's text has gone to the panic hook by then, which
/// prints the text by default.
pub(super) fn guarded<T>(kind: ErrorKind, call: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Error::new(kind, format!("it panicked: {text}"))
    })
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
        if let Some((inside, header)) = inside.iter().zip(header).find(|(a, b)| !agree(a, b)) {
            let text = format!("the header says {header}, and the model {inside}");
            return Err(corrupt(text).on_tensor(&header.name));
        }
    }
    Ok(model)
}

/// Whether a header may say this of a tensor of a model: it may narrow the sizes that the model leaves open.
fn agree(inside: &TensorSpec, header: &TensorSpec) -> bool {
    let (inside_dims, header_dims) = (inside.shape.dims(), header.shape.dims());
    inside.name == header.name
        && inside.dtype == header.dtype
        && inside_dims.len() == header_dims.len()
        && inside_dims.iter().zip(header_dims).all(|pair| match pair {
            (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_text() {
        let error = guarded(ErrorKind::Execution, || panic!("no {}", "row")).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Execution, "it panicked: no row"));
        assert_eq!(guarded(ErrorKind::Build, || 7).unwrap(), 7);
    }
}
