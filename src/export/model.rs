//! A finished ONNX model: its protobuf, its signature, files in and out. How it was made lives
//! elsewhere.

use std::{collections::HashSet, fmt, ops::RangeInclusive, path::Path};

use bytes::Bytes;
use prost::Message;

use super::onnx::{self, ModelProto};
use super::{Target, encode, external};
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;
use crate::spec::{Dim, Signature, Symbol, TensorSpec};
use crate::tensor::HostTensor;

/// Weights below this many bytes stay inside the model when it is [split](OnnxModel::split):
/// parsers read shapes and axes from them.
const INLINE_LIMIT: usize = 1024;

/// Protobuf messages end at 2 GiB; readers need some room.
const MESSAGE_LIMIT: usize = (2 << 30) - (1 << 20);

/// An ONNX model whose weights are shared with whoever made it.
#[derive(Clone)]
pub struct OnnxModel {
    proto: ModelProto,
    signature: Signature,
    /// Whom it is right for as it is.
    written_for: Option<Target>,
}

/// Whom a model is right for is no part of it.
impl PartialEq for OnnxModel {
    fn eq(&self, other: &Self) -> bool {
        (&self.proto, &self.signature) == (&other.proto, &other.signature)
    }
}

/// A model and its weights apart, for consumers that take weights by pointer.
#[derive(Clone, Debug)]
pub struct SplitModel {
    /// The serialized model. The initializers in `weights` have name, type and shape, no data.
    pub bytes: Vec<u8>,
    /// Weights by initializer name.
    pub weights: Vec<(String, HostTensor)>,
}

impl OnnxModel {
    /// Takes over a model and reads its signature: inputs that are not initializers, outputs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`], [`ErrorKind::UnsupportedOperation`].
    pub fn from_proto(proto: ModelProto) -> Result<Self> {
        let invalid =
            |text: &str| Error::new(ErrorKind::InvalidModel, text).in_operation("read ONNX");
        let graph = proto.graph.as_ref().ok_or_else(|| invalid("the model has no graph"))?;
        if proto.opset_import.is_empty() {
            return Err(invalid("the model names no operator set"));
        }
        let constant: HashSet<_> = graph.initializer.iter().map(|t| t.name()).collect();
        for tensor in &graph.initializer {
            check_initializer(tensor).map_err(|e| e.in_operation("read ONNX"))?;
        }
        check_names(graph).map_err(|e| e.in_operation("read ONNX"))?;
        let specs = |values: &[onnx::ValueInfoProto]| {
            let values = values.iter().filter(|value| !constant.contains(value.name()));
            values.map(onnx::spec_from_proto).collect::<Result<Vec<_>>>()
        };
        let inputs = specs(&graph.input).map_err(|e| e.in_operation("read ONNX"))?;
        let outputs = specs(&graph.output).map_err(|e| e.in_operation("read ONNX"))?;
        if outputs.is_empty() {
            return Err(invalid("the graph has no outputs"));
        }
        Ok(Self { proto, signature: Signature { inputs, outputs }, written_for: None })
    }

    pub(crate) fn from_parts(proto: ModelProto, signature: Signature) -> Self {
        Self { proto, signature, written_for: None }
    }

    /// States that the model is right for a target as it is.
    pub(crate) fn written_for(self, target: Target) -> Self {
        Self { written_for: Some(target), ..self }
    }

    /// Whether the model was written for a target.
    pub(crate) fn is_written_for(&self, target: Target) -> bool {
        self.written_for == Some(target)
    }

