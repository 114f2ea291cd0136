//! `cargo xtask test`: the whole test suite, with the SDKs in place. No test's own code.

use crate::sdk::{self, MINILM, ONNXRUNTIME};
use crate::workspace::{WHOLE, has_target, stream};
use crate::{pip, tables};
use anyhow::Result;
use std::time::Instant;

/// Tests that ask `ACCELERANT_CASES_ON` which backends to run on.
const ON_EACH_BACKEND: [&str; 6] =
    ["cases_burn", "cases_candle", "cases_graph", "burn_models", "candle_models", "candle_zoo"];

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Passed on to `cargo test` (a filter, `--test NAME`, `-- --nocapture`).
    #[arg(last = true)]
    extra: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    let result = all(args);
    eprintln!("total: {:.1} s", start.elapsed().as_secs_f64());
    result
}

fn all(args: &Args) -> Result<()> {
    let test = ["test", "--release", "--no-fail-fast"];
    let onnxruntime = ONNXRUNTIME.ensure()?;
    let minilm = MINILM.ensure()?;
    let triton = pip::TRITON.ensure()?;
    let clients = pip::SERVE.ensure()?;

    let records = tables::folder()?;
    // Examples are not linked: clippy has compiled them, and the demo runs one. Tests of the documentation cannot be
    // asked for together with others.
    let parts: &[&[&str]] = match args.extra.is_empty() {
        true => &[&["--lib", "--bins", "--tests"], &["--doc"]],
        false => &[&[]],
    };
    for part in parts {
        let mut everything = sdk::quick_cargo(&test)?;
        everything.args(WHOLE).args(*part).args(&args.extra).env(MINILM.variable, &minilm);
        everything.env(pip::TRITON.variable, &triton).env(pip::SERVE.variable, &clients);
        // ONNX Runtime is there for the tests of its backend; the cases have a run of their own on it.
        everything.env(ONNXRUNTIME.variable, &onnxruntime);
        tables::without_onnxruntime(&mut everything);
        stream(everything.env(tables::RECORDS, &records))?;
    }

    // Once on tract (above), and once on ONNX Runtime: what runs on the backends that are named. Other tests do the same
    // whatever is named.
    if has_target("tests", "cases_") {
        let mut cases = sdk::quick_cargo(&test)?;
        cases.args(WHOLE);
        for test in ON_EACH_BACKEND {
            cases.args(["--test", test]);
        }
        cases.args(&args.extra);
        cases.env(MINILM.variable, &minilm);
        tables::only_onnxruntime(&mut cases, &onnxruntime);
        stream(cases.env(tables::RECORDS, &records))?;
    } else {
        eprintln!("skipped: no tests/cases_*.rs to run on ONNX Runtime");
    }

    if args.extra.is_empty() {
        tables::check(&records)?;
    }
    Ok(())
}
