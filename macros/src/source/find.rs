//! Where the source of a dependency is, as cargo resolved it for the package that is compiled.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A package that others depend on.
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) edition: String,
    /// The file of the crate's root.
    pub(super) root: PathBuf,
    /// Where cargo keeps what it builds.
    pub(super) target: PathBuf,
}

/// The package that the crate being compiled knows under this name.
pub(super) fn package(name: &str) -> Result<Package, String> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| format!("`{name}` is not set: this is for cargo's builds"))
    };
    let manifest = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    in_metadata(&metadata(&manifest)?, &manifest, name)
}

/// What cargo knows of the package and its dependencies.
///
/// A build downloads what it compiles: nothing for other platforms, and for a library alone no development dependency.
/// Cargo wants to see these too, and downloads them where it must.
fn metadata(manifest: &Path) -> Result<Value, String> {
    let host = host();
    let platform: Vec<&str> = host.iter().flat_map(|host| ["--filter-platform", host]).collect();
    let ask = |more: &[&str]| {
        Command::new(program("CARGO", "cargo"))
            .args(["metadata", "--format-version", "1", "--manifest-path"])
            .arg(manifest)
            .args(&platform)
            .args(more)
            .output()
            .map_err(|e| format!("`cargo metadata` does not run: {e}"))
    };
    let mut output = ask(&["--offline"])?;
    if !output.status.success() {
        output = ask(&[])?;
    }
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`cargo metadata` fails, which `cargo fetch` may mend where there is a network: {}",
            text.trim()
        ));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|e| format!("`cargo metadata` gives no JSON: {e}"))
}

/// The triple of this machine, as the compiler tells it.
fn host() -> Option<String> {
    let output = Command::new(program("RUSTC", "rustc")).arg("-vV").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.strip_prefix("host: ")).map(str::to_owned)
}

/// The program that cargo names, else the one of the path.
fn program(variable: &str, name: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| name.to_owned())
}

fn in_metadata(metadata: &Value, manifest: &Path, name: &str) -> Result<Package, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let nodes = list(&metadata["resolve"]["nodes"]);
    let own = packages
        .iter()
        .find(|package| same(&package["manifest_path"], manifest))
        .ok_or_else(|| format!("cargo knows no package with {}", manifest.display()))?;
    let of = |id: &Value| nodes.iter().find(|node| node["id"] == *id);
    let dependencies =
        |id: &Value| of(id).map(|node| list(&node["deps"])).unwrap_or_default().into_iter();
    let package = |id: &Value| packages.iter().find(|package| package["id"] == *id);
    let found = dependencies(&own["id"])
        .find(|dependency| dependency["name"] == name)
        .ok_or_else(|| format!("{} does not depend on `{name}`", text(&own["name"])))?;
    let found = package(&found["pkg"]).ok_or("the dependency is no package")?;
    // What is read is compiled against the candle of `accelerant`.
    let candle = |id: &Value| {
        let mut all = dependencies(id).filter_map(|dependency| package(&dependency["pkg"]));
        all.find(|package| package["name"] == "candle-core")
    };
    let ours = packages.iter().filter(|package| package["name"] == "accelerant");
    let ours = ours.filter_map(|package| candle(&package["id"])).next();
    if let (Some(ours), Some(theirs)) = (ours, candle(&found["id"]))
        && ours["id"] != theirs["id"]
    {
        return Err(format!(
            "{} {} is for candle-core {}, and accelerant for {}: let them use one",
            text(&found["name"]),
            text(&found["version"]),
            text(&theirs["version"]),
            text(&ours["version"]),
        ));
    }
    let is_library = |target: &&Value| {
        list(&target["kind"]).iter().any(|kind| *kind == "lib" || *kind == "rlib")
    };
    let targets = list(&found["targets"]);
    let library = targets.iter().find(is_library);
    let library = library.ok_or_else(|| format!("`{name}` has no library"))?;
    Ok(Package {
        name: text(&found["name"]),
        version: text(&found["version"]),
        edition: text(&found["edition"]),
        root: text(&library["src_path"]).into(),
        target: text(&metadata["target_directory"]).into(),
    })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn same(path: &Value, other: &Path) -> bool {
    let path = PathBuf::from(text(path));
    path == other || path.canonicalize().ok() == other.canonicalize().ok()
}
