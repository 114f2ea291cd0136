//! The folder of a model in a repository of Triton: versions, and the configuration that they share.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

use crate::fail::{Failure, Result, io as failure};
use crate::{files, pbtxt};

/// Adds a version, which `fill` writes into the folder that it is given, and puts the configuration beside.
///
/// Each of the two appears whole or not at all, but no system changes both at once. So this is what a kill leaves
/// between them:
/// - In a folder without a configuration, that comes first. A server does not load a model without a version, and the
///   same command goes on. A version alone would be loaded, with settings that the server guesses.
/// - Else the version comes first, and runs as the old configuration says. That fits: one that tells of other tensors,
///   another backend or another largest batch is refused before anything is written.
pub(crate) fn add(
    folder: &Path,
    version: u32,
    config: &str,
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    make(folder).map_err(|e| failure("create", folder, e))?;
    let _alone = alone(folder)?;
    let (place, at) = (folder.join(version.to_string()), folder.join("config.pbtxt"));
    if fs::symlink_metadata(&place).is_ok() {
        let text = format!("{} is there already; --model-version takes another", place.display());
        return Err(Failure::usage(text));
    }
    let old = fitting(folder, &at, config)?;
    sweep(folder);
    // Triton passes over folders whose names are no numbers.
    let mut builder = tempfile::Builder::new();
    builder.prefix(files::DRAFT.0).suffix(files::DRAFT.1);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    let draft = builder.tempdir_in(folder).map_err(|e| failure("create a folder in", folder, e))?;
    fill(draft.path())?;
    files::sync(draft.path()).map_err(|e| failure("write", draft.path(), e))?;
    let write_config =
        || files::replace(&at, config.as_bytes()).map_err(|e| failure("write", &at, e));
    if old.is_none() {
        write_config()?;
    }
    fs::rename(draft.path(), &place)
        .and_then(|()| files::sync(folder))
        .map_err(|e| failure("write", &place, e))?;
    match old {
        Some(old) if old != config => write_config(),
        _ => Ok(()),
    }
}

/// The configuration that is there, which the new version has to fit.
fn fitting(folder: &Path, at: &Path, config: &str) -> Result<Option<String>> {
    match fs::symlink_metadata(at) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(failure("read", at, e)),
        // A link may lead to a file of somebody else, and a pipe has no end.
        Ok(found) if !found.is_file() => {
            let text = format!("{} is not a regular file, and is not replaced", at.display());
            return Err(Failure::usage(text));
        }
        Ok(_) => {}
    }
    let old = fs::read_to_string(at).map_err(|e| failure("read", at, e))?;
    let advice =
        || format!("--name gives another name, or remove {} with its versions", folder.display());
    match pbtxt::difference(&old, config) {
        Ok(None) => Ok(Some(old)),
        Ok(Some(difference)) => Err(Failure::usage(format!(
            "{} is for another model: {difference}; {}",
            at.display(),
            advice()
        ))),
        Err(why) => {
            let text = format!("{} is no configuration: {why}; {}", at.display(), advice());
            Err(Failure::usage(text))
        }
    }
}

/// Makes the folder and those above it, down to the disk.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.exists()).collect();
    fs::create_dir_all(folder)?;
    missing.into_iter().rev().try_for_each(|made| files::sync(files::parent(made)))
}

/// One process at a time adds a version. The lock ends with the process.
fn alone(folder: &Path) -> Result<Option<File>> {
    // Not every system locks folders.
    let Ok(opened) = File::open(folder) else { return Ok(None) };
    match opened.try_lock() {
        Ok(()) => Ok(Some(opened)),
        Err(TryLockError::Error(_)) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(Failure::failed(format!(
            "another process writes into {} right now; try again when it has ended",
            folder.display()
        ))),
    }
}

/// Removes the drafts of dead processes: others have the lock. What cannot be removed stays.
fn sweep(folder: &Path) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with(files::DRAFT.0) || !name.ends_with(files::DRAFT.1) {
            continue;
        }
        let _ = match entry.file_type() {
            Ok(found) if found.is_dir() => fs::remove_dir_all(entry.path()),
            Ok(found) if found.is_file() => fs::remove_file(entry.path()),
            _ => Ok(()),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a folder where a file or a version goes, which fails the step that comes to it as a kill before it does.
    fn obstruct(place: &Path) -> Result<()> {
        let _ = fs::remove_file(place);
        fs::create_dir_all(place.join("full")).map_err(|e| failure("create", place, e))
    }

    #[test]
    fn what_is_between_two_steps_is_a_model_or_none() {
        let above = tempfile::tempdir().unwrap();
        let folder = &above.path().join("repository/net");
        let at = &folder.join("config.pbtxt");
        let config = "max_batch_size: 1 # old";
        // Without its configuration a new model has no version.
        add(folder, 1, config, |_| obstruct(at)).unwrap_err();
        assert!(!folder.join("1").exists());
        fs::remove_dir_all(at).unwrap();
        let model = |draft: &Path| {
            fs::write(draft.join("model"), "1").map_err(|e| failure("write", draft, e))
        };
        add(folder, 1, config, model).unwrap();
        assert_eq!(fs::read_to_string(folder.join("1/model")).unwrap(), "1");
        // Without its version a model keeps its old configuration, and the other way round it has the version.
        let new = "max_batch_size: 1 # new";
        add(folder, 2, new, |_| obstruct(&folder.join("2"))).unwrap_err();
        assert_eq!(fs::read_to_string(at).unwrap(), config);
        add(folder, 3, new, |_| obstruct(at)).unwrap_err();
        assert!(folder.join("3").exists());
        let mut names = folder.read_dir().unwrap().flatten();
        assert!(names.all(|e| !e.file_name().to_string_lossy().starts_with('.')));
    }
}
