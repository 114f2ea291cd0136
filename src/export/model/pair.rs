//! A model and the file of its weights, which are one thing: the weights' file is named by what is in it, so the old
//! pair stays whole until the model's file, the last that is written, names the new one.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{encode, external};
use crate::error::{Error, ErrorKind, Result};
use crate::export::onnx::ModelProto;
use crate::files::{Draft, FolderLock, Place, write_atomic};

/// Characters of a hash in the name of a file of weights.
const HASH: usize = 16;
const END: &str = ".data";

/// Writes the model to `path`, and its initializers of `threshold` bytes and more into a file beside it.
pub(super) fn save(model: &ModelProto, path: &Path, threshold: usize) -> Result<()> {
    let mut model = model.clone();
    let weights = model.graph.as_mut().map(|graph| external::take(graph, threshold));
    let Some(weights) = weights.filter(|weights| !weights.is_empty()) else {
        return save_alone(&model, path);
    };
    let io = |e| Error::io("write", path, e);
    let Place::Plain(place) = Place::find(path).map_err(io)? else {
        let text =
            format!("{} is not a regular file, so weights cannot lie beside it", path.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    };
    let Some(name) = place.file_name().and_then(|name| name.to_str()) else {
        let text = format!("{} is no name for a model with a file of weights", path.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    };
    let name = format!("{name}.{}{END}", &weights.hash().to_hex()[..HASH]);
    let beside = place.with_file_name(&name);
    let in_weights = |e| Error::io("write", &beside, e);
    let draft = Draft::beside(&beside).map_err(in_weights)?;
    draft.write(|file| weights.write(file)).map_err(in_weights)?;

    // Another save must not take these weights for left-over ones before the model names them.
    let lock = FolderLock::of(&place).map_err(io)?;
    let known = beside.exists();
    draft.commit(&beside).map_err(in_weights)?;
    if let Some(graph) = &mut model.graph {
        weights.place_in(graph, &name);
    }
    if let Err(e) = write_atomic(&place, |file| encode::write(&model, file)) {
        if !known {
            let _ = fs::remove_file(&beside);
        }
        return Err(e);
    }
    sweep(&place, Some(&beside), &lock);
    Ok(())
}

/// Writes the model to `path` with all of its weights, and removes the weights of a pair that was there.
pub(super) fn save_alone(model: &ModelProto, path: &Path) -> Result<()> {
    let write = |file: &mut io::BufWriter<&fs::File>| encode::write(model, file);
    let place = Place::find(path).map_err(|e| Error::io("write", path, e))?;
    let Place::Plain(place) = &place else { return write_atomic(path, write) };
    if weights_of(place).next().is_none() {
        return write_atomic(path, write);
    }
    let lock = FolderLock::of(place).map_err(|e| Error::io("write", path, e))?;
    write_atomic(path, write)?;
    sweep(place, None, &lock);
    Ok(())
}

/// Removes the weights that the model does not name: those of the pair before, and of saves that were killed.
fn sweep(model: &Path, kept: Option<&Path>, lock: &FolderLock) {
    if lock.is_held() {
        weights_of(model).filter(|path| Some(&**path) != kept).for_each(|path| {
            let _ = fs::remove_file(path);
        });
    }
}

/// The plain files that are named as the weights of the model at this path.
fn weights_of(model: &Path) -> impl Iterator<Item = PathBuf> {
    let start = model.file_name().and_then(|name| name.to_str()).map(|name| format!("{name}."));
    let folder = match model.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let folder = folder.to_owned();
    folder.read_dir().into_iter().flatten().flatten().filter_map(move |entry| {
        let name = entry.file_name().into_string().ok()?;
        let hash = name.strip_prefix(start.as_deref()?)?.strip_suffix(END)?;
        let is_hash =
            hash.len() == HASH && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        // Joined as the model's own path is, so that the two compare.
        let path = model.with_file_name(&name);
        (is_hash && entry.file_type().is_ok_and(|found| found.is_file())).then_some(path)
    })
}
