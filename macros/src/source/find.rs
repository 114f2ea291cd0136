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
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let run = |args: &[&str]| {
        let output = Command::new(&cargo)
            .args(args)
            .output()
            .map_err(|e| format!("`cargo {}` does not run: {e}", args[0]))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`cargo {}` fails: {}", args[0], text.trim()));
        }
        Ok(output.stdout)
    };
    let version = String::from_utf8(run(&["-vV"])?).unwrap_or_default();
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("`cargo -vV` tells no host")?;
    // Packages of other platforms alone need not have been downloaded.
    let args = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host];
    let path = manifest.to_string_lossy();
    let output = run(&[&args[..], &["--manifest-path", &path]].concat())?;
    let metadata: Value = serde_json::from_slice(&output)
        .map_err(|e| format!("`cargo metadata` gives no JSON: {e}"))?;
    in_metadata(&metadata, &manifest, name)
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
