//! From bytes or a file to a model: read, checked, and brought into the form that every reader gets. This file has the order
//! of the steps; each step is a file of its own.

use std::{io, path::Path};

use bytes::Bytes;
use prost::Message;

use super::infer::See;
use super::{OnnxModel, check, external, foreign, infer, normalize, tensors, walk};
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::ModelProto;
use crate::files::read_part;

const READ: &str = "read ONNX";

impl OnnxModel {
    /// Checks and normalizes a model for all backends, and reads the signature.
    ///
    /// Weights that the model lists as inputs are not inputs. An output that is a weight keeps its name. An output
    /// that is an input, or that occurs twice, gets its own name (`x_output`). Nodes are sorted, and function calls
    /// are inlined. Missing types and shapes of outputs are inferred.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidModel`], [`ErrorKind::UnsupportedOperation`], with node and tensor.
    pub fn from_proto(proto: ModelProto) -> Result<Self> {
        settled(proto, &|_, _| {}).map_err(|e| e.in_operation(READ))
    }

    /// Reads a serialized model. The weights share memory with `bytes`.
    ///
    /// # Errors
    /// As [`from_proto`](Self::from_proto), and for external weights, which only [`open`](Self::open) reads.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Result<Self> {
        let proto = decode(bytes.into()).map_err(|e| e.in_operation(READ))?;
        Self::from_proto(proto)
    }

    /// Reads an `.onnx` file, and its external tensors from other files of the same folder.
    ///
    /// The crate refuses a path that leaves the folder, also through a symbolic link, and a pipe, a device or a
    /// folder. If the model's own file is a symbolic link, the crate also reads external tensors beside the target of
    /// the link.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], or as [`from_proto`](Self::from_proto).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let of_file = format!("read {}", path.display());
        let mut bytes = read(path)?;
        let proto = loop {
            let mut proto = decode(bytes.clone()).map_err(|e| e.in_operation(&of_file))?;
            let Err(error) = external::load(&mut proto, path) else { break proto };
            // Another process may have saved another pair here meanwhile, and removed the weights of this one.
            let newer = read(path)?;
            if error.kind() != ErrorKind::Io || newer == bytes {
                return Err(error.in_operation(of_file));
            }
            bytes = newer;
        };
        settled(proto, &|_, _| {}).map_err(|e| e.in_operation(of_file))
    }
}

fn read(path: &Path) -> Result<Bytes> {
    let (file, size) = external::open_plain(path).map_err(|e| e.in_operation(READ))?;
    // No more than it had, should it grow meanwhile.
    let bytes = usize::try_from(size).map_err(io::Error::other);
    let bytes = bytes.and_then(|size| read_part(&file, 0, size));
    Ok(bytes.map_err(|e| Error::io("read", path, e).in_operation(READ))?.into())
}

fn decode(bytes: Bytes) -> Result<ModelProto> {
    if bytes.is_empty() {
        let text = "these bytes are no ONNX model: they are none";
        return Err(Error::new(ErrorKind::InvalidModel, text));
    }
    ModelProto::decode(bytes.clone()).map_err(|e| {
        let text = match foreign::told(&bytes) {
            Some(told) => format!("these bytes are not an ONNX model: {told}"),
            None => format!("these bytes are not an ONNX model, or are truncated: {e}"),
        };
        Error::new(ErrorKind::InvalidModel, text).with_source(e)
    })
}

/// Reads a serialized model. `see` gets each node with what is known of its inputs.
#[cfg(feature = "ort")]
pub(super) fn from_bytes_seen(bytes: Bytes, see: &See<'_>) -> Result<OnnxModel> {
    decode(bytes).and_then(|proto| settled(proto, see)).map_err(|e| e.in_operation(READ))
}

fn settled(mut proto: ModelProto, see: &See<'_>) -> Result<OnnxModel> {
    let invalid = |text: &str| Error::new(ErrorKind::InvalidModel, text);
    if proto.graph.is_none() {
        return Err(invalid("the model has no graph"));
    }
    if proto.opset_import.is_empty() {
        return Err(invalid("the model names no operator set"));
    }
    // Of no use here, and a place where tensors may stand.
    proto.training_info.clear();
    walk::tensors_mut(&mut proto, &mut tensors::settle)?;
    normalize::dense::write_whole(&mut proto)?;
    normalize::functions::inline(&mut proto)?;
    let unnamed = {
        let graph = proto.graph.get_or_insert_default();
        if graph.output.is_empty() {
            return Err(invalid("the graph has no outputs"));
        }
        normalize::weights::keep_as_weights(graph)?;
        normalize::optional::leave_out(graph);
        normalize::order::sort(graph)?;
        check::names(graph)?;
        normalize::outputs::give_names(graph);
        normalize::loops::give_conditions(graph);
        normalize::order::name_nodes_apart(graph);
        normalize::sizes::name_sizes(graph)?
    };
    let (facts, peak) = infer::facts_and_peak(&proto, see)?;
    let signature = normalize::signature::settle(&mut proto, &facts)?;
    Ok(OnnxModel { unnamed, peak: Some(peak), ..OnnxModel::from_parts(proto, signature) })
}
