//! What is known of each value while nodes are written in another type: its type in the model, the types that it
//! has now and under which name each, and what its values need. Values of branches and loops end with them.

use std::collections::HashMap;

use super::islands::Need;
use crate::export::onnx::{NodeProto, TensorProto};
use crate::spec::DType;
use crate::tensor::HostTensor;

/// A value.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// The type that the model gives it.
    pub(super) dtype: Option<DType>,
    /// The types that it has now, with their names. The first is that of its node.
    pub(super) forms: Vec<(Option<DType>, String)>,
    pub(super) need: Option<Need>,
    pub(super) constant: bool,
}

impl Known {
    pub(super) fn of(name: &str, dtype: Option<DType>) -> Self {
        Self { dtype, forms: vec![(dtype, name.to_owned())], need: None, constant: false }
    }

    /// Whether the model has 32-bit floats here.
    pub(super) fn is_single(&self) -> bool {
        self.dtype == Some(DType::F32)
    }

    pub(super) fn form(&self, dtype: Option<DType>) -> Option<&str> {
        self.forms.iter().find(|(own, _)| *own == dtype).map(|(_, name)| name.as_str())
    }
}

/// The graph that is written, or a branch or loop within it.
#[derive(Default)]
pub(super) struct Frame {
    pub(super) values: HashMap<String, Known>,
    pub(super) nodes: Vec<NodeProto>,
    /// Weights of a branch or loop.
    pub(super) constants: HashMap<String, HostTensor>,
    /// Weights of a branch or loop that are new.
    pub(super) added: Vec<TensorProto>,
}
