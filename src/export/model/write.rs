//! A model on its way out: to files, and to consumers as bytes.

use std::path::Path;

use prost::Message;

use super::{OnnxModel, SplitModel, encode, external, normalize};
use crate::error::Result;
use crate::export::onnx;
use crate::files::write_atomic;
use crate::tensor::HostTensor;

/// Weights below this many bytes stay inside the model when it is [split](OnnxModel::split):
/// parsers read shapes and axes from them.
const INLINE_LIMIT: usize = 1024;

/// Protobuf messages end at 2 GiB; readers need some room.
const MESSAGE_LIMIT: usize = (2 << 30) - (1 << 20);

impl OnnxModel {
    /// Writes an `.onnx` file, whole or not at all. The weights of a model too large for one
    /// protobuf message (2 GiB) go into a second file, as with
    /// [`save_external`](Self::save_external).
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
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
    /// [`ErrorKind::Io`](crate::ErrorKind::Io);
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when `path` names no file.
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

    /// The serialized model with its weights, for a consumer. Names of sizes that not every consumer
    /// reads, such as one with a space, are other ones there (`size_0`); nothing else is.
    pub fn to_bytes(&self) -> Vec<u8> {
        match normalize::sizes::plain_names(&self.proto) {
            Some(renamed) => renamed.encode_to_vec(),
            None => self.proto.encode_to_vec(),
        }
    }

    /// The model and its larger weights apart, for a consumer, as [`to_bytes`](Self::to_bytes).
    pub fn split(&self) -> SplitModel {
        let renamed = normalize::sizes::plain_names(&self.proto);
        let mut proto = renamed.unwrap_or_else(|| self.proto.clone());
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
}
