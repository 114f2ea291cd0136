//! Weights that an ONNX model keeps in files of its folder: read wherever a tensor stands, written
//! for initializers. Nothing outside of the folder is read, and nothing that is no plain file.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

use bytes::Bytes;

use super::tensors;
use super::walk;
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::{
    GraphProto, ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataLocation,
};
use crate::files;

/// Where each weight begins is a multiple of this, so that a file can be mapped into memory.
const ALIGNMENT: u64 = 4096;

/// Whether the data of a tensor lies in another file.
pub(super) fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location() == DataLocation::External
}

/// Reads the data of all such tensors into the model that was read from the file `model_path`.
///
/// Each byte of a file is read once, however many tensors share it, so that time and memory are
/// bounded by the sizes of the files.
pub(super) fn load(model: &mut ModelProto, model_path: &Path) -> Result<()> {
    let mut folder = None;
    let mut places: Vec<(PathBuf, u64, u64)> = Vec::new();
    let mut files: BTreeMap<PathBuf, u64> = BTreeMap::new();
    walk::tensors_mut(model, &mut |tensor| {
        if !is_external(tensor) {
            return Ok(());
        }
        if folder.is_none() {
            folder = Some(Folder::of(model_path)?);
        }
        let Some(folder) = &folder else { return Ok(()) };
        let place = DataPlace::of(tensor)?;
        let path = folder.find(&place.location)?;
        let there = match files.get(&path) {
            Some(&there) => there,
            None => {
                let there = open_plain(&path)?.1;
                files.insert(path.clone(), there);
                there
            }
        };
        let end = place.offset.checked_add(place.length);
        let Some(end) = end.filter(|&end| end <= there) else {
            let (needed, offset) = (place.length, place.offset);
            let text = format!(
                "{} has {there} bytes, too few for {needed} from {offset} on",
                path.display()
            );
            return Err(Error::new(ErrorKind::InvalidModel, text));
        };
        places.push((path, place.offset, end));
        Ok(())
    })?;
    if places.is_empty() {
        return Ok(());
    }
    let read = read_all(&places)?;
    let mut places = places.iter();
    walk::tensors_mut(model, &mut |tensor| {
        if is_external(tensor)
            && let Some((path, from, to)) = places.next()
        {
            tensor.raw_data = Some(read.slice(path, *from, *to));
            tensor.external_data.clear();
            tensor.data_location = None;
        }
        Ok(())
    })
}

/// Where a tensor says that its data lies.
struct DataPlace {
    location: String,
    offset: u64,
    length: u64,
}

impl DataPlace {
    fn of(tensor: &TensorProto) -> Result<Self> {
        let invalid = |text: String| Error::new(ErrorKind::InvalidModel, text);
        let entries: HashMap<&str, &str> =
            tensor.external_data.iter().map(|entry| (entry.key(), entry.value())).collect();
        let number = |key: &str| match entries.get(key) {
            Some(text) => {
                text.parse().map(Some).map_err(|_| invalid(format!("{key} {text:?} of its data")))
            }
            None => Ok(None),
        };
        let (offset, length) = (number("offset")?.unwrap_or(0u64), number("length")?);
        let needed = tensors::bytes_needed(tensor)?;
        if let Some(length) = length.filter(|&length| length != needed) {
            let text = format!(
                "{length} bytes of external data for {:?}, which needs {needed}",
                tensor.dims
            );
            return Err(invalid(text));
        }
        let location = entries.get("location").copied().unwrap_or_default().to_owned();
        Ok(Self { location, offset, length: needed })
    }
}

/// The folders that a model may read from: the one that it was opened in, and the one that its file
/// lies in when that was found through a link, as in caches of downloads.
struct Folder {
    opened: PathBuf,
    real: PathBuf,
}

impl Folder {
    fn of(model_path: &Path) -> Result<Self> {
        let parent = match model_path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let resolve = |path: &Path| path.canonicalize().map_err(|e| Error::io("find", path, e));
        let file = resolve(model_path)?;
        let real = file.parent().unwrap_or(Path::new("/")).to_owned();
        Ok(Self { opened: resolve(parent)?, real })
    }

    /// The file at a location, links resolved.
    fn find(&self, location: &str) -> Result<PathBuf> {
        let outside = || {
            let text = format!("external data at {location:?}, which is not in the model's folder");
            Error::new(ErrorKind::InvalidModel, text)
        };
        let inner = inner_path(location).ok_or_else(outside)?;
        let mut path = self.opened.join(&inner);
        // A pair that was saved through a link lies where the link leads.
        if !path.exists() && self.real.join(&inner).exists() {
            path = self.real.join(&inner);
        }
        // Written on Windows, where ONNX's rule of `/` is often broken.
        if location.contains('\\') && !path.exists() {
            path = self.opened.join(inner_path(&location.replace('\\', "/")).ok_or_else(outside)?);
        }
        let found = path.canonicalize().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                let text = format!(
                    "there is no {}: the file has weights of the model, and must be in the model's folder",
                    path.display()
                );
                Error::new(ErrorKind::Io, text).with_source(e)
            }
            _ => Error::io("read", &path, e),
        })?;
        match found.starts_with(&self.opened) || found.starts_with(&self.real) {
            true => Ok(found),
            false => Err(outside()),
        }
    }
}

