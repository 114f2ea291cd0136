//! Everything that is known before a run of the inputs of a model's nodes, for a backend that must know what a node may meet.

use std::{cell::RefCell, collections::HashMap, ptr};

use bytes::Bytes;

use super::OnnxModel;
use super::infer::{self, Fact, Size};
use super::open;
use crate::error::Result;
use crate::export::onnx::{self, NodeProto};
use crate::spec::DType;

/// A size of an input of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum KnownSize {
    Fixed(usize),
    /// The symbol of an input of the model.
    Symbol(String),
    Unknown,
}

/// What is known of an input of a node; nothing is the default.
#[derive(Clone, Debug, Default)]
pub(crate) struct KnownInput {
    pub(crate) dtype: Option<DType>,
    pub(crate) sizes: Option<Vec<KnownSize>>,
    /// The elements of a small constant of integers.
    pub(crate) integers: Option<Vec<i64>>,
}

/// The inputs of nodes that were asked for.
pub(crate) struct KnownInputs(HashMap<*const NodeProto, Vec<KnownInput>>);

impl KnownInputs {
    /// Those of one node of the model. A node that could not be gone through has none.
    pub(crate) fn of(&self, node: &NodeProto) -> &[KnownInput] {
        self.0.get(&ptr::from_ref(node)).map_or(&[], Vec::as_slice)
    }
}

impl OnnxModel {
    /// What is known of the inputs of the nodes that `wanted` names, wherever they stand.
    pub(crate) fn known_inputs(&self, wanted: &dyn Fn(&NodeProto) -> bool) -> KnownInputs {
        let known = RefCell::new(HashMap::new());
        let see = |node: &NodeProto, inputs: &[Option<&Fact>]| {
            if wanted(node) {
                known.borrow_mut().insert(ptr::from_ref(node), all_known(inputs));
            }
        };
        // A model with an error is told as such where it is opened. What was seen until then holds.
        drop(infer::facts_seen(&self.proto, &see));
        KnownInputs(known.into_inner())
    }
}

impl OnnxModel {
    /// Reads a serialized model as [`from_bytes`](Self::from_bytes), and what is known of the inputs of the nodes that
    /// `wanted` names, without a second look. That holds as long as nobody changes the model.
    pub(crate) fn from_bytes_with_inputs(
        bytes: Bytes,
        wanted: &dyn Fn(&NodeProto) -> bool,
    ) -> Result<(Self, KnownInputs)> {
        let known = RefCell::new(HashMap::new());
        let see = |node: &NodeProto, inputs: &[Option<&Fact>]| {
            if wanted(node) {
                known.borrow_mut().insert(ptr::from_ref(node), all_known(inputs));
            }
        };
        // Nodes stay where they are after they were seen.
        let model = open::from_bytes_seen(bytes, &see)?;
        Ok((model, KnownInputs(known.into_inner())))
    }
}

fn all_known(inputs: &[Option<&Fact>]) -> Vec<KnownInput> {
    inputs.iter().map(|fact| fact.map(known_input).unwrap_or_default()).collect()
}

fn known_input(fact: &Fact) -> KnownInput {
    let size = |size: &Size| match size {
        Size::Known(size) => usize::try_from(*size).map_or(KnownSize::Unknown, KnownSize::Fixed),
        Size::Named(name) => KnownSize::Symbol(name.to_string()),
        Size::Unknown => KnownSize::Unknown,
    };
    KnownInput {
        dtype: onnx::from_onnx(fact.dtype).ok().filter(|_| !fact.other),
        sizes: fact.shape.as_ref().map(|shape| shape.iter().map(size).collect()),
        integers: fact.ints().map(<[i64]>::to_vec),
    }
}
