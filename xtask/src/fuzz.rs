//! `cargo xtask fuzz`: changed models, engines and saved pairs for each reader of them. The harness is the test `fuzzing`,
//! which runs a few hundred cases in every test run; here a seed and a count choose.

use crate::sdk::{self, ONNXRUNTIME};
use crate::workspace::{self, WHOLE, stream};
use anyhow::{Context, Result};
use std::path::PathBuf;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What decides the changes.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many changed inputs each reader gets.
    #[arg(long, default_value_t = 20_000)]
    count: u64,
    /// The first of them, to begin in the middle.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// This reader alone.
    #[arg(long, value_parser = ["tract", "onnxruntime", "engine", "pair"])]
    reader: Option<String>,
    /// A folder with more models to change, besides those of tests/data.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// Where inputs with a finding are kept [default: target/fuzz].
    #[arg(long)]
    keep: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let keep = args.keep.clone().unwrap_or_else(|| workspace::root().join("target/fuzz"));
    let keep = std::path::absolute(keep)?;
    // As the tests are built, so that nothing compiles twice.
    let mut test = sdk::quick_cargo(&["test", "--release"])?;
    test.args(WHOLE).args(["--test", "fuzzing", "--"]);
    test.args(["--exact", "campaign::changed_bytes_end_no_process", "--nocapture"]);
    test.env("ACCELERANT_FUZZ_SEED", args.seed.to_string());
    test.env("ACCELERANT_FUZZ_COUNT", args.count.to_string());
    test.env("ACCELERANT_FUZZ_START", args.first.to_string());
    test.env("ACCELERANT_FUZZ_KEEP", &keep).env(ONNXRUNTIME.variable, ONNXRUNTIME.ensure()?);
    if let Some(reader) = &args.reader {
        test.env("ACCELERANT_FUZZ_ONLY", reader);
    }
    if let Some(corpus) = &args.corpus {
        test.env("ACCELERANT_FUZZ_CORPUS", std::path::absolute(corpus)?);
    }
    stream(&mut test).with_context(|| {
        format!("what was found is above, and its inputs are in {}", keep.display())
    })
}
