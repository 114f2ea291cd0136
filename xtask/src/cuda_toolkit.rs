//! `cargo xtask cuda-toolkit`: the CUDA compiler, headers, libraries and link stubs that the feature
//! `candle-cuda` is compiled with, for machines without CUDA. Nothing of it is needed otherwise.

use crate::workspace::{capture, quoted};
use accelerant_sdk::install::fetch::{self, Pinned};
use accelerant_sdk::install::{place as cache, progress};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Compute capability to compile Candle's kernels for, as 10 × major + minor. By default that
    /// of this machine's GPU, and 90 where there is none.
    #[arg(long)]
    compute_cap: Option<u32>,
}

const FOLDER: &str = "cuda-13.0";

const PACKAGES: [Pinned; 8] = [
    Pinned {
        package: "nvidia-cuda-nvcc",
        version: "13.0.88",
        sha256: "56fe502eb77625a12f25172caa3cdddb4e4c8ba2c8c17dba44b164761b380f03",
    },
    Pinned {
        package: "nvidia-cuda-crt",
        version: "13.0.88",
        sha256: "2c8043c7c9e02492716426e9919fc78d2c5b3b2a7a768a88e952676b08aa55a4",
    },
    Pinned {
        package: "nvidia-cuda-runtime",
        version: "13.0.96",
        sha256: "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548",
    },
    Pinned {
        package: "nvidia-cuda-cccl",
        version: "13.0.85",
        sha256: "e0da7ad981f3a8aff08241b5bfc1af868742a63e2762f53a5171c492ef242649",
    },
    Pinned {
        package: "nvidia-cuda-nvrtc",
        version: "13.0.88",
        sha256: "ad9b6d2ead2435f11cbb6868809d2adeeee302e9bb94bcf0539c7a40d80e8575",
    },
    Pinned {
        package: "nvidia-nvvm",
        version: "13.0.88",
        sha256: "c5f41ffeb6466944a026dfa5317d7d85355c119bbec279205d22f1869d1054e0",
    },
    Pinned {
        package: "nvidia-cublas",
        version: "13.0.2.14",
        sha256: "0cf238ffdbe46c00cb9aa98e7bca745c223a5ca5a53e686ac8b3e5a08fe80d6c",
    },
    Pinned {
        package: "nvidia-curand",
        version: "10.4.0.35",
        sha256: "1aee33a5da6e1db083fe2b90082def8915f30f3248d5896bcec36a579d941bfc",
    },
];

/// What is linked by name, and the file that a wheel has for it.
const LINKED: [(&str, &str); 5] = [
    ("libcublas.so", "libcublas.so.13"),
    ("libcublasLt.so", "libcublasLt.so.13"),
    ("libcurand.so", "libcurand.so.10"),
    ("libnvrtc.so", "libnvrtc.so.13"),
    ("libcudart.so", "libcudart.so.13"),
];

/// `CUDA_ERROR_STUB_LIBRARY`, which the vendor's own stub answers with.
const STUB_ANSWER: u32 = 34;

pub(crate) fn run(args: &Args) -> Result<()> {
    let root = ensure()?;
    print!("{}", exports(&root, args.compute_cap)?);
    eprintln!("for this shell: eval \"$(cargo xtask cuda-toolkit)\"");
    Ok(())
}

/// What a shell evaluates. A value is what stands there, whatever characters it has.
fn exports(root: &Path, compute_cap: Option<u32>) -> Result<String> {
    let shown = root.display();
    let text = root.to_str().with_context(|| format!("{shown} is not UTF-8"))?;
    ensure!(!text.contains(':'), "{shown} has a `:`, which ends a folder in PATH");
    let mut lines = String::new();
    for (name, value) in variables(root, compute_cap) {
        writeln!(lines, "export {name}={}", quoted(value.as_ref()))?;
    }
    for (name, folder) in paths(root) {
        // An empty element would be the working directory.
        writeln!(lines, "export {name}={}\"${{{name}:+:${name}}}\"", quoted(folder.as_ref()))?;
    }
    Ok(lines)
}

/// Lets a command compile and link with the toolkit.
pub(crate) fn prepare(command: &mut Command) -> Result<()> {
    let root = ensure()?;
    command.envs(variables(&root, None));
    for (name, folder) in paths(&root) {
        command.env(name, before(folder, &env::var_os(name).unwrap_or_default())?);
    }
    Ok(())
}