/// A relative path without `.` and `..`; `None` for one that is empty or leaves its folder.
fn inner_path(location: &str) -> Option<PathBuf> {
    let mut inner = PathBuf::new();
    for part in Path::new(location).components() {
        match part {
            Component::Normal(part) => inner.push(part),
            Component::CurDir => {}
            Component::ParentDir if inner.pop() => {}
            _ => return None,
        }
    }
    (!inner.as_os_str().is_empty()).then_some(inner)
}

/// Opens a plain file, and gives its size.
pub(super) fn open_plain(path: &Path) -> Result<(File, u64)> {
    files::open_plain(path).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidInput => {
            let text = format!("{} is not a regular file", path.display());
            Error::new(ErrorKind::InvalidModel, text)
        }
        _ => Error::io("read", path, e),
    })
}

/// What was read of some files: ranges of each, by where they begin.
struct ReadRanges<'p>(HashMap<&'p Path, BTreeMap<u64, Bytes>>);

impl ReadRanges<'_> {
    fn slice(&self, path: &Path, from: u64, to: u64) -> Bytes {
        let range = self.0.get(path).and_then(|ranges| ranges.range(..=from).next_back());
        range.map_or_else(Bytes::new, |(&start, bytes)| {
            bytes.slice((from - start) as usize..(to - start) as usize)
        })
    }
}

/// Reads these ranges, those that overlap together.
fn read_all(places: &[(PathBuf, u64, u64)]) -> Result<ReadRanges<'_>> {
    let mut sorted: Vec<(&Path, u64, u64)> =
        places.iter().map(|(path, from, to)| (path.as_path(), *from, *to)).collect();
    sorted.sort_unstable();
    let mut merged: Vec<(&Path, u64, u64)> = Vec::new();
    for (path, from, to) in sorted {
        match merged.last_mut() {
            // Those that only touch stay apart, so that each goes when the model has it in another form.
            Some(last) if last.0 == path && (from < last.2 || from == last.1) => {
                last.2 = last.2.max(to)
            }
            _ => merged.push((path, from, to)),
        }
    }
    let mut read = HashMap::new();
    let mut current: Option<(&Path, File)> = None;
    for (path, from, to) in merged {
        let file = match &mut current {
            Some((opened, file)) if *opened == path => file,
            other => &mut other.insert((path, open_plain(path)?.0)).1,
        };
        let data = files::read_part(file, from, (to - from) as usize);
        let data = data.map_err(|e| Error::io("read", path, e))?;
        let ranges: &mut BTreeMap<u64, Bytes> = read.entry(path).or_default();
        ranges.insert(from, data.into());
    }
    Ok(ReadRanges(read))
}

/// The data of initializers on its way into a file, and where each begins there.
pub(super) struct Weights {
    /// The place of the initializer in its graph, and where its data begins.
    places: Vec<(usize, u64, Bytes)>,
}

/// Moves the data of all initializers of `threshold` bytes and more out of the graph.
pub(super) fn take(graph: &mut GraphProto, threshold: usize) -> Weights {
    let mut places = Vec::new();
    let mut end = 0u64;
    for (i, tensor) in graph.initializer.iter_mut().enumerate() {
        if let Some(data) = tensor.raw_data.take_if(|data| data.len() >= threshold) {
            let offset = end.next_multiple_of(ALIGNMENT);
            end = offset + data.len() as u64;
            places.push((i, offset, data));
        }
    }
    Weights { places }
}

impl Weights {
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// A hash of the file that [`write`](Self::write) writes.
    pub(super) fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let Ok(()) = self.each(|bytes| {
            hasher.update(bytes);
            Ok::<_, std::convert::Infallible>(())
        });
        hasher.finalize()
    }

    pub(super) fn write(&self, file: &mut impl Write) -> io::Result<()> {
        self.each(|bytes| file.write_all(bytes))
    }

    /// What the file consists of, in order.
    fn each<E>(&self, mut part: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut written = 0;
        for (_, offset, data) in &self.places {
            part(&[0; ALIGNMENT as usize][..(offset - written) as usize])?;
            part(data)?;
            written = offset + data.len() as u64;
        }
        Ok(())
    }

    /// Has the graph that they were taken from name the file.
    pub(super) fn place_in(&self, graph: &mut GraphProto, name: &str) {
        for (i, offset, data) in &self.places {
            let Some(tensor) = graph.initializer.get_mut(*i) else { continue };
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
        }
    }
}
