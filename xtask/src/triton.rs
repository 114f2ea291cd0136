//! The client of Triton, which has the schema of `config.pbtxt` for the tests of `accelerant serve-export`.

use crate::workspace::capture;
use accelerant_sdk::install::{place as cache, progress};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Names the folder of the client to the tests.
pub(crate) const CLIENT: &str = "ACCELERANT_TRITON_CLIENT";

/// The client with its schema, and what reads a schema.
const PACKAGES: [&str; 2] = ["tritonclient==2.73.0", "protobuf==7.36.2"];

/// Where the client is; fetched first if it is not there.
pub(crate) fn client() -> Result<PathBuf> {
    let root = cache::dir()?.join("tritonclient-2.73.0");
    let made = cache::install(&root, None, |at| {
        let spinner = progress::spinner("downloading tritonclient".to_owned());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"])
            .args(["--no-compile", "--no-deps", "--only-binary=:all:", "--target"])
            .arg(at)
            .args(PACKAGES);
        capture(&mut pip)?;
        spinner.finish_and_clear();
        Ok(())
    });
    made.context("fetching the client of Triton failed; make `python3 -m pip` work and try again")?;
    Ok(root)
}
