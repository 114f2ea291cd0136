//! The tests of `examples/serve`, which is a workspace of its own, and the client of Triton that they and those of
//! `accelerant serve-export` use.

use crate::workspace::{self, capture, stream};
use accelerant_sdk::install::{place as cache, progress};
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the folder of the client to the tests.
pub(crate) const CLIENT: &str = "ACCELERANT_TRITON_CLIENT";

const MANIFEST: &str = "examples/serve/Cargo.toml";

/// The client and the schema of `config.pbtxt`. What they need comes in whatever version they ask for.
const PACKAGES: [&str; 3] = ["tritonclient[http]==2.73.0", "protobuf", "numpy"];

/// Where the client is; fetched first if it is not there.
pub(crate) fn client() -> Result<PathBuf> {
    let root = cache::dir()?.join("tritonclient-2.73.0");
    let made = cache::install(&root, None, |at| {
        let spinner = progress::spinner("downloading tritonclient".to_owned());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"])
            .args(["--no-compile", "--only-binary=:all:", "--target"])
            .arg(at)
            .args(PACKAGES);
        capture(&mut pip)?;
        spinner.finish_and_clear();
        Ok(())
    });
    made.context("fetching the client of Triton failed; make `python3 -m pip` work and try again")?;
    Ok(root)
}

/// Tests the server on ONNX Runtime, the backend that compiles fastest.
pub(crate) fn test(onnxruntime: &Path, client: &Path) -> Result<()> {
    let mut test = cargo("test");
    test.env(crate::sdk::ONNXRUNTIME.variable, onnxruntime).env(CLIENT, client);
    stream(&mut test)
}

/// Checks its form.
pub(crate) fn fmt() -> Command {
    workspace::cargo(["fmt", "--manifest-path", MANIFEST, "--check"])
}

/// Lints it.
pub(crate) fn clippy() -> Command {
    let mut clippy = cargo("clippy");
    clippy.args(["--all-targets", "--", "-D", "warnings"]);
    clippy
}

fn cargo(command: &str) -> Command {
    let features = ["--release", "--no-default-features", "--features", "ort"];
    let place = ["--manifest-path", MANIFEST, "--target-dir", "target/serve"];
    let mut cargo = workspace::cargo([command]);
    cargo.args(place).args(features);
    cargo
}
