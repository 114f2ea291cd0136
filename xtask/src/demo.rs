//! `cargo xtask demo`: runs the example that shows the crate at work. The example itself is
//! `examples/digits.rs`.

use crate::sdk;
use crate::workspace::{self, FEATURES, stream};
use anyhow::Result;
use std::path::PathBuf;

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
    let mut demo = sdk::cargo(&["run", "--release", "--features", FEATURES])?;
    demo.args(["--example", "digits", "--", "--out"]).arg(out);
    stream(&mut demo)
}
