//! Where the repository lies, how cargo is started, and the one feature set that the
//! commands share. No command's own logic.

pub(crate) use accelerant_sdk::install::program::{capture, line_of, quoted};
use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// Built, tested, measured and demonstrated alike, so that nothing compiles twice.
pub(crate) const FEATURES: &str = "burn,candle,ort,tract,tensorrt-rtx,tensorrt";

/// Everything, with all features: what is linted, tested and demonstrated.
pub(crate) const WHOLE: [&str; 3] = ["--workspace", "--features", FEATURES];

/// The library with features that a step chooses. The macros stand beside the library for their dependencies' features:
/// without them, `syn` and all that is built on it would be compiled again.
pub(crate) const LIBRARY: [&str; 4] = ["--package", "accelerant", "--package", "accelerant-macros"];

pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo, called in the repository's root.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(args).stdin(Stdio::null());
    command
}

/// Runs with the output going straight to the terminal.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("failed ({status}): {line}");
    }
    Ok(())
}

/// Whether the main crate has integration tests, benches or examples whose name starts so.
pub(crate) fn has_target(folder: &str, prefix: &str) -> bool {
    let Ok(entries) = root().join(folder).read_dir() else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(prefix)
            && (name.ends_with(".rs") || entry.path().join("main.rs").is_file())
    })
}

/// Whether the main crate has an integration test, bench or example of just this name.
pub(crate) fn is_target(folder: &str, name: &str) -> bool {
    let folder = root().join(folder);
    folder.join(name).with_extension("rs").is_file() || folder.join(name).join("main.rs").is_file()
}
