//! The clients of the HTTP server's tests: Triton's and OpenAI's, with what they depend on.

use crate::workspace::capture;
use accelerant_sdk::install::{place as cache, progress};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Names the folder of the clients to the tests.
pub(crate) const CLIENTS: &str = "ACCELERANT_SERVE_CLIENTS";

const PACKAGES: [&str; 2] = ["tritonclient[http]==2.73.0", "openai==3.57.0"];

/// Where the clients are; fetched first if they are not there.
pub(crate) fn folder() -> Result<PathBuf> {
    let root = cache::dir()?.join("serve-clients-1");
    let made = cache::install(&root, None, |at| {
        let spinner = progress::spinner("downloading clients of the server".to_owned());
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"])
            .args(["--no-compile", "--only-binary=:all:", "--target"])
            .arg(at)
            .args(PACKAGES);
        capture(&mut pip)?;
        spinner.finish_and_clear();
        Ok(())
    });
    made.context("fetching the clients failed; make `python3 -m pip` work and try again")?;
    Ok(root)
}
