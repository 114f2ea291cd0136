//! The binaries of a bundle: built by cargo, found in its messages, stripped. No packing.

use crate::workspace::{FEATURES, capture, has_target, is_target, line_of};
use crate::{cuda_toolkit, sdk};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(super) struct Binary {
    path: PathBuf,
    /// Run by `run.sh --all-tests`.
    is_test: bool,
}

/// All test, bench, example and program binaries by name, or those of the given names.
pub(super) fn binaries(only: &[String], features: &[String]) -> Result<BTreeMap<String, Binary>> {
    let mut found = BTreeMap::new();
    let digits = only.is_empty() || only.iter().any(|name| name == "digits");
    if digits {
        build(&["build", "--package", "accelerant-digits"], &[], &mut found)?;
    }
    let tests: Vec<&String> = only.iter().filter(|name| is_target("tests", name)).collect();
    if !only.is_empty() && tests.len() == only.len() {
        let names = tests.iter().flat_map(|name| ["--test", name.as_str()]);
        let args: Vec<&str> = ["test", "--no-run"].into_iter().chain(names).collect();
        build(&args, features, &mut found)?;
    } else {
        build(&["test", "--no-run"], features, &mut found)?;
        build(&["build", "--bins", "--examples"], features, &mut found)?;
        if has_target("benches", "") {
            build(&["bench", "--no-run", "--bench", "*"], features, &mut found)?;
        }
    }
    if let Some(missing) = only.iter().find(|name| !found.contains_key(*name)) {
        let known: Vec<&str> = found.keys().map(String::as_str).collect();
        bail!("there is no binary `{missing}`; there are {}", known.join(", "));
    }
    if !only.is_empty() {
        found.retain(|name, _| only.contains(name));
    }
    ensure!(!found.is_empty(), "cargo built no binaries");
    Ok(found)
}

fn build(args: &[&str], features: &[String], found: &mut BTreeMap<String, Binary>) -> Result<()> {
    let mut command = sdk::cargo(args)?;
    if features.iter().any(|feature| feature == "candle-cuda") {
        cuda_toolkit::prepare(&mut command)?;
    }
    // `cargo bench` has no --release: it is always optimized.
    if args[0] != "bench" {
        command.arg("--release");
    }
    if !args.contains(&"--package") {
        let features = [&[FEATURES.to_owned()], features].concat().join(",");
        command.args(["--features", &features]);
    }
    command.arg("--message-format=json-render-diagnostics");
    eprintln!("$ {}", line_of(&command));
    let mut child = command.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let messages = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(messages).lines() {
        found.extend(executable(&line?));
    }
    ensure!(child.wait()?.success(), "failed: {}", line_of(&command));
    Ok(())
}

fn executable(message: &str) -> Option<(String, Binary)> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let path = PathBuf::from(message["executable"].as_str()?);
    let name = message["target"]["name"].as_str()?;
    let kind = message["target"]["kind"][0].as_str()?;
    let is_test = message["profile"]["test"] == true && kind != "bench";
    // Unit tests have the name of the library or program that they are compiled into, and those
    // two may have the same.
    let name = match kind {
        "bin" if is_test => format!("unit-bin-{name}"),
        "bin" | "test" | "bench" | "example" => name.to_owned(),
        _ => format!("unit-{name}"),
    };
    Some((name, Binary { path, is_test }))
}

/// Copies the binaries, without their debug information, and lists the tests among them in
/// `tests.list`. Returns the names of all files.
pub(super) fn stage(binaries: &BTreeMap<String, Binary>, folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = binaries.keys().cloned().collect();
    for (name, binary) in binaries {
        let copy = folder.join(name);
        std::fs::copy(&binary.path, &copy)
            .with_context(|| format!("copying {}", binary.path.display()))?;
        if let Err(error) = capture(Command::new("strip").arg(&copy)) {
            eprintln!("warning: {name} keeps its symbols: {error:#}");
        }
    }
    let tests = binaries.iter().filter(|(_, binary)| binary.is_test);
    let list: String = tests.map(|(name, _)| format!("{name}\n")).collect();
    std::fs::write(folder.join("tests.list"), list)?;
    names.push("tests.list".to_owned());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_messages_name_the_binaries() {
        let rows = [
            ("lib", true, "accelerant", Some(("unit-accelerant", true))),
            ("test", true, "cases_burn", Some(("cases_burn", true))),
            ("bench", true, "models", Some(("models", false))),
            ("example", false, "digits", Some(("digits", false))),
            ("bin", false, "accelerant", Some(("accelerant", false))),
            ("bin", true, "accelerant", Some(("unit-bin-accelerant", true))),
        ];
        for (kind, test, name, expected) in rows {
            let line = serde_json::json!({
                "reason": "compiler-artifact",
                "target": { "kind": [kind], "name": name },
                "profile": { "test": test },
                "executable": "/t/x",
            });
            let found = executable(&line.to_string());
            let found = found.as_ref().map(|(name, binary)| (name.as_str(), binary.is_test));
            assert_eq!(found, expected);
        }
        for other in [r#"{"reason":"compiler-artifact","executable":null}"#, "Compiling x"] {
            assert!(executable(other).is_none());
        }
    }
}
