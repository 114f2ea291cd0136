//! `cargo xtask tidy`: the rules about files that no compiler checks. Rules about code belong to
//! rustfmt and clippy.

use crate::rooms::Rooms;
use crate::workspace::{capture, root};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::Command;

const MAX_LINES: usize = 600;

/// Split, so that this file does not break its own rule. Prose may name a registry; an address in
/// the tree would bypass what a user has set up.
const REGISTRIES: [&str; 5] = [
    concat!("://", "crates.io"),
    concat!(".", "crates.io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("pypi", ".nvidia.com"),
];

/// Where a model is made for every reader: code that depends on the reader asks `Target`, or is a pass.
const FOR_ALL_READERS: [&str; 5] = [
    "src/export/graph/",
    "src/export/burn/",
    "src/export/candle/",
    "src/export/lower/",
    "src/export/sizes/",
];

/// Names of one reader's or one GPU's.
const OF_ONE_READER: [&str; 6] = ["is_tensorrt", "hopper", "ampere", "blackwell", "h100", "h200"];

pub(crate) fn run() -> Result<()> {
    let table = fs::read_to_string(root().join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    let rooms = Rooms::of(&table)?;
    let mut found = Vec::new();
    for path in files()? {
        let bytes = fs::read(root().join(&path)).with_context(|| format!("reading {path}"))?;
        // Pictures and the like have no lines.
        if let Ok(text) = std::str::from_utf8(&bytes) {
            found.extend(problems(&path, text));
            found.extend(rooms.breaches(&path, text));
        }
    }
    found.extend(tests_without_a_word()?);
    if !found.is_empty() {
        bail!("{}", found.join("\n"));
    }
    Ok(())
}

fn problems(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let generated = path.contains("/proto/") && path.ends_with("onnx.rs");
    let opening = match Path::new(path).extension().and_then(|extension| extension.to_str()) {
        Some("rs") => Some("//!"),
        Some("h" | "cpp") => Some("//"),
        _ => None,
    };
    if let Some(opening) = opening.filter(|_| !generated) {
        if !text.starts_with(opening) {
            found.push(format!("{path}:1: does not open with `{opening}` and what lives here"));
        }
        let lines = text.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{path}: {lines} lines, more than {MAX_LINES}"));
        }
    }
    if Path::new(path).file_name().is_some_and(|name| name == "Cargo.lock") {
        return found;
    }
    let for_all = FOR_ALL_READERS.iter().any(|folder| path.starts_with(folder));
    for (number, line) in text.lines().enumerate() {
        let small = line.to_lowercase();
        if let Some(name) = OF_ONE_READER.iter().find(|name| for_all && small.contains(*name)) {
            found.push(format!("{path}:{}: `{name}` belongs into a pass or `Target`", number + 1));
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(*host)) {
            found.push(format!("{path}:{}: a registry's address ({host})", number + 1));
        }
    }
    found
}

/// The tests that `tests/README.md` does not map. A folder without `main.rs` belongs to others.
fn tests_without_a_word() -> Result<Vec<String>> {
    let map = fs::read_to_string(root().join("tests/README.md")).context("tests/README.md")?;
    let mut found = Vec::new();
    for entry in root().join("tests").read_dir().context("listing tests")? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_folder = path.join("main.rs").is_file();
        let is_file = path.extension().is_some_and(|extension| extension == "rs");
        let written = if is_folder { format!("`{name}/`") } else { format!("`{name}`") };
        if (is_folder || is_file) && !map.contains(&written) {
            found.push(format!("tests/README.md: no word of {written}"));
        }
    }
    Ok(found)
}

/// What git tracks or would; where there is no git, everything but build outputs.
fn files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut all = Vec::new();
    match capture(&mut git) {
        Ok(output) => {
            let names = String::from_utf8_lossy(&output.stdout).into_owned();
            all.extend(names.split_terminator('\0').map(str::to_owned));
            // Deleted, but not yet in git's eyes.
            all.retain(|path| root().join(path).is_file());
        }
        Err(_) => walk(root(), &mut all)?,
    }
    Ok(all)
}

fn walk(folder: &Path, all: &mut Vec<String>) -> Result<()> {
    for entry in folder.read_dir().with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.is_file() {
            all.push(path.strip_prefix(root())?.to_string_lossy().into_owned());
        } else if path.is_dir() && ![".git", "target"].iter().any(|name| path.ends_with(name)) {
            walk(&path, all)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_finds_its_breach_and_nothing_else() {
        let long = "//! Long.\n".repeat(MAX_LINES + 1);
        let address = format!("see https://{}/project", REGISTRIES[2]);
        let rows = [
            ("src/a.rs", "//! What.\n", 0),
            ("src/a.rs", "use std::fs;\n", 1),
            ("src/a.rs", long.as_str(), 1),
            ("src/proto/onnx.rs", "// @generated\n", 0),
            ("src/onnx.rs", "// Opens wrongly.\n", 1),
            ("src/export/burn/a.rs", "//! What.\n// On Hopper alone.\n", 1),
            ("src/export/passes/a.rs", "//! What.\n// On Hopper alone.\n", 0),
            ("cpp/a.h", "// What.\n", 0),
            ("cpp/a.cpp", "#include <a>\n", 1),
            ("README.md", long.as_str(), 0),
            ("README.md", address.as_str(), 1),
            ("README.md", "published on crates.io", 0),
            ("Cargo.lock", address.as_str(), 0),
        ];
        for (path, text, expected) in rows {
            assert_eq!(problems(path, text).len(), expected, "{path}: {:.40}", text);
        }
    }
}
