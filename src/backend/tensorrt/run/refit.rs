//! Other weights for an engine that was built to get them.

use bytes::Bytes;

use super::LoadedEngine;
use crate::backend::tensorrt::build::{Plan, parser_error};
use crate::backend::tensorrt::ffi;
use crate::error::Result;
use crate::export::OnnxModel;

/// The plan of the engine, which nothing runs on, with the weights of a model whose graph is the engine's.
///
/// # Errors
/// What the parser or the library says of the weights, and those of [`LoadedEngine::create_refitter`].
pub(crate) fn refitted(engine: &LoadedEngine, model: &OnnxModel) -> Result<Bytes> {
    let split = model.split();
    let mut refitter = engine.create_refitter()?;
    let failed = |refitter: &ffi::Refitter, e: &cxx::Exception| {
        parser_error(refitter.parser_errors().unwrap_or_default(), e)
    };
    let loaded = refitter.pin_mut().load_model(&split.bytes);
    loaded.map_err(|e| failed(&refitter, &e))?;
    for (name, weights) in &split.weights {
        let bytes = weights.bytes();
        // SAFETY: `split`, which holds the bytes, is dropped after `refitter`.
        let loaded = unsafe { refitter.pin_mut().load_weights(name, bytes.as_ptr(), bytes.len()) };
        loaded.map_err(|e| failed(&refitter, &e).on_tensor(name))?;
    }
    // SAFETY: the engine was just deserialized, and no context was made.
    unsafe { refitter.pin_mut().refit() }.map_err(|e| failed(&refitter, &e))?;
    drop(refitter);
    Ok(Bytes::from_owner(Plan(engine.serialize()?)))
}
