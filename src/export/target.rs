//! The target of an export: the reader, the operator set that the reader takes, and the GPU that the model is for. Nothing
//! outside this file compares these; code asks a question about what the target can do.

use crate::error::Error;

/// The target of an export: the library that reads the model, its operator set, and the GPU.
///
/// If the target has an operator, the exporter writes the operator itself, and otherwise an equivalent of several
/// operators.
///
/// ```
/// use accelerant::{DType, export::{GraphBuilder, Target}};
///
/// let graph = GraphBuilder::for_target("gelu", Target::onnx_runtime());
/// let x = graph.input("x", DType::F32, [4])?;
/// graph.output("y", &x.gelu()?)?;
/// let model = graph.finish()?;
///
/// // The same model for TensorRT on an H200.
/// let hopper = Target::tensorrt().for_compute_capability(Some(90));
/// let model = model.for_target(hopper)?;
/// # Ok::<(), accelerant::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    reader: Reader,
    opset: i64,
    compute_capability: Option<u16>,
    /// Whether the passes over the graph come later.
    is_before_passes: bool,
}

/// The library that reads a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reader {
    /// Any reader of ONNX. The model uses only operators that all readers have. Of the readers of this crate, tract
    /// has the fewest operators.
    Any,
    /// ONNX Runtime, which has all operators of its operator set.
    OnnxRuntime,
    /// The parser of TensorRT and TensorRT-RTX.
    TensorRt,
}

impl Target {
    /// The oldest operator set that is written: the first in which all reductions take axes as an input.
    pub const MIN_OPSET: i64 = 18;
    /// The newest operator set that is written.
    pub const MAX_OPSET: i64 = 21;

    /// Every reader known to this crate: operator set 18.
    pub const fn portable() -> Self {
        Self {
            reader: Reader::Any,
            opset: Self::MIN_OPSET,
            compute_capability: None,
            is_before_passes: false,
        }
    }

    /// ONNX Runtime: operator set 21.
    pub const fn onnx_runtime() -> Self {
        Self {
            reader: Reader::OnnxRuntime,
            opset: Self::MAX_OPSET,
            compute_capability: None,
            is_before_passes: false,
        }
    }

    /// TensorRT's parser: operator set 21.
    pub const fn tensorrt() -> Self {
        Self {
            reader: Reader::TensorRt,
            opset: Self::MAX_OPSET,
            compute_capability: None,
            is_before_passes: false,
        }
    }

    /// The same reader with operator set `opset`, brought into
    /// [`MIN_OPSET`](Self::MIN_OPSET)`..=`[`MAX_OPSET`](Self::MAX_OPSET).
    #[must_use]
    pub const fn with_opset(mut self, opset: i64) -> Self {
        self.opset = match opset {
            ..Self::MIN_OPSET => Self::MIN_OPSET,
            Self::MAX_OPSET.. => Self::MAX_OPSET,
            _ => opset,
        };
        self
    }

    /// The same for GPUs of one compute capability, as 10 × major + minor; `None` for any.
    ///
    /// For 90 (H100 or H200), layers get other forms if measurements showed that TensorRT-RTX is faster with them:
    ///
    /// - Query, key and value are one batched matrix multiplication, even if the model has one wide layer for them.
    /// - The two layers of a feed-forward network are in parts of the hidden axis, and an exact `Gelu` between the two is
    ///   in halves.
    /// - The rows of a single sequence or image are padded to a multiple of 64, in fp32.
    /// - The keys and values of attention are padded to a multiple of four, in fp32. A dynamic number of keys is
    ///   padded only for targets that can compute the padding, which tract cannot.
    /// - A convolution over up to four channels, such as the first of a network, has squares of pixels as channels.
    /// - A convolution of few pixels is the sum of convolutions over parts of its inputs.
    /// - Two convolutions of one pixel that are added become one, with their batch norms in the weight.
    ///
    /// The sizes that the symbols are tuned for decide. The results are equally accurate. Within these layers, values
    /// and weights have other names or do not exist, and the weights are copied. No other compute capability has its
    /// own forms.
    #[must_use]
    pub const fn for_compute_capability(mut self, capability: Option<u16>) -> Self {
        self.compute_capability = capability;
        self
    }

    /// The same, for a model that goes through [`for_target`](crate::export::OnnxModel::for_target) later: an export leaves
    /// out the passes over the graph.
    #[cfg(any(feature = "burn", feature = "candle", test))]
    pub(crate) const fn before_passes(mut self) -> Self {
        self.is_before_passes = true;
        self
    }

