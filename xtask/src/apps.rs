//! `cargo xtask apps`: builds and runs the applications of `examples/apps` as their authors would, from the packages that
//! go to the registry, with each feature that an application begins with. What they do is in their folders.

use crate::workspace::{self, capture, line_of, root, stream};
use crate::{packages, sdk};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Which applications to run [default: all]; `server` serves what `candle` wrote.
    names: Vec<Name>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Name {
    Burn,
    Candle,
    Server,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let packages = packages::unpacked()?;
    let data = root().join("examples/data/digits.csv");
    let onnx = root().join("target/apps/digits.onnx");
    let asked_for = |name| args.names.is_empty() || args.names.contains(&name);

    if asked_for(Name::Burn) {
        stream(App::new("burn", &packages)?.run(&[])?.arg(&data))?;
    }
    if asked_for(Name::Candle) {
        stream(App::new("candle", &packages)?.run(&[])?.args([&data, &onnx]))?;
    }
    if asked_for(Name::Server) {
        let server = App::new("server", &packages)?;
        serve(server.run(&[])?.arg(&onnx).arg("127.0.0.1:0"), &data)?;
        let features = ["--features", "tensorrt-rtx"];
        serve(server.run(&features)?.arg(&onnx).arg("127.0.0.1:0"), &data)?;
    }
    Ok(())
}

/// A copy of an application, outside the workspace, with the versions that are tested here.
struct App {
    folder: PathBuf,
    patches: Vec<String>,
}

impl App {
    fn new(name: &str, packages: &[(&str, PathBuf)]) -> Result<Self> {
        let source = root().join("examples/apps").join(name);
        let folder = root().join("target/apps").join(name);
        fs::create_dir_all(folder.join("src")).context("making a folder for an application")?;
        for file in ["Cargo.toml", "README.md", "src/main.rs"] {
            let from = source.join(file);
            fs::copy(&from, folder.join(file))
                .with_context(|| format!("copying {}", from.display()))?;
        }
        fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let patch = |(name, path): &(&str, PathBuf)| {
            format!("patch.crates-io.{name}.path={:?}", path.to_string_lossy())
        };
        let wanted = packages.iter().filter(|(name, _)| *name != "accelerant-cli");
        let app = Self { folder, patches: wanted.map(patch).collect() };
        app.begins_with_its_readme()?;
        let mut format = workspace::cargo(["fmt", "--check", "--manifest-path"]);
        stream(format.arg(app.folder.join("Cargo.toml")))?;
        Ok(app)
    }

    /// All into one folder: a dependency with the same features is compiled once.
    fn run(&self, args: &[&str]) -> Result<Command> {
        let mut command = sdk::cargo(&["run", "--offline"])?;
        command.arg("--config").arg(root().join(".ci/apps.toml"));
        for patch in &self.patches {
            command.arg("--config").arg(patch);
        }
        command.arg("--manifest-path").arg(self.folder.join("Cargo.toml"));
        command.arg("--target-dir").arg(root().join("target")).args(args).arg("--");
        Ok(command)
    }

    /// The lines `cargo add` of the README give the dependencies of the manifest.
    fn begins_with_its_readme(&self) -> Result<()> {
        let readme = fs::read_to_string(self.folder.join("README.md"))?;
        let lines = readme.lines().filter_map(|line| line.strip_prefix("cargo add "));
        let told: BTreeSet<Dependency> = lines.flat_map(Dependency::added).collect();
        let mut metadata = workspace::cargo(["metadata", "--no-deps", "--format-version", "1"]);
        metadata.arg("--manifest-path").arg(self.folder.join("Cargo.toml"));
        let metadata: serde_json::Value = serde_json::from_slice(&capture(&mut metadata)?.stdout)?;
        let all = metadata["packages"][0]["dependencies"].as_array().context("no dependencies")?;
        let has: BTreeSet<Dependency> = all.iter().map(Dependency::of_manifest).collect();
        ensure!(
            told == has,
            "{}: `cargo add` in the README gives {told:?}, and the manifest has {has:?}",
            self.folder.display()
        );
        Ok(())
    }
}

