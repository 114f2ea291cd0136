//! Weights that a file lists among its inputs, as IR version 3 demands and `keep_initializers_as_inputs`
//! writes, are weights. Of two with one name the last counts, as ONNX Runtime has it.

use std::collections::HashSet;

use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::GraphProto;

pub(in crate::export::model) fn keep_as_weights(graph: &mut GraphProto) -> Result<()> {
    let mut later = HashSet::new();
    let mut kept: Vec<bool> = graph
        .initializer
        .iter()
        .rev()
        .map(|tensor| later.insert(tensor.name().to_owned()))
        .collect();
    if later.contains("") {
        return Err(Error::new(ErrorKind::InvalidModel, "an initializer has no name"));
    }
    graph.initializer.retain(|_| kept.pop().unwrap_or(true));
    let sparse = graph.sparse_initializer.iter().filter_map(|sparse| sparse.values.as_ref());
    later.extend(sparse.map(|tensor| tensor.name().to_owned()));
    graph.input.retain(|input| !later.contains(input.name()));
    Ok(())
}
