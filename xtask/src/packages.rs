//! `cargo xtask packages`: what goes to the registry, as cargo would send it. Checks what each package holds, and what its
//! README points at. Compiles nothing: `apps` compiles applications from these packages.

use crate::workspace::{self, capture, root, stream};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The crates that are published, each after those that it needs, and what its package must hold beside `src`.
const PACKAGES: [(&str, &[&str]); 4] = [
    ("accelerant-macros", &[]),
    ("accelerant-sdk", &[]),
    ("accelerant", &["build.rs", "cpp/api.h", "cpp/builder.cpp", "docs/guide/burn.md"]),
    ("accelerant-cli", &[]),
];
const IN_EACH: [&str; 5] =
    ["Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "README.md", "Cargo.toml.orig"];
/// Folders of the repository that serve the repository alone.
const IN_NONE: [&str; 7] = [
    "tests/",
    "benches/",
    "examples/data/",
    "examples/digits/",
    "examples/serve/",
    "examples/apps/",
    "docs/measured/",
];
/// A registry takes ten times as much. What is larger has data in it.
const MOST_BYTES: u64 = 1 << 20;

pub(crate) fn run() -> Result<()> {
    publish()?;
    for name in PACKAGES.map(|(name, _)| name) {
        let file = file(name)?;
        println!("{}: {} bytes", file.display(), fs::metadata(&file)?.len());
    }
    Ok(())
}

/// What cargo would upload, in the order in which it would. Needs the registry's index, and uploads nothing.
fn publish() -> Result<()> {
    // Cargo says of each test and bench that the package lacks the target: a hundred lines in all.
    let command = &mut cargo(&["publish", "--dry-run"]);
    let output = capture(command)?;
    let told = String::from_utf8_lossy(&output.stderr);
    let uploads = told.lines().filter(|line| line.trim_start().starts_with("Uploading"));
    let order: Vec<_> = uploads.filter_map(|line| line.split_whitespace().nth(1)).collect();
    ensure!(order == PACKAGES.map(|(name, _)| name), "cargo would upload {order:?}");
    // A dry run leaves no files.
    capture(&mut cargo(&["package"]))?;
    PACKAGES.iter().try_for_each(|(name, parts)| check(&file(name)?, name, parts))
}

/// Makes all packages, checks them, and unpacks each into a folder of its own: name and folder.
pub(crate) fn unpacked() -> Result<Vec<(&'static str, PathBuf)>> {
    capture(&mut cargo(&["package"]))?;
    let folder = root().join("target/packages");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("removing old packages")?;
    }
    fs::create_dir_all(&folder).context("making a folder for packages")?;
    let mut all = Vec::new();
    for (name, parts) in PACKAGES {
        let file = file(name)?;
        check(&file, name, parts)?;
        stream(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&folder))?;
        let stem = file.file_stem().context("a package without a name")?;
        all.push((name, folder.join(stem)));
    }
    Ok(all)
}

fn cargo(what: &[&str]) -> Command {
    let mut command = workspace::cargo(what);
    // The tree may have changes that are not committed yet.
    command.args(["--no-verify", "--allow-dirty", "--color", "never", "--workspace"]);
    for member in ["xtask", "accelerant-digits", "accelerant-serve"] {
        command.args(["--exclude", member]);
    }
    command.args(["--target-dir", "target"]);
    command
}

fn file(name: &str) -> Result<PathBuf> {
    let file = format!("target/package/{name}-{}.crate", env!("CARGO_PKG_VERSION"));
    let file = root().join(file);
    ensure!(file.is_file(), "cargo made no {}", file.display());
    Ok(file)
}

fn check(file: &Path, name: &str, parts: &[&str]) -> Result<()> {
    let size = fs::metadata(file)?.len();
    ensure!(size <= MOST_BYTES, "{} has {size} bytes, more than {MOST_BYTES}", file.display());
    let listed = capture(Command::new("tar").arg("-tzf").arg(file))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let inside: Vec<&str> =
        listed.lines().filter_map(|path| path.split_once('/')).map(|(_, path)| path).collect();
    if let Some(lost) = IN_EACH.iter().chain(parts).find(|part| !inside.contains(part)) {
        bail!("the package {name} lacks {lost}");
    }
    if let Some(needless) =
        inside.iter().find(|path| IN_NONE.iter().any(|folder| path.starts_with(folder)))
    {
        bail!("the package {name} holds {needless}, which serves the repository alone");
    }
    let manifest = name.strip_prefix("accelerant-").unwrap_or(".");
    let readme = fs::read_to_string(root().join(manifest).join("README.md"))?;
    if let Some(link) = links(&readme).find(|link| !link.starts_with("https://")) {
        bail!(
            "the README of {name} points at {link}, which nobody has who reads a registry's page"
        );
    }
    Ok(())
}

/// The targets of all links `[text](target)`.
fn links(markdown: &str) -> impl Iterator<Item = &str> {
    markdown.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_wherever_they_stand() {
        let text = "[a](https://a.dev) and\n- [b](docs/b.md), [c](#c).\n[d]: d.md\n";
        assert_eq!(links(text).collect::<Vec<_>>(), ["https://a.dev", "docs/b.md", "#c"]);
    }
}
