//! Weights that an ONNX model keeps in files beside it. Only for initializers.

use std::{
    collections::HashMap,
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
    path::{Component, Path},
};

use bytes::Bytes;

use super::onnx::{
    self, GraphProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation,
};
use crate::error::{Error, ErrorKind, Result};
use crate::files::write_atomic;

/// Where each weight begins is a multiple of this, so that a file can be mapped into memory.
const ALIGNMENT: u64 = 4096;

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

/// Moves the data of all initializers of `threshold` bytes and more out of the model, into the file
/// `path`. Nothing is written when there are none.
pub(super) fn store(graph: &mut GraphProto, path: &Path, threshold: usize) -> Result<()> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        let text = format!("{} is no name for a file of weights", path.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    };
    let mut weights: Vec<(u64, Bytes)> = Vec::new();
    let mut end = 0u64;
    for tensor in &mut graph.initializer {
        let Some(data) = tensor.raw_data.take_if(|data| data.len() >= threshold) else {
            continue;
        };
        let offset = end.next_multiple_of(ALIGNMENT);
        end = offset + data.len() as u64;
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.data_location = Some(DataLocation::External as i32);
        tensor.external_data = vec![
            entry("location", name.to_owned()),
            entry("offset", offset.to_string()),
            entry("length", data.len().to_string()),
        ];
        weights.push((offset, data));
    }
    if weights.is_empty() {
        return Ok(());
    }
    write_atomic(path, |file| {
        let mut written = 0;
        for (offset, data) in &weights {
            file.write_all(&vec![0; (offset - written) as usize])?;
            file.write_all(data)?;
            written = offset + data.len() as u64;
        }
        Ok(())
    })
}