    /// Reads a serialized model. Its weights are not copied out of `bytes`.
    ///
    /// # Errors
    /// As [`from_proto`](Self::from_proto); also when its weights lie in other files, which
    /// [`open`](Self::open) reads.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        Self::from_proto(decode(bytes.into())?)
    }

    /// Reads an `.onnx` file, and the weights it keeps in other files of its folder.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], or as [`from_proto`](Self::from_proto).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
        let mut proto = decode(bytes.into())?;
        if let Some(graph) = &mut proto.graph {
            let folder = path.parent().unwrap_or(Path::new(""));
            external::load(graph, folder).map_err(|e| e.in_operation("read ONNX"))?;
        }
        Self::from_proto(proto)
    }

    /// Writes an `.onnx` file, whole or not at all. The weights of a model too large for one
    /// protobuf message (2 GiB) go into a second file, as with
    /// [`save_external`](Self::save_external).
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        if self.proto.encoded_len() > MESSAGE_LIMIT {
            return self.save_external(path, INLINE_LIMIT);
        }
        write_atomic(path.as_ref(), |file| encode::write(&self.proto, file))
    }

    /// Writes an `.onnx` file, and beside it a file with `.data` appended to the name for the
    /// weights of `threshold` bytes and more. Each is written whole or not at all, the weights
    /// first. [`open`](Self::open) reads both.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; [`ErrorKind::InvalidArgument`] when `path` names no file.
    pub fn save_external(&self, path: impl AsRef<Path>, threshold: usize) -> Result<()> {
        let path = path.as_ref();
        let mut proto = self.proto.clone();
        if let Some(graph) = &mut proto.graph {
            let mut beside = path.as_os_str().to_owned();
            beside.push(".data");
            external::store(graph, Path::new(&beside), threshold)?;
        }
        write_atomic(path, |file| encode::write(&proto, file))
    }

    /// The serialized model with its weights.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// The model and its larger weights apart.
    pub fn split(&self) -> SplitModel {
        let mut proto = self.proto.clone();
        let mut weights = Vec::new();
        for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let Some(data) = tensor.raw_data.take_if(|data| data.len() >= INLINE_LIMIT) else {
                continue;
            };
            let shape: Vec<usize> = tensor.dims.iter().map(|&size| size as usize).collect();
            let whole = onnx::from_onnx(tensor.data_type())
                .and_then(|dtype| HostTensor::from_bytes(dtype, shape, data.clone()));
            match whole {
                Ok(weight) => weights.push((tensor.name().to_owned(), weight)),
                // A type we have no name for stays where it was.
                Err(_) => tensor.raw_data = Some(data),
            }
        }
        SplitModel { bytes: proto.encode_to_vec(), weights }
    }

    /// Inputs and outputs, in order.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The protobuf.
    pub fn proto(&self) -> &ModelProto {
        &self.proto
    }

    /// States the sizes that a symbolic dimension of the inputs takes, tuned for the largest.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when no input has the symbol, or the range is empty.
    pub fn bind(self, symbol: &str, range: RangeInclusive<usize>) -> Result<Self> {
        let bound = Symbol::new(symbol, *range.start(), *range.end(), *range.end())?;
        self.map_symbol(symbol, |_| Ok(bound))
    }

    /// Tunes for several sizes of a symbolic dimension of the inputs, as [`Symbol::tuned_for`]. Its
    /// range is [stated](Self::bind) before.
    ///
    /// ```no_run
    /// # use accelerant::export::OnnxModel;
    /// let model = OnnxModel::open("model.onnx")?.bind("batch", 1..=64)?.tuned_for("batch", [1, 8, 64])?;
    /// # Ok::<(), accelerant::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] when no input has the symbol, without sizes, and for one that
    /// it cannot take.
    pub fn tuned_for(self, symbol: &str, sizes: impl IntoIterator<Item = usize>) -> Result<Self> {
        self.map_symbol(symbol, |known| known.tuned_for(sizes))
    }

    fn map_symbol(mut self, name: &str, f: impl FnOnce(Symbol) -> Result<Symbol>) -> Result<Self> {
        let dims = self.signature.inputs.iter().flat_map(|spec| spec.shape.dims());
        let known = dims.filter_map(Dim::symbol).find(|symbol| symbol.name() == name);
        let Some(known) = known else {
            let text = format!("no input has a dimension named `{name}`");
            return Err(Error::new(ErrorKind::InvalidArgument, text));
        };
        let new = f(known.clone())?;
        // Other sizes may want other forms.
        self.written_for = None;
        self.signature =
            self.signature.with_symbols(|symbol| (symbol.name() == name).then(|| new.clone()));
        Ok(self)
    }
}

