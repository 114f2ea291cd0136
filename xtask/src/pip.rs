//! Packages from PyPI in folders of their own, for tests that run the clients of others.

use crate::workspace::capture;
use accelerant_sdk::install::{place as cache, progress};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// Packages that some tests need.
pub(crate) struct Packages {
    /// Names the folder to the tests.
    pub(crate) variable: &'static str,
    /// The folder's name, another one for each change of the packages.
    folder: &'static str,
    packages: &'static [&'static str],
    /// Whether what they depend on is fetched as well.
    whole: bool,
}

/// Triton's client, which has the schema of `config.pbtxt` for the tests of `accelerant serve-export`, and what reads a
/// schema.
pub(crate) const TRITON: Packages = Packages {
    variable: "ACCELERANT_TRITON_CLIENT",
    folder: "tritonclient-2.73.0",
    packages: &["tritonclient==2.73.0", "protobuf==7.36.2"],
    whole: false,
};

/// The clients that the tests of `examples/serve` run against the server.
pub(crate) const SERVE: Packages = Packages {
    variable: "ACCELERANT_SERVE_CLIENTS",
    folder: "serve-clients-1",
    packages: &["tritonclient[http]==2.73.0", "openai==3.57.0"],
    whole: true,
};

impl Packages {
    /// Where they are; fetched first if they are not there.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let root = cache::dir()?.join(self.folder);
        let all = self.packages.join(", ");
        let made = cache::install(&root, None, |at| {
            let spinner = progress::spinner(format!("downloading {all}"));
            let mut pip = Command::new("python3");
            pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input"])
                .args(["--quiet", "--no-compile", "--only-binary=:all:"])
                .args((!self.whole).then_some("--no-deps"))
                .arg("--target")
                .arg(at)
                .args(self.packages);
            capture(&mut pip)?;
            spinner.finish_and_clear();
            Ok(())
        });
        made.with_context(|| {
            format!("fetching {all} failed; make `python3 -m pip` work and try again")
        })?;
        Ok(root)
    }
}
