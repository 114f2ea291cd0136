//! A finished ONNX model: its protobuf and its signature. [`open`] reads and checks a model, [`normalize`] brings a model
//! into one form, [`infer`] finds types and shapes, and [`write`] writes a model. The exports of the frameworks are elsewhere.

mod check;
#[cfg(any(feature = "ort", feature = "tract"))]
mod deciding;
mod encode;
mod external;
mod foreign;
mod graph_hash;
mod infer;
mod inferred;
mod inner;
#[cfg(feature = "ort")]
mod inputs;
#[cfg(any(feature = "ort", feature = "tract"))]
mod memory;
mod normalize;
mod observed;
mod open;
mod pair;
mod sizes;
mod tensors;
mod unread;
mod walk;
mod write;

pub(crate) use infer::Peak;
#[cfg(feature = "ort")]
pub(crate) use inputs::{KnownInput, KnownInputs, KnownSize};
#[cfg(any(feature = "ort", feature = "tract"))]
pub(crate) use memory::MemoryBound;
#[cfg(feature = "tract")]
pub(crate) use memory::too_much;
pub(in crate::export) use normalize::order::name_nodes_apart;
#[cfg(feature = "ort")]
pub(crate) use write::WEIGHTS_FILE;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use super::Target;
use super::onnx::ModelProto;
use super::passes::precision::PrecisionReport;
use crate::spec::{DType, Shape, Signature, TensorSpec};
use crate::tensor::HostTensor;

/// An ONNX model, from a file, from a [`GraphBuilder`](crate::export::GraphBuilder) or from a framework's export.
///
/// The weights share memory with the framework or the file.
///
/// ```
/// use accelerant::{DType, Dim, HostTensor, InferenceModule, OptimizeOptions};
/// use accelerant::export::{GraphBuilder, OnnxModel};
///
/// let graph = GraphBuilder::new("double");
/// let x = graph.input("x", DType::F32, [Dim::dynamic("batch", 1..=8)?, Dim::from(3)])?;
/// graph.output("y", &x.affine(2.0, 0.0)?)?;
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("double.onnx");
/// graph.finish()?.save(&path)?;
///
/// let model = OnnxModel::open(&path)?.bind("batch", 1..=64)?;
/// println!("{}", model.signature());
/// let module = InferenceModule::compile(&model, &OptimizeOptions::new())?;
/// let y = module.run(&[HostTensor::from(ndarray::array![[1.0f32, 2.0, 3.0]])])?;
/// assert_eq!(y[0].to_vec::<f32>()?, [2.0, 4.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct OnnxModel {
    proto: ModelProto,
    signature: Signature,
    /// Sizes that the file has no usable name for: the symbol here, and what the file writes.
    unnamed: Vec<(String, String)>,
    /// Symbols that are one size since [`bind`](Self::bind).
    fixed: BTreeMap<String, usize>,
    /// The target that the model is right for without a change.
    written_for: Option<Target>,
    /// Types and shapes of values within, where the maker of the model knows them.
    inner: Option<Arc<InnerSpecs>>,
    /// The types that each layer got, if a precision was asked for.
    precision: Option<Arc<PrecisionReport>>,
    /// The model that a precision was asked for, by [`source_hash`](Self::source_hash).
    source: Option<[u8; 32]>,
    /// The most bytes of values that a run has at a time, where that is known of the model as it stands.
    peak: Option<Peak>,
}

/// Types and shapes by name.
pub(in crate::export) type InnerSpecs = HashMap<Arc<str>, (DType, Shape)>;

/// Whom a model is right for is no part of it.
impl PartialEq for OnnxModel {
    fn eq(&self, other: &Self) -> bool {
        (&self.proto, &self.signature, &self.unnamed, &self.fixed)
            == (&other.proto, &other.signature, &other.unnamed, &other.fixed)
    }
}

/// A model and its separate weights, for consumers that take weights by pointer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SplitModel {
    /// The serialized model. The initializers in `weights` have a name, a type and a shape, but no data.
    pub bytes: Vec<u8>,
    /// Weights by initializer name.
    pub weights: Vec<(String, HostTensor)>,
}

impl OnnxModel {
    pub(crate) fn from_parts(proto: ModelProto, signature: Signature) -> Self {
        let (unnamed, fixed) = Default::default();
        Self {
            proto,
            signature,
            unnamed,
            fixed,
            written_for: None,
            inner: None,
            precision: None,
            source: None,
            peak: None,
        }
    }

    /// States that the model is right for a target as it is.
    pub(crate) fn written_for(self, target: Target) -> Self {
        Self { written_for: Some(target), ..self }
    }

    /// Whether the model was written for a target.
    pub(crate) fn is_written_for(&self, target: Target) -> bool {
        self.written_for == Some(target)
    }

    /// The same model, with what is known of values within.
    pub(in crate::export) fn with_inner(self, inner: InnerSpecs) -> Self {
        Self { inner: Some(Arc::new(inner)), ..self }
    }

    /// What is known of values within beside what the protobuf says.
    pub(in crate::export) fn inner(&self) -> Option<&InnerSpecs> {
        self.inner.as_deref()
    }

    /// The same model, with the types that its layers got, which was made from another one.
    pub(crate) fn with_report(self, report: Arc<PrecisionReport>, source: [u8; 32]) -> Self {
        Self { precision: Some(report), source: Some(source), ..self }
    }

    /// Which model a precision was asked for.
    pub(crate) fn source(&self) -> Option<[u8; 32]> {
        self.source
    }

    /// The type of each layer, if the model [has a precision](Self::with_precision).
    pub fn precision_report(&self) -> Option<&PrecisionReport> {
        self.precision.as_deref()
    }

    /// The report to share.
    pub(crate) fn shared_report(&self) -> Option<Arc<PrecisionReport>> {
        self.precision.clone()
    }

    /// What a pass can know of the model beside its protobuf, as text: the same for the same.
    pub(crate) fn known_of_passes(&self) -> String {
        let inner = self.inner().map(|inner| inner.iter().collect::<BTreeMap<_, _>>());
        let Self { signature, unnamed, fixed, written_for, peak, .. } = self;
        format!("{signature:?} {unnamed:?} {fixed:?} {written_for:?} {inner:?} {peak:?}")
    }

    /// The same model in another form, with the names of sizes that this one has.
    pub(crate) fn in_form(&self, other: Self) -> Self {
        Self { unnamed: self.unnamed.clone(), fixed: self.fixed.clone(), ..other }
    }

    /// The name of the graph.
    pub(crate) fn name(&self) -> &str {
        self.proto.graph.as_ref().map_or("", |graph| graph.name())
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The protobuf.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    #[cfg(any(feature = "ort", feature = "tract"))]
    pub(crate) fn into_proto(self) -> ModelProto {
        self.proto
    }
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.proto.graph.as_ref().map_or(0, |graph| graph.node.len());
        write!(f, "OnnxModel({} nodes, {})", nodes, self.signature)
    }
}

impl fmt::Display for OnnxModel {
    /// The graph as text, a line for each node. An end of a line within a name is written as `\n`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(graph) = &self.proto.graph else { return Ok(()) };
        let list = |specs: &[TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let mut line = |text: String| writeln!(f, "{}", text.replace('\n', "\\n"));
        line(format!("{}({})", graph.name(), list(&self.signature.inputs)))?;
        for node in &graph.node {
            let (outputs, inputs) = (node.output.join(", "), node.input.join(", "));
            line(format!("  {outputs} = {}({inputs})", node.op_type()))?;
        }
        line(format!("  -> {}", list(&self.signature.outputs)))
    }
}
