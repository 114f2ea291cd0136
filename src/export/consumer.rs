//! What a reader of ONNX understands, and what it refuses. The exporter writes for one consumer at a
//! time.

use crate::error::Error;

/// The ONNX dialect that a consumer reads best.
///
/// The exporter uses an operator whole where `opset` has it, and its parts where it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Consumer {
    opset: i64,
    tensorrt: bool,
    hopper_forms: bool,
}

impl Consumer {
    /// The oldest operator set written: the first whose reductions all take axes as an input.
    pub const MIN_OPSET: i64 = 18;
    /// The newest operator set written.
    pub const MAX_OPSET: i64 = 21;

    /// The dialect that every consumer known to this crate reads: operator set 18.
    pub const fn portable() -> Self {
        Self { opset: 18, tensorrt: false, hopper_forms: false }
    }

    /// TensorRT's parser: operator set 21.
    pub const fn tensorrt() -> Self {
        Self { opset: 21, tensorrt: true, hopper_forms: false }
    }

    /// A consumer that reads operator set `opset`, brought into
    /// [`MIN_OPSET`](Self::MIN_OPSET)`..=`[`MAX_OPSET`](Self::MAX_OPSET).
    pub const fn opset(opset: i64) -> Self {
        let opset = match opset {
            ..Self::MIN_OPSET => Self::MIN_OPSET,
            Self::MAX_OPSET.. => Self::MAX_OPSET,
            _ => opset,
        };
        Self { opset, tensorrt: false, hopper_forms: false }
    }

    /// The same, for which layers are written in other forms where TensorRT-RTX was measured to be faster with
    /// them on compute capability 9.0. Of linear layers: query, key and value as one batched product, also where
    /// they are one wide layer, the two layers of a feed-forward network in parts of the hidden axis, an exact
    /// `Gelu` between them in halves, and the rows of one text or picture padded to a multiple of 64, in fp32. Of
    /// attention: keys and values padded to a multiple of four, in fp32; a number that is not fixed only for
    /// consumers that compute how much to pad by, which tract does not. Of convolutions: one over up to four channels with squares of pixels as channels,
    /// such as the first of a network; one of few pixels as the sum of those over parts of its inputs; and two of
    /// one pixel that are added, as one, with their batch norms in the weight.
    ///
    /// The optima of the symbols' sizes decide. Results are as accurate; values within these layers and their
    /// weights, which are copied for it, have other names, or are there no more.
    #[must_use]
    pub const fn hopper_forms(mut self, written: bool) -> Self {
        self.hopper_forms = written;
        self
    }

    pub(crate) const fn has_hopper_forms(self) -> bool {
        self.hopper_forms
    }

    /// Whether tract may read the model, whose operators are fewer than its operator set's.
    pub(crate) const fn is_portable(self) -> bool {
        !self.tensorrt && self.opset == Self::portable().opset
    }

    /// Whether TensorRT reads the model, which lacks some forms of what its operator set has.
    pub(crate) const fn is_tensorrt(self) -> bool {
        self.tensorrt
    }

    /// Version of the default operator set.
    pub const fn opset_version(self) -> i64 {
        self.opset
    }

    /// ONNX IR version: the one published with the operator set.
    ///
    /// Source: the table of released versions in ONNX's `docs/Versioning.md`.
    pub const fn ir_version(self) -> i64 {
        match self.opset {
            ..19 => 8,
            19..=20 => 9,
            _ => 10,
        }
    }
}

impl Default for Consumer {
    fn default() -> Self {
        Self::portable()
    }
}

/// What a consumer refuses of a model that was exported for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeRefusal {
    /// The node's position in the graph; `None` where it is none of the nodes, such as an input.
    pub node: Option<usize>,
    /// Why.
    pub reason: Error,
}

impl NodeRefusal {
    /// Of a node, or of the model as a whole.
    pub fn new(node: Option<usize>, reason: Error) -> Self {
        Self { node, reason }
    }
}
