//! A stand-in for CUDA's compiler, with which the code behind `candle-cuda` is checked where there is no
//! CUDA. It compiles nothing: what depends on kernels may be checked with it, never linked or run.

use crate::workspace::root;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Answers what build scripts ask, and writes an empty file wherever they want one.
const SCRIPT: &str = r#"#!/bin/sh
out=; folder=; source=
while [ $# -gt 0 ]; do
  case $1 in
  --version) echo 'Cuda compilation tools, release 13.0, V13.0.0'; exit ;;
  -o) out=$2; shift ;;
  --output-directory) folder=$2; shift ;;
  *.cu) source=$1 ;;
  esac
  shift
done
if [ -n "$out" ]; then : >"$out"; fi
if [ -n "$folder" ] && [ -n "$source" ]; then : >"$folder/$(basename "$source" .cu).ptx"; fi
"#;

/// Where it is put, with all that is built by its help.
fn folder() -> PathBuf {
    root().join("target/without-nvcc")
}

/// Clippy on the library with `features`, `candle-cuda` among them, in a target folder of its own: nothing that was compiled with
/// the stand-in may ever be taken for real.
pub(crate) fn clippy(mut command: Command, features: &str) -> Result<Command> {
    let toolkit = folder().join("toolkit");
    put(&toolkit.join("bin/nvcc")).context("putting a stand-in for nvcc in place")?;
    command
        .args(["--lib", "--no-default-features", "--features", features])
        .arg("--target-dir")
        .arg(folder())
        .args(["--", "-D", "warnings"])
        .env("NVCC", toolkit.join("bin/nvcc"))
        .env("CUDA_COMPUTE_CAP", "90")
        .env("CUDARC_CUDA_VERSION", "13000");
    Ok(command)
}

fn put(nvcc: &Path) -> Result<()> {
    if let Some(folder) = nvcc.parent() {
        fs::create_dir_all(folder)?;
    }
    // Not written anew, which would have build scripts run again.
    if fs::read_to_string(nvcc).is_ok_and(|script| script == SCRIPT) {
        return Ok(());
    }
    fs::write(nvcc, SCRIPT)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(nvcc, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::workspace::capture;

    #[test]
    fn it_answers_and_writes_empty_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let nvcc = folder.path().join("bin/nvcc");
        put(&nvcc)?;
        let answer = capture(Command::new(&nvcc).arg("--version"))?;
        assert!(String::from_utf8_lossy(&answer.stdout).contains("release 13.0"));
        let object = folder.path().join("a.o");
        capture(Command::new(&nvcc).args(["-c", "-O3", "-o"]).arg(&object).arg("src/a.cu"))?;
        assert_eq!(fs::read(object)?, b"");
        let ptx = ["--ptx", "--output-directory"];
        capture(Command::new(&nvcc).args(ptx).arg(folder.path()).arg("src/kernel.cu"))?;
        assert_eq!(fs::read(folder.path().join("kernel.ptx"))?, b"");
        Ok(())
    }
}
