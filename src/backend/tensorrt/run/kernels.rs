//! The file that keeps the kernels which TensorRT-RTX compiles at run time. Several contexts and processes add to one
//! file, and nobody's kernels are lost.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::engine::LoadedEngine;
use crate::error::{Error, Result};
use crate::files::{FileLock, read_if_there, write_atomic};

/// The kernels in a file, as far as this process knows them.
pub(crate) struct Kernels {
    path: PathBuf,
    known: Mutex<Vec<u8>>,
}

impl Kernels {
    /// The file for one device beside an engine of the cache, whose name begins as the engine's.
    pub(crate) fn file(beside: &Path, device: &str) -> PathBuf {
        let device = blake3::hash(device.as_bytes()).to_hex();
        let mut name = beside.as_os_str().to_owned();
        name.push(format!(".{}.kernels", &device[..8]));
        name.into()
    }

    /// Reads the file, if it is there.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) for a file that is there and cannot be read.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let known = Mutex::new(read_if_there(&path)?);
        Ok(Self { path, known })
    }

    /// What a new context is given.
    pub(crate) fn known(&self) -> Vec<u8> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds what a context compiled. The engine runs whatever becomes of the file, so a failure is only logged.
    pub(crate) fn add(&self, engine: &LoadedEngine, compiled: &[u8]) {
        if let Err(e) = self.try_add(engine, compiled) {
            tracing::warn!(target: "accelerant::tensorrt", "the compiled kernels are not kept: {e}");
        }
    }

    fn try_add(&self, engine: &LoadedEngine, compiled: &[u8]) -> Result<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The context compiled nothing that is not in the file already.
        if *known == compiled {
            return Ok(());
        }
        let _lock = lock(&self.path)?;
        // Other processes may have added some, and other contexts of this one.
        let there = read_if_there(&self.path)?;
        let merged = match there.is_empty() || there == compiled {
            true => compiled.to_vec(),
            false => merged(engine, there.clone(), compiled)?,
        };
        if merged != there {
            write_atomic(&self.path, |file| file.write_all(&merged))?;
        }
        *known = merged;
        Ok(())
    }
}

/// Both together. The library does not say that it adds to what it has, so the longest is taken.
fn merged(engine: &LoadedEngine, there: Vec<u8>, compiled: &[u8]) -> Result<Vec<u8>> {
    let Some(both) = engine.merge_kernels(&there, compiled)? else {
        // What is there is of another device or version.
        return Ok(compiled.to_vec());
    };
    let longest = [both.bytes(), compiled, &there].into_iter().max_by_key(|bytes| bytes.len());
    Ok(longest.unwrap_or_default().to_vec())
}

/// So long a process waits for another one that writes.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One process at a time.
fn lock(path: &Path) -> Result<FileLock> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    FileLock::within(&name, LONGEST_WAIT).map_err(|e| Error::io("lock", &name, e))
}
