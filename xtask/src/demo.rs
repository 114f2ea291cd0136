//! `cargo xtask demo`: runs the example that shows the crate at work. The example itself is `examples/digits`.

use crate::sdk::{self, ONNXRUNTIME};
use crate::workspace::{self, WHOLE, stream};
use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Where the demo writes [default: target/demo].
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Build it with the features of all tests. After the tests nothing is compiled again then.
    #[arg(long)]
    pub(crate) after_tests: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => workspace::root().join("target/demo"),
    };
    // Without a GPU the demo runs on ONNX Runtime.
    ONNXRUNTIME.ensure()?;
    let mut build = sdk::quick_cargo(&["build", "--release"])?;
    match args.after_tests {
        // A test beside the program, which the tests have built: the development dependencies give Burn features, and
        // without them Burn would be compiled again.
        true => build.args(WHOLE).args(["--test", "nvtx"]),
        false => build.args(["--package", "accelerant-digits"]),
    };
    stream(build.args(["--bin", "digits"]))?;
    // Cargo puts it beside this program, wherever it was told to build.
    let beside = env::current_exe().context("finding this program")?;
    let mut demo = Command::new(beside.with_file_name("digits"));
    let variables = build.get_envs().filter_map(|(name, value)| Some((name, value?)));
    demo.current_dir(workspace::root()).envs(variables).arg("--out").arg(out);
    stream(&mut demo)
}
