//! `cargo xtask demo`: runs the example that shows the crate at work. The example itself is
//! `examples/digits`.

use crate::sdk;
use crate::workspace::{self, FEATURES, stream};
use anyhow::{Context, Result};
use std::env;
use std::path::PathBuf;
use std::process::Command;

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Where the demo writes [default: target/demo].
    #[arg(long)]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(out) => std::path::absolute(out)?,
        None => workspace::root().join("target/demo"),
    };
    // With the packages that are tested, whose features together are another set than the crate's own:
    // after the tests nothing is compiled again.
    let mut build = sdk::quick_cargo(&["build", "--release", "--workspace", "--exclude", "xtask"])?;
    build.args(["--features", FEATURES, "--example", "digits"]);
    stream(&mut build)?;
    // Cargo puts it beside this program, wherever it was told to build.
    let beside = env::current_exe().context("finding this program")?;
    let mut demo = Command::new(beside.with_file_name("examples").join("digits"));
    let variables = build.get_envs().filter_map(|(name, value)| Some((name, value?)));
    demo.current_dir(workspace::root()).envs(variables).arg("--out").arg(out);
    stream(&mut demo)
}