/// A folder before those of a variable. Empty ones go: they would be the working directory.
fn before(folder: PathBuf, rest: &OsStr) -> Result<OsString> {
    let rest = env::split_paths(rest).filter(|folder| !folder.as_os_str().is_empty());
    Ok(env::join_paths(std::iter::once(folder).chain(rest))?)
}

/// Where the toolkit is; fetched first if it is nowhere.
fn ensure() -> Result<PathBuf> {
    if let Some(named) = env::var_os("CUDA_HOME").filter(|value| !value.is_empty()) {
        let root = std::path::absolute(&named)?;
        ensure!(
            root.join("bin/nvcc").is_file(),
            "CUDA_HOME={} is no CUDA toolkit: it has no bin/nvcc",
            root.display()
        );
        return Ok(root);
    }
    let root = cache::dir()?.join(FOLDER);
    let made = cache::install(&root, None, |at| {
        ensure!(
            cfg!(all(target_os = "linux", target_arch = "x86_64")),
            "the CUDA toolkit is fetched for linux x86_64 only; here, install it and set CUDA_HOME"
        );
        fetch(at)
    });
    let made = made.context(
        "fetching the CUDA toolkit failed (see below); either make `python3 -m pip` work and \
         try again, or install the toolkit and set CUDA_HOME to its folder",
    )?;
    if made {
        eprintln!("the CUDA toolkit is in {}", root.display());
    }
    Ok(root)
}

/// What the build scripts of candle and cudarc read. The compute capability is the one given, else
/// that of this machine's GPU.
fn variables(root: &Path, compute_cap: Option<u32>) -> Vec<(&'static str, String)> {
    let set = |name: &str| env::var(name).ok().and_then(|value| value.parse().ok());
    let cap =
        compute_cap.or_else(|| set("CUDA_COMPUTE_CAP")).or_else(gpu_compute_cap).unwrap_or(90);
    let root = root.display().to_string();
    vec![
        ("CUDA_HOME", root.clone()),
        ("CUDA_PATH", root.clone()),
        ("CUDA_ROOT", root),
        ("CUDA_COMPUTE_CAP", cap.to_string()),
    ]
}

