//! `cargo xtask zoo`: compiles and runs `tests/zoo`, all models of candle-transformers, which writes
//! `docs/candle-transformers.md`. It takes minutes, and is no part of what must hold before a change.

use crate::sdk::{self, ONNXRUNTIME};
use crate::workspace::{self, FEATURES, line_of, stream};
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

pub(crate) fn run() -> Result<()> {
    let library = ONNXRUNTIME.ensure()?;
    let mut build = sdk::quick_cargo(&["rustc", "--release", "--features", FEATURES])?;
    // The models alone are compiled without optimization: there are two hundred, run once each.
    build.args(["--test", "zoo", "--message-format", "json-render-diagnostics"]);
    build.args(["--", "--cfg", "accelerant_zoo", "-C", "opt-level=0"]);
    eprintln!("$ {}", line_of(&build));
    let mut child = build.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    let mut program = None;
    for line in BufReader::new(messages).lines() {
        let message: serde_json::Value = serde_json::from_str(&line?).unwrap_or_default();
        if message["target"]["name"] == "zoo" {
            program = message["executable"].as_str().map(str::to_owned).or(program);
        }
    }
    ensure!(child.wait()?.success(), "failed: {}", line_of(&build));
    let mut zoo = Command::new(program.context("cargo built no `zoo`")?);
    zoo.current_dir(workspace::root()).arg("--nocapture").env(ONNXRUNTIME.variable, library);
    stream(&mut zoo)
}