    pub(crate) const fn is_before_passes(self) -> bool {
        self.is_before_passes
    }

    /// The library that reads the model.
    pub const fn reader(self) -> Reader {
        self.reader
    }

    /// The compute capability that the model is for, as 10 × major + minor; `None` for any.
    pub const fn compute_capability(self) -> Option<u16> {
        self.compute_capability
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
            21..=22 => 10,
            23 => 11,
            _ => 12,
        }
    }

    const fn is_tract(self) -> bool {
        matches!(self.reader, Reader::Any)
    }

    const fn is_tensorrt(self) -> bool {
        matches!(self.reader, Reader::TensorRt)
    }
}

/// Operators that a target has, and what it does with them.
impl Target {
    /// `Gelu`, from operator set 20 on.
    pub(crate) const fn has_gelu(self) -> bool {
        self.opset >= 20
    }

    /// `GroupNormalization` with a scale for each channel, from operator set 21 on.
    #[cfg(feature = "candle")]
    pub(crate) const fn has_group_norm(self) -> bool {
        self.opset >= 21
    }

    /// The same with operators that write a cache in place, where the reader has them: from operator set 24 on, which
    /// is written for nothing else.
    pub(crate) const fn with_caches_in_place(mut self) -> Self {
        if self.is_tensorrt() {
            self.opset = 24;
        }
        self
    }

    /// `TensorScatter`, whose output is its input's memory.
    pub(crate) const fn writes_caches_in_place(self) -> bool {
        self.is_tensorrt() && self.opset >= 24
    }

    /// `AveragePool` with dilations, from operator set 19 on.
    pub(crate) const fn has_dilated_average_pool(self) -> bool {
        self.opset >= 19
    }

    /// `MaxPool` with dilations.
    #[cfg(feature = "burn")]
    pub(crate) const fn has_dilated_max_pool(self) -> bool {
        !self.is_tensorrt()
    }

    /// The name that `GridSample` has for sampling between the nearest points: another from operator set 20 on.
    #[cfg(feature = "burn")]
    pub(crate) const fn linear_sampling(self) -> &'static str {
        if self.opset >= 20 { "linear" } else { "bilinear" }
    }

    /// Whether a part of a `Range` is taken from the right place. tract 0.23 takes some from the wrong one.
    pub(crate) const fn has_range(self) -> bool {
        !self.is_tract()
    }

    /// `Pad` by numbers that are computed, which tract does not have.
    pub(crate) const fn has_computed_pads(self) -> bool {
        !self.is_tract()
    }

    /// `Slice` in steps of any axis. tract takes none along an axis whose size it does not know, and moves
    /// those along others to before a softmax of that axis.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) const fn has_slices_in_steps(self) -> bool {
        !self.is_tract()
    }

    /// `ScatterElements` with a reduction, which TensorRT's parser does not take.
    #[cfg(feature = "candle")]
    pub(crate) const fn has_scatter_reduction(self) -> bool {
        !self.is_tensorrt()
    }

    /// `Max` and `Min` of 64-bit integers. ONNX Runtime 1.29, which may read what is for any reader, looks at their low
    /// halves alone.
    pub(crate) const fn has_extremes_of_i64(self) -> bool {
        self.is_tensorrt()
    }

    /// The most values that are sorted along an axis, where there is such a limit. TensorRT's is 3840.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) const fn most_sorted(self) -> Option<usize> {
        if self.is_tensorrt() { Some(3840) } else { None }
    }

    /// Whether 64-bit floats are computed with.
    #[cfg(feature = "burn")]
    pub(crate) const fn computes_f64(self) -> bool {
        !self.is_tensorrt()
    }

    /// Whether unsigned 64-bit integers are computed with.
    #[cfg(feature = "burn")]
    pub(crate) const fn computes_u64(self) -> bool {
        !self.is_tensorrt()
    }

    /// Whether bytes are cast to integers. TensorRT casts them to floats only.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) const fn casts_bytes_to_integers(self) -> bool {
        !self.is_tensorrt()
    }

    /// Whether inputs and outputs may be of types that are not computed with.
    #[cfg(any(feature = "burn", feature = "candle"))]
    pub(crate) const fn takes_any_type(self) -> bool {
        !self.is_tensorrt()
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::portable()
    }
}

/// A node, or a whole model, that a target refuses though the model was exported for the target.
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