/// Folders to go before those already in a variable: the compiler's, and the libraries' for when the
/// program runs.
fn paths(root: &Path) -> [(&'static str, PathBuf); 2] {
    [("PATH", root.join("bin")), ("LD_LIBRARY_PATH", root.join("lib"))]
}

/// The compute capability of the first GPU of this machine.
fn gpu_compute_cap() -> Option<u32> {
    let mut smi = Command::new("nvidia-smi");
    smi.args(["--query-gpu=compute_cap", "--format=csv,noheader"]);
    let told = String::from_utf8(capture(&mut smi).ok()?.stdout).ok()?;
    compute_cap(told.lines().next()?)
}

/// `9.0` is 90.
fn compute_cap(told: &str) -> Option<u32> {
    let (major, minor) = told.trim().split_once('.')?;
    Some(major.parse::<u32>().ok()? * 10 + minor.parse::<u32>().ok()?)
}

fn fetch(root: &Path) -> Result<()> {
    let scratch = root.with_file_name("scratch");
    fs::create_dir(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
    let site = scratch.join("site");
    fetch::install(&PACKAGES, "the CUDA toolkit (700 MB, once)", &scratch, &site)?;
    let unpacked = site.join("nvidia/cu13");
    fs::rename(&unpacked, root).with_context(|| format!("moving {}", unpacked.display()))?;
    let spinner = progress::spinner("making the link stubs".to_owned());
    let stubs = root.join("lib/stubs");
    fs::create_dir(&stubs)?;
    for (name, file) in LINKED {
        ensure!(root.join("lib").join(file).is_file(), "the packages have no lib/{file}");
        link(&format!("../{file}"), &stubs.join(name))?;
    }
    driver_stub(&root.join("include"), &scratch, &stubs.join("libcuda.so"))?;
    spinner.finish_and_clear();
    Ok(())
}

#[cfg(unix)]
fn link(to: &str, at: &Path) -> Result<()> {
    std::os::unix::fs::symlink(to, at).with_context(|| format!("linking {}", at.display()))
}

#[cfg(not(unix))]
fn link(_: &str, _: &Path) -> Result<()> {
    anyhow::bail!("there are no symbolic links here")
}

/// A driver library to link against where no driver is: every function of the headers, and each
/// answers that it is a stub.
fn driver_stub(include: &Path, scratch: &Path, target: &Path) -> Result<()> {
    let mut names = BTreeSet::new();
    for header in ["cuda.h", "cudaGL.h", "cudaEGL.h"] {
        let path = include.join(header);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {header}"))?;
        names.extend(driver_functions(&text).map(str::to_owned));
    }
    let mut source = String::new();
    for name in &names {
        writeln!(source, "int {name}(void) {{ return {STUB_ANSWER}; }}")?;
    }
    let file = scratch.join("stub.c");
    fs::write(&file, source)?;
    let mut cc = Command::new("cc");
    cc.args(["-w", "-shared", "-fPIC", "-fno-builtin", "-Wl,-soname,libcuda.so.1", "-o"]);
    capture(cc.arg(target).arg(&file)).map(drop)
}

/// The names in a header that look like the driver's functions; a few more do no harm.
fn driver_functions(header: &str) -> impl Iterator<Item = &str> {
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| {
        word.strip_prefix("cu")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gpus_answer_becomes_a_number() {
        assert_eq!(compute_cap("9.0\n"), Some(90));
        assert_eq!(compute_cap("12.1"), Some(121));
        assert_eq!(compute_cap("N/A"), None);
    }

    #[test]
    fn no_path_has_an_empty_element() -> Result<()> {
        for (rest, all) in [("", "/t"), ("/a", "/t:/a"), (":/a::/b:", "/t:/a:/b")] {
            assert_eq!(before("/t".into(), rest.as_ref())?, *all);
        }
        Ok(())
    }

    #[cfg(unix)]
    #[test]
    fn a_shell_reads_back_what_is_exported() -> Result<()> {
        let odd = "/a b/$(touch never)'\"`x`\\;#";
        let lines = exports(Path::new(odd), Some(90))?;
        let script = format!("{lines}printf '%s|' \"$CUDA_HOME\" \"$LD_LIBRARY_PATH\"");
        for (before, after) in [("", ""), ("/x:/y", ":/x:/y")] {
            let dir = tempfile::tempdir()?;
            let mut sh = Command::new("/bin/sh");
            sh.current_dir(&dir).env("LD_LIBRARY_PATH", before).args(["-c", &script]);
            let told = String::from_utf8(capture(&mut sh)?.stdout)?;
            assert_eq!(told, format!("{odd}|{odd}/lib{after}|"));
            assert_eq!(dir.path().read_dir()?.count(), 0);
        }
        assert!(exports(Path::new("/a:b"), None).is_err());
        Ok(())
    }

    #[test]
    fn functions_of_the_driver_are_found_by_name() {
        let header = "#define cuMemAlloc cuMemAlloc_v2\nCUresult CUDAAPI cuInit(unsigned int Flags);\n\
                      typedef cuuint64_t cudaThing;";
        let found: Vec<_> = driver_functions(header).collect();
        assert_eq!(found, ["cuMemAlloc", "cuMemAlloc_v2", "cuInit"]);
    }

    #[test]
    fn a_stub_is_a_driver_that_answers_no() -> Result<()> {
        if Command::new("cc").arg("--version").output().is_err() {
            eprintln!("skipped: no `cc`");
            return Ok(());
        }
        let dir = tempfile::tempdir()?;
        for header in ["cuda.h", "cudaGL.h", "cudaEGL.h"] {
            fs::write(dir.path().join(header), "int cuInit(int); int cuCtxCreate_v4(void);")?;
        }
        let target = dir.path().join("libcuda.so");
        driver_stub(dir.path(), dir.path(), &target)?;
        let main = dir.path().join("main.c");
        fs::write(&main, "int cuInit(int); int main(void) { return cuInit(0); }")?;
        let program = dir.path().join("main");
        let mut cc = Command::new("cc");
        capture(cc.arg("-o").arg(&program).arg(&main).arg(&target))?;
        std::os::unix::fs::symlink("libcuda.so", dir.path().join("libcuda.so.1"))?;
        let status = Command::new(&program).env("LD_LIBRARY_PATH", dir.path()).status()?;
        assert_eq!(status.code(), Some(STUB_ANSWER as i32));
        Ok(())
    }
}
