//! The answer of TensorRT's parser to a model that was exported, without building.

use crate::backend::Registry;
use crate::export::{NodeRefusal, OnnxModel, ParserCheck, Reader};

/// What the first of TensorRT's parsers that can be used says to a model that was written for it.
pub(super) fn ask_parser(
    backends: &Registry,
    model: &OnnxModel,
) -> (ParserCheck, Vec<NodeRefusal>) {
    let mut reasons = Vec::new();
    for backend in backends.allowed().filter(|b| b.target().reader() == Reader::TensorRt) {
        match backend.check(model) {
            Ok(Some(refusals)) => return (ParserCheck::Asked(backend.description()), refusals),
            Ok(None) => {}
            Err(error) => reasons.push(format!("{}: {error}", backend.kind())),
        }
    }
    let reason = match reasons.is_empty() {
        true => "no backend with TensorRT is among those to choose from".into(),
        false => reasons.join("; "),
    };
    (ParserCheck::NotAsked(reason), Vec::new())
}
