//! Writing a model: to files, and to backends as bytes.

use std::path::Path;

#[cfg(feature = "ort")]
use bytes::Bytes;
use prost::Message;

use super::{OnnxModel, SplitModel, encode, normalize, pair, unread};
use crate::error::Result;
use crate::export::onnx::{self, ModelProto};
#[cfg(feature = "ort")]
use crate::export::onnx::{StringStringEntryProto, TensorProto, tensor_proto::DataLocation};
use crate::tensor::HostTensor;

/// Weights below this many bytes stay inside the model when it is [split](OnnxModel::split):
/// parsers read shapes and axes from them.
const INLINE_LIMIT: usize = 1024;

/// What a model calls the bytes that its weights are parts of, where a consumer gets them apart.
#[cfg(feature = "ort")]
pub(crate) const WEIGHTS_FILE: &str = "weights";

/// Protobuf messages end at 2 GiB; readers need some room.
const MESSAGE_LIMIT: usize = (2 << 30) - (1 << 20);

impl OnnxModel {
    /// Writes an `.onnx` file. The file is either complete or not written. If the model is too large for one protobuf
    /// message (2 GiB), the weights go to a second file, as with [`save_external`](Self::save_external).
    ///
    /// An existing file is replaced and keeps its mode. For a symbolic link, the target of the link is replaced. The
    /// crate writes to a pipe or a device directly.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io).
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        if self.proto.encoded_len() > MESSAGE_LIMIT {
            return self.save_external(path, INLINE_LIMIT);
        }
        pair::save_alone(&self.proto, path.as_ref())
    }

    /// Writes an `.onnx` file, and a second file for the weights of at least `threshold` bytes. [`open`](Self::open)
    /// reads both files. Without such weights, there is no second file.
    ///
    /// The file of the weights is `NAME.HASH.data`, with the name of the model's file and a hash of the weights. Two
    /// saves never mix: the old pair stays until the new pair is complete. Then the old weights are removed, and so
    /// are the leftovers of a killed save.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io);
    /// [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument) when `path` is a pipe or a device, or its name is
    /// no UTF-8.
    pub fn save_external(&self, path: impl AsRef<Path>, threshold: usize) -> Result<()> {
        pair::save(&self.proto, path.as_ref(), threshold)
    }

    /// The serialized model with its weights, for a consumer. If some consumers cannot read the name of a size, such
    /// as a name with a space, the size gets another name (`size_0`). Unused weights are removed. Nothing else
    /// changes.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self.for_consumer() {
            Some(changed) => encode::to_vec(&changed),
            None => encode::to_vec(&self.proto),
        }
    }

    /// The model as consumers get it; `None` where it is as it should be.
    pub(crate) fn for_consumer(&self) -> Option<ModelProto> {
        let renamed = normalize::sizes::plain_names(&self.proto);
        unread::without(renamed.as_ref().unwrap_or(&self.proto)).or(renamed)
    }

    /// Whether [`to_bytes`](Self::to_bytes) gives these bytes, which is found without a copy of the weights.
    #[cfg(feature = "ort")]
    pub(crate) fn is_written_as(&self, bytes: &[u8]) -> bool {
        match self.for_consumer() {
            Some(changed) => encode::is_written_as(&changed, bytes),
            None => encode::is_written_as(&self.proto, bytes),
        }
    }

    /// The model and its larger weights separately, for a consumer, as [`to_bytes`](Self::to_bytes).
    pub fn split(&self) -> SplitModel {
        let mut proto = self.for_consumer().unwrap_or_else(|| self.proto.clone());
        let weights = take_weights(&mut proto);
        SplitModel { bytes: proto.encode_to_vec(), weights }
    }

    /// The model and its larger weights apart, with all names as they are.
    pub(crate) fn split_unchanged(&self) -> SplitModel {
        let mut proto = self.proto.clone();
        let weights = take_weights(&mut proto);
        SplitModel { bytes: proto.encode_to_vec(), weights }
    }

    /// Whether the serialized model is larger than protobuf's readers take.
    #[cfg(feature = "ort")]
    pub(crate) fn is_beyond_a_message(&self) -> bool {
        self.proto.encoded_len() > MESSAGE_LIMIT
    }

    /// The serialized model after a change, without the larger weights that are parts of `plan`. The model refers to them
    /// as parts of a file called [`WEIGHTS_FILE`]. No such file is there. `is_whole`: `plan` is what
    /// [`to_bytes`](Self::to_bytes) gives.
    #[cfg(feature = "ort")]
    pub(crate) fn to_bytes_over(
        &self,
        plan: &Bytes,
        is_whole: bool,
        change: impl FnOnce(&mut ModelProto),
    ) -> Vec<u8> {
        let is_read_from_it = || {
            let weights = self.proto.graph.iter().flat_map(|graph| &graph.initializer);
            weights.into_iter().any(|weight| part_of(plan, weight).is_some())
        };
        // A model whose weights are elsewhere is read from the plan, which copies no weights.
        let read = (is_whole && !is_read_from_it()).then(|| ModelProto::decode(plan.clone()).ok());
        let read = read.flatten().or_else(|| self.for_consumer());
        let mut proto = read.unwrap_or_else(|| self.proto.clone());
        change(&mut proto);
        for tensor in proto.graph.iter_mut().flat_map(|graph| &mut graph.initializer) {
            let Some((offset, length)) = part_of(plan, tensor) else { continue };
            tensor.raw_data = None;
            tensor.data_location = Some(DataLocation::External as i32);
            let (offset, length) = (offset.to_string(), length.to_string());
            let entries = [("location", WEIGHTS_FILE), ("offset", &offset), ("length", &length)];
            let entry = |(key, value): (&str, &str)| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value.to_owned()),
            };
            tensor.external_data = entries.map(entry).into();
        }
        proto.encode_to_vec()
    }
}

/// Where a larger weight is in `plan`, if the weight is a part of `plan`: its offset and its length.
#[cfg(feature = "ort")]
fn part_of(plan: &[u8], weight: &TensorProto) -> Option<(usize, usize)> {
    let data = weight.raw_data.as_ref().filter(|data| data.len() >= INLINE_LIMIT)?;
    // A type that we have no name for stays where it was.
    onnx::from_onnx(weight.data_type()).ok()?;
    let offset = data.as_ptr().addr().checked_sub(plan.as_ptr().addr())?;
    (offset.checked_add(data.len())? <= plan.len()).then_some((offset, data.len()))
}

/// Takes the larger weights out of a model.
fn take_weights(proto: &mut ModelProto) -> Vec<(String, HostTensor)> {
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
    weights
}
