//! `cargo xtask ci`: everything that must hold before a change goes in, in order, timed. What the
//! single steps do lives in their own files. `burn-cuda` is not compiled here, since a dependency of it
//! downloads a compiler when it is built (`docs/burn-cuda-offline.md` tells how to), nor are `benches/cuda`
//! and the tests of `candle-cuda`, which are linked with CUDA, nor the applications of `cargo xtask apps`, which compile
//! most dependencies again.

use crate::workspace::{self, FEATURES, LIBRARY, WHOLE, line_of, stream};
use crate::{alike, demo, nvcc, packages, sdk, test, tidy};
use anyhow::{Context, Result};
use std::process::Command;
use std::time::{Duration, Instant};

/// Feature sets of the library that must compile without a warning, besides the full one.
pub(crate) const MATRIX: [(&str, &[&str]); 3] = [
    ("clippy default", &[]),
    ("clippy no features", &["--no-default-features"]),
    ("clippy burn,candle", &["--features", "burn,candle"]),
];

/// What the demo has of the library, as `examples/digits/Cargo.toml` says. The demo of CI has all features, and would not show
/// what a user sees who compiles the demo alone.
pub(crate) const DEMO: &str = "burn,candle,ort,tensorrt-rtx";

/// Features whose library must compile without a warning when each is the only one.
const ALONE: [&str; 8] =
    ["tract", "ort", "tensorrt-rtx", "tensorrt", "burn", "candle", "cuda", "nvtx"];

pub(crate) fn run() -> Result<()> {
    let mut report = Report::default();
    let result = steps(&mut report);
    report.print();
    result
}

/// Quick steps first. Everything is compiled in the release profile, so that build scripts and
/// procedural macros of the dependencies are built once for clippy, rustdoc and the tests.
fn steps(report: &mut Report) -> Result<()> {
    report.command("fmt", workspace::cargo(["fmt", "--all", "--check"]))?;
    report.step("tidy", "cargo xtask tidy", tidy::run)?;
    report.step("alike", "cargo xtask ci", alike::run)?;
    report.step("packages", "cargo xtask packages", packages::run)?;
    report.step("sdk", "cargo xtask sdk --flavor all", || {
        [sdk::RTX, sdk::ENTERPRISE, sdk::ONNXRUNTIME, sdk::MINILM]
            .iter()
            .try_for_each(|sdk| sdk.ensure().map(drop))
    })?;

    report.command("clippy all", clippy(&WHOLE)?)?;
    // `--examples` gives rustdoc the dependencies with the very features clippy has checked them
    // with; without it the development dependencies' features are missing and they are checked anew.
    let mut doc = sdk::quick_cargo(&["doc", "--release", "--no-deps", "--lib", "--examples"])?;
    doc.args(LIBRARY).args(["--features", FEATURES]).env("RUSTDOCFLAGS", "-D warnings");
    report.command("doc", doc)?;
    for (name, features) in MATRIX {
        report.command(name, clippy(&[&LIBRARY, features].concat())?)?;
    }
    // A test beside the library, which is empty without its feature: the development dependencies give the others the
    // features that they were checked with.
    let mut demo = sdk::quick_cargo(&["clippy", "--release", "--lib", "--test", "nvtx"])?;
    demo.args(LIBRARY).args(["--no-default-features", "--features", DEMO]);
    demo.args(["--", "-D", "warnings"]);
    report.command("clippy demo", demo)?;
    for feature in ALONE {
        let mut command =
            sdk::quick_cargo(&["clippy", "--release", "--lib", "--no-default-features"])?;
        command.args(["--features", feature, "--", "-D", "warnings"]);
        report.command(&format!("clippy {feature} alone"), command)?;
    }
    for features in ["candle-cuda", "candle-cuda,tensorrt-rtx"] {
        let command = nvcc::clippy(sdk::quick_cargo(&["clippy", "--release"])?, features)?;
        report.command(&format!("clippy {features}"), command)?;
    }

    // What is measured and tested otherwise has no ranges for profilers. Ranges around one backend show what the test is
    // about, and the library without the others is compiled in a fraction of the time.
    let mut ranges = sdk::quick_cargo(&["test", "--release", "--test", "nvtx"])?;
    ranges.args(LIBRARY).args(["--no-default-features", "--features", "tract,nvtx"]);
    report.command("test nvtx", ranges)?;
    report.step("test", "cargo xtask test", || test::run(&test::Args::default()))?;
    let demo = demo::Args { after_tests: true, ..demo::Args::default() };
    report.step("demo", "cargo xtask demo --after-tests", || demo::run(&demo))
}

fn clippy(features: &[&str]) -> Result<Command> {
    let mut command = sdk::quick_cargo(&["clippy", "--release", "--all-targets"])?;
    command.args(features).args(["--", "-D", "warnings"]);
    Ok(command)
}

#[derive(Default)]
struct Report {
    rows: Vec<(String, Duration, bool)>,
}

impl Report {
    fn command(&mut self, name: &str, mut command: Command) -> Result<()> {
        let again = line_of(&command);
        self.step(name, &again, || stream(&mut command))
    }

    fn step(&mut self, name: &str, again: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = run();
        self.rows.push((name.to_owned(), start.elapsed(), result.is_ok()));
        result.with_context(|| format!("step `{name}` failed; run it again with\n    {again}"))
    }

    fn print(&self) {
        eprintln!("\n{:<24} {:>8}", "step", "seconds");
        for (name, took, passed) in &self.rows {
            let mark = if *passed { "" } else { "  FAILED" };
            eprintln!("{name:<24} {:>8.1}{mark}", took.as_secs_f64());
        }
        let total: Duration = self.rows.iter().map(|(_, took, _)| *took).sum();
        eprintln!("{:<24} {:>8.1}", "total", total.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{capture, root};
    use anyhow::bail;

    #[test]
    fn the_demo_is_checked_with_its_own_features() -> Result<()> {
        let mut metadata = workspace::cargo(["metadata", "--no-deps", "--format-version", "1"]);
        metadata.arg("--manifest-path").arg(root().join("examples/digits/Cargo.toml"));
        let metadata: serde_json::Value = serde_json::from_slice(&capture(&mut metadata)?.stdout)?;
        let packages = metadata["packages"].as_array().into_iter().flatten();
        let own = packages.filter(|package| package["name"] == "accelerant-digits");
        let all = own.flat_map(|package| package["dependencies"].as_array().into_iter().flatten());
        let library = all.filter(|dependency| dependency["name"] == "accelerant");
        let library: Vec<_> = library.collect();
        let features = library[0]["features"].as_array().context("no features")?;
        let features: Vec<_> = features.iter().filter_map(|feature| feature.as_str()).collect();
        assert_eq!((library.len(), features.join(",").as_str()), (1, DEMO));
        assert_eq!(library[0]["uses_default_features"], false);
        Ok(())
    }

    #[test]
    fn a_failed_step_is_named_with_the_command_to_rerun() {
        let mut report = Report::default();
        assert!(report.step("good", "true", || Ok(())).is_ok());
        let failed = report.step("bad", "cargo xtask bad", || bail!("no"));
        let text = failed.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("`bad`") && text.contains("cargo xtask bad"), "{text}");
        let passed: Vec<bool> = report.rows.iter().map(|row| row.2).collect();
        assert_eq!(passed, [true, false]);
    }
}
