//! Which ONNX Runtime runs: found and loaded once a process, since the function table of `ort` is global.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use ort::environment::Environment;
use tracing::subscriber::NoSubscriber;

use super::{log, version::Version};
use crate::backend::panics::guarded;
use crate::error::{Error, ErrorKind, Result};

/// The environment variable that names an ONNX Runtime library. A library that was named is the only one tried.
const DYLIB: &str = "ORT_DYLIB_PATH";
/// What a folder of the cache is called that holds an ONNX Runtime.
const FOLDER: &str = "onnxruntime-";

pub(super) struct Library {
    pub(super) environment: Environment,
    pub(super) version: Version,
    path: PathBuf,
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ONNX Runtime {} from {}", self.version, self.path.display())
    }
}

pub(super) fn load() -> Result<&'static Library> {
    static LIBRARY: OnceLock<Result<Library>> = OnceLock::new();
    LIBRARY.get_or_init(open).as_ref().map_err(Clone::clone)
}

fn open() -> Result<Library> {
    let (path, version) = find()?;
    let failed = |reason: &dyn fmt::Display| {
        Error::new(ErrorKind::LibraryNotFound, format!("{}: {reason}", path.display()))
    };
    let build = || -> Result<Environment> {
        // `ort` tells a user that a library newer than 1.24 "may have compatibility issues". What is asked for here are
        // the functions of 1.24, which every newer library has.
        let load = || ort::init_from(&path);
        let builder = tracing::subscriber::with_default(NoSubscriber::new(), load);
        let builder = builder.map_err(|e| failed(&e).with_source(e))?;
        let builder = builder.with_telemetry(false).with_logger(Arc::new(log::line));
        builder.build().map_err(|e| failed(&e).with_source(e))
    };
    let environment = guarded(ErrorKind::LibraryNotFound, build)??;
    Ok(Library { environment, version, path })
}

/// The library that was named; else the newest of the cache; else the one that the system's loader finds.
fn find() -> Result<(PathBuf, Version)> {
    if let Some(named) = env::var_os(DYLIB).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(named);
        return match Version::of(&path) {
            Ok(version) if version.is_new_enough() => Ok((path, version)),
            Ok(version) => Err(too_old(&format!("{DYLIB}={}", path.display()), &version)),
            Err(reason) => {
                let text = format!("{DYLIB}={}: {reason}", path.display());
                Err(Error::new(ErrorKind::LibraryNotFound, text))
            }
        };
    }
    let cache = accelerant_sdk::cache_folder();
    let cached = cache.iter().flatten().flat_map(|cache| libraries_in(cache));
    let mut old = None;
    for path in cached.chain(system_names()) {
        let Ok(version) = Version::of(&path) else { continue };
        if version.is_new_enough() {
            return Ok((path, version));
        }
        old.get_or_insert_with(|| too_old(&path.display().to_string(), &version));
    }
    Err(old.unwrap_or_else(|| {
        let refused = cache.err().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let text = format!(
            "no ONNX Runtime is found: run `{}`, set {DYLIB} to its library, or install it where the system's loader \
             looks{refused}",
            accelerant_sdk::ONNXRUNTIME.command()
        );
        Error::new(ErrorKind::LibraryNotFound, text)
    }))
}

fn too_old(what: &str, version: &Version) -> Error {
    let needed = ort::MINOR_VERSION;
    let text = format!("{what} is ONNX Runtime {version}; 1.{needed} or newer is needed");
    Error::new(ErrorKind::VersionMismatch, text)
}

/// The libraries below the cache, the newest first: `onnxruntime-VERSION/lib/libonnxruntime.so*`.
fn libraries_in(cache: &Path) -> Vec<PathBuf> {
    let entries = |folder: &Path| {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let starts = |path: &Path, start: &str| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    let stem = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let named = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix(FOLDER)?.to_owned();
        Some((Version::from(name).numbers(), path.clone()))
    };
    let mut folders: Vec<_> = entries(cache).iter().filter_map(named).collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    let files = folders.iter().flat_map(|(_, folder)| entries(&folder.join("lib")));
    files.filter(|path| starts(path, &stem) && path.is_file()).collect()
}

fn system_names() -> impl Iterator<Item = PathBuf> {
    let stem = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
    let versioned = cfg!(target_os = "linux").then(|| format!("{stem}.1"));
    std::iter::once(stem).chain(versioned).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_searched_for_libraries_alone_the_newest_first() {
        let cache = tempfile::tempdir().unwrap();
        let [lib, older] = ["1.29.0", "1.9.0"]
            .map(|version| cache.path().join(format!("onnxruntime-{version}/lib")));
        for folder in [&lib, &older, &cache.path().join("tensorrt-rtx/lib")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        let stem = format!("{}onnxruntime{}", env::consts::DLL_PREFIX, env::consts::DLL_SUFFIX);
        let [name, older] = [lib.join(format!("{stem}.1.29.0")), older.join(&stem)];
        for path in
            [&name, &older, &lib.join("libother.so"), &cache.path().join("tensorrt-rtx/lib/x")]
        {
            std::fs::write(path, "no library").unwrap();
        }
        assert_eq!(libraries_in(cache.path()), [name.clone(), older]);
        for path in [name, lib.join("missing.so")] {
            let reason = Version::of(&path).unwrap_err();
            assert!(reason.contains(&*path.to_string_lossy()), "{reason}");
        }
    }
}
