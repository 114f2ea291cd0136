//! The times that the builder of Enterprise TensorRT measured, read before a build and added to afterwards: in the user's
//! own file, or in the folder of the cache.

use std::{
    ffi::OsString,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use super::options::TensorRtOptions;
use crate::backend::tensorrt::ffi::{self, Flavor, Library, device};
use crate::backend::{TimingFile, TimingFolder};
use crate::error::{Error, ErrorKind, Result};
use crate::files::{FileLock, read_if_there, write_atomic};

/// So long a build waits for another process that writes the user's file.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where the times are kept.
pub(crate) enum Timings {
    /// The file that the options name, as the library writes it.
    File(PathBuf),
    Cached(TimingFile),
}

impl Timings {
    /// The place for a build. TensorRT-RTX measures nothing during a build, and has none.
    ///
    /// # Errors
    /// The device cannot be asked.
    pub(crate) fn of(
        library: &Library,
        options: &TensorRtOptions,
        folder: Option<&TimingFolder>,
    ) -> Result<Option<Self>> {
        Ok(match (library.flavor, &options.timing_cache, folder) {
            (Flavor::Rtx, ..) | (_, None, None) => None,
            (_, Some(path), _) => Some(Self::File(path.clone())),
            (flavor, None, Some(folder)) => {
                let (name, capability, _) = device::identity(options.device)?;
                let device = format!("{name}, compute capability {capability}");
                let version = format!("{} {}", flavor.title(), library.version);
                Some(Self::Cached(folder.file(&version, &device)))
            }
        })
    }

    /// What was measured before; empty if nothing was.
    ///
    /// # Errors
    /// The user's file cannot be read.
    pub(crate) fn read(&self) -> Result<Vec<u8>> {
        match self {
            Self::File(path) => read_if_there(path),
            Self::Cached(file) => Ok(file.read()),
        }
    }

    /// Adds what the builder measured. The engine is built already, so a failure is only logged.
    pub(crate) fn add(&self, known: &[u8], builder: &ffi::Builder) {
        let added = all_of(builder, &[]).and_then(|measured| match self {
            _ if measured.is_empty() || measured == known => Ok(()),
            Self::File(path) => add_to_file(path, known, &measured, |there| all_of(builder, there)),
            Self::Cached(file) => {
                file.add(known, &measured, |there| all_of(builder, there));
                Ok(())
            }
        });
        if let Err(e) = added {
            tracing::warn!(target: "accelerant::tensorrt", "the timing cache is not kept: {e}");
        }
    }
}

/// What the builder measured, with what `others` has beside it; empty where the library keeps nothing.
fn all_of(builder: &ffi::Builder, others: &[u8]) -> Result<Vec<u8>> {
    match builder.timing_cache(others) {
        Ok(cache) if cache.is_null() => Ok(Vec::new()),
        Ok(cache) => Ok(cache.bytes().to_vec()),
        Err(e) => Err(Error::new(ErrorKind::Build, e.what())),
    }
}

/// Adds to a file that has no checksum. Another process may have added to the file since `known` was read.
fn add_to_file(
    path: &Path,
    known: &[u8],
    measured: &[u8],
    merge: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
) -> Result<()> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let name = PathBuf::from(name);
    let _lock = FileLock::within(&name, LONGEST_WAIT).map_err(|e| Error::io("lock", &name, e))?;
    let there = read_if_there(path)?;
    let all = match there.is_empty() || there == known {
        true => measured.to_vec(),
        false => merge(&there)?,
    };
    write_atomic(path, |file| file.write_all(&all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_wrote_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timings");
        let never = |_: &[u8]| -> Result<Vec<u8>> { panic!("nothing is to be merged") };
        add_to_file(&path, &[], b"a", never).unwrap();
        add_to_file(&path, b"a", b"ab", never).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"ab");
        add_to_file(&path, b"a", b"ac", |there| Ok([there, b"c"].concat())).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"abc");
    }

    /// Both flavors come of one text, and TensorRT-RTX builds without a GPU. Its timing cache does nothing.
    #[cfg(feature = "tensorrt-rtx")]
    #[test]
    fn a_file_that_is_no_timing_cache_stops_no_build() {
        use super::super::{Profiles, build};
        use crate::export::{GraphBuilder, Target};
        use crate::spec::DType;

        let Ok(library) = Library::load(Flavor::Rtx, None) else { return };
        let graph = GraphBuilder::new("double");
        let x = graph.input("x", DType::F32, [4usize]).unwrap();
        graph.output("y", &x.add(&x).unwrap()).unwrap();
        let model = graph.finish().unwrap().for_target(Target::tensorrt()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("timings");
        let (options, profiles) = (TensorRtOptions::default(), Profiles::new());
        for bytes in [None, Some("no timing cache")] {
            if let Some(bytes) = bytes {
                std::fs::write(&path, bytes).unwrap();
            }
            let timings = Timings::File(path.clone());
            build(&library, &model, &options, &profiles, "any", Some(&timings)).unwrap();
        }
    }
}
