//! Weights that an ONNX model keeps in files beside it. Only reading; only for initializers.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Component, Path},
};

use bytes::Bytes;

use super::onnx::{self, GraphProto, TensorProto, tensor_proto::DataLocation};
use crate::error::{Error, ErrorKind, Result};

/// Whether the data of a tensor lies in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

/// Reads the data of all such initializers from files in `folder` into the model.
pub(super) fn load(graph: &mut GraphProto, folder: &Path) -> Result<()> {
    for tensor in graph.initializer.iter_mut().filter(|tensor| is_external(tensor)) {
        let data = read(tensor, folder).map_err(|e| e.on_tensor(tensor.name()))?;
        tensor.raw_data = Some(data);
        tensor.external_data.clear();
        tensor.data_location = None;
    }
    Ok(())
}

fn read(tensor: &TensorProto, folder: &Path) -> Result<Bytes> {
    let invalid = |text: String| Error::new(ErrorKind::InvalidModel, text);
    let entries: HashMap<&str, &str> =
        tensor.external_data.iter().map(|entry| (entry.key(), entry.value())).collect();
    let location = Path::new(entries.get("location").copied().unwrap_or_default());
    // A model must not read files that are none of its own.
    let inside = location.components().all(|part| matches!(part, Component::Normal(_)));
    if location.as_os_str().is_empty() || !inside {
        let text = format!("external data at {location:?}, which is not beside the model");
        return Err(invalid(text));
    }
    let number = |key: &str| match entries.get(key) {
        Some(text) => {
            text.parse().map(Some).map_err(|_| invalid(format!("{key} {text:?} of its data")))
        }
        None => Ok(None),
    };
    let sizes = tensor.dims.iter().map(|&size| usize::try_from(size).ok());
    let count = sizes
        .collect::<Option<Vec<_>>>()
        .and_then(|sizes| sizes.iter().try_fold(1usize, |count, &size| count.checked_mul(size)));
    let size = onnx::from_onnx(tensor.data_type())?.size();
    let Some(needed) = count.and_then(|count| count.checked_mul(size)) else {
        return Err(invalid(format!("the shape {:?} makes no sense", tensor.dims)));
    };
    let (offset, length) = (number("offset")?.unwrap_or(0u64), number("length")?);
    if length.is_some_and(|length| length != needed as u64) {
        let text = format!(
            "{length:?} bytes of external data for {:?}, which needs {needed}",
            tensor.dims
        );
        return Err(invalid(text));
    }
    let path = folder.join(location);
    let io = |e| Error::io("read", &path, e);
    let mut file = File::open(&path).map_err(io)?;
    let there = file.metadata().map_err(io)?.len();
    if offset.checked_add(needed as u64).is_none_or(|end| end > there) {
        let text =
            format!("{} has {there} bytes, too few for {needed} from {offset} on", path.display());
        return Err(invalid(text));
    }
    file.seek(SeekFrom::Start(offset)).map_err(io)?;
    let mut data = vec![0; needed];
    file.read_exact(&mut data).map_err(io)?;
    Ok(data.into())
}