fn decode(bytes: Bytes) -> Result<ModelProto> {
    ModelProto::decode(bytes).map_err(|e| {
        let text = format!("these bytes are not an ONNX model: {e}");
        Error::new(ErrorKind::InvalidModel, text).in_operation("read ONNX").with_source(e)
    })
}

/// Checks that every name is made once, and before it is read. Backends differ in what they do with
/// a model that breaks this; some abort.
fn check_names(graph: &onnx::GraphProto) -> Result<()> {
    let invalid = |text: String, tensor: &str| {
        Err(Error::new(ErrorKind::InvalidModel, text).on_tensor(tensor))
    };
    let sparse = graph.sparse_initializer.iter().filter_map(|t| t.values.as_ref());
    let weights: HashSet<&str> = graph.initializer.iter().chain(sparse).map(|t| t.name()).collect();
    let mut known = weights.clone();
    for input in &graph.input {
        // Older models list their initializers among the inputs.
        if !known.insert(input.name()) && !weights.contains(input.name()) {
            return invalid("two inputs have this name".into(), input.name());
        }
    }
    for (i, node) in graph.node.iter().enumerate() {
        let label = || format!("node {i}, {} `{}`", node.op_type(), node.name());
        if node.op_type().is_empty() {
            return invalid(format!("node {i} has no operator"), node.name());
        }
        if let Some(name) =
            node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str()))
        {
            return invalid(format!("{} reads it, but nothing before makes it", label()), name);
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if !known.insert(name) {
                return invalid(format!("{} makes it a second time", label()), name);
            }
        }
    }
    match graph.output.iter().find(|output| !known.contains(output.name())) {
        Some(output) => invalid("it is an output, but nothing makes it".into(), output.name()),
        None => Ok(()),
    }
}

/// Checks what later steps rely on: a known size, and as much data as the shape needs.
fn check_initializer(tensor: &onnx::TensorProto) -> Result<()> {
    let invalid =
        |text: String| Err(Error::new(ErrorKind::InvalidModel, text).on_tensor(tensor.name()));
    if tensor.name().is_empty() {
        return invalid("an initializer has no name".into());
    }
    if external::is_external(tensor) {
        return invalid("its data lies in another file; open the model from its own file".into());
    }
    let mut sizes = Vec::with_capacity(tensor.dims.len());
    for (axis, &size) in tensor.dims.iter().enumerate() {
        match usize::try_from(size) {
            Ok(size) => sizes.push(size),
            Err(_) => return invalid(format!("size {size} along axis {axis} is negative")),
        }
    }
    if let (Some(data), Ok(dtype)) = (&tensor.raw_data, onnx::from_onnx(tensor.data_type()))
        && let Err(e) = HostTensor::from_bytes(dtype, sizes, data.clone())
    {
        return invalid(format!("its data does not fit: {}", e.message()));
    }
    Ok(())
}

impl fmt::Debug for OnnxModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.proto.graph.as_ref().map_or(0, |graph| graph.node.len());
        write!(f, "OnnxModel({} nodes, {})", nodes, self.signature)
    }
}

impl fmt::Display for OnnxModel {
    /// The graph as text, a line for each node.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(graph) = &self.proto.graph else { return Ok(()) };
        let list = |specs: &[TensorSpec]| {
            specs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "{}({})", graph.name(), list(&self.signature.inputs))?;
        for node in &graph.node {
            writeln!(
                f,
                "  {} = {}({})",
                node.output.join(", "),
                node.op_type(),
                node.input.join(", ")
            )?;
        }
        writeln!(f, "  -> {}", list(&self.signature.outputs))
    }
}