/// What one `cargo add` says of one dependency.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    version: String,
    default_features: bool,
    features: BTreeSet<String>,
}

impl Dependency {
    /// `a@1 b@2 --no-default-features --features x,y`: a dependency for each name.
    fn added(line: &str) -> Vec<Self> {
        let mut words = line.split_whitespace();
        let (mut names, mut features, mut default_features) = (Vec::new(), BTreeSet::new(), true);
        while let Some(word) = words.next() {
            match word {
                "--no-default-features" => default_features = false,
                "--features" => {
                    features.extend(words.next().unwrap_or_default().split(',').map(str::to_owned));
                }
                name => names.push(name),
            }
        }
        let all = names.iter().map(|name| {
            let (name, version) = name.split_once('@').unwrap_or((name, ""));
            let (name, version) = (name.to_owned(), version.to_owned());
            Self { name, version, default_features, features: features.clone() }
        });
        all.collect()
    }

    fn of_manifest(dependency: &serde_json::Value) -> Self {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let features = dependency["features"].as_array().into_iter().flatten().map(text).collect();
        Self {
            name: text(&dependency["name"]),
            version: text(&dependency["req"]).trim_start_matches('^').to_owned(),
            default_features: dependency["uses_default_features"] == true,
            features,
        }
    }
}

/// Starts the server, asks it for the digits of a hundred pictures, and ends it.
fn serve(command: &mut Command, data: &Path) -> Result<()> {
    eprintln!("$ {}", line_of(command));
    let mut server = command.stdout(Stdio::piped()).spawn().context("starting the server")?;
    let told = server.stdout.take().context("the server has no output")?;
    let right = ask(BufReader::new(told), data);
    // Cargo has become the server on Unix. Elsewhere the server ends with its parent's pipe.
    server.kill().and_then(|()| server.wait()).context("ending the server")?;
    let (right, all) = right?;
    println!("{right} of {all} right over HTTP");
    ensure!(right * 10 >= all * 9, "nine of ten must be right");
    Ok(())
}

fn ask(mut told: impl BufRead, data: &Path) -> Result<(usize, usize)> {
    let address = loop {
        let mut line = String::new();
        if told.read_line(&mut line)? == 0 {
            bail!("the server ended before it listened");
        }
        print!("{line}");
        if let Some(address) = line.trim_end().strip_prefix("listening on http://") {
            break address.to_owned();
        }
    };
    let text = fs::read_to_string(data)?;
    // Every fifth picture is one that the network was not trained on.
    let rows = text.lines().filter(|line| !line.starts_with('#')).step_by(5).take(100);
    let (mut right, mut all) = (0, 0);
    for row in rows {
        let (pixels, label) = row.rsplit_once(',').context("a row without a label")?;
        let pixels: Vec<f32> =
            pixels.split(',').map(|pixel| pixel.parse().unwrap_or(0.0) / 16.0).collect();
        let answer = post(&address, &serde_json::to_string(&pixels)?)?;
        right += usize::from(answer.0 == 200 && answer.1 == label);
        all += 1;
    }
    let refused = post(&address, "[1.0, 2.0]")?;
    ensure!(refused.0 == 400, "two pixels got {refused:?}");
    Ok((right, all))
}

/// Status and body of the answer.
fn post(address: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let length = body.len();
    write!(
        stream,
        "POST /digit HTTP/1.1\r\nHost: apps\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.context("no status")?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_cargo_add_gives_each_dependency() {
        let all = Dependency::added("a@1 b --no-default-features --features x,y");
        let parts = |d: &Dependency| (d.name.clone(), d.version.clone(), d.features.len());
        assert_eq!(
            all.iter().map(parts).collect::<Vec<_>>(),
            [("a".to_owned(), "1".to_owned(), 2), ("b".to_owned(), String::new(), 2)]
        );
        assert!(all.iter().all(|dependency| !dependency.default_features));
    }
}
