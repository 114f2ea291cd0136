//! `cargo xtask bundle`: test, bench and example binaries with the libraries they need, packed in
//! parts for a machine without Rust or network. Compression and splitting are in `pack`, what
//! happens on the other machine is in `run.sh`.

mod build;
mod pack;

use crate::sdk::{self, Sdk};
use accelerant_sdk::install::{hash, place as cache, progress};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};

const RUN: &str = include_str!("run.sh");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder to write the bundle into; bundle files already there are replaced.
    #[arg(long)]
    out: PathBuf,
    /// The most that one part may hold, in MiB.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=4096))]
    part_size: u64,
    /// Take these binaries only.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    with: Vec<String>,
    /// More cargo features to build with, such as candle-cuda, whose toolkit is then put in place. The
    /// machine that runs the binaries needs CUDA 13's libraries for it.
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// Leave the TensorRT libraries out.
    #[arg(long)]
    no_sdk: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let part_size = args.part_size << 20;
    fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let binaries = build::binaries(&args.with, &args.features)?;

    let scratch = tempfile::tempdir_in(&args.out)?;
    let staged = scratch.path().join("bin");
    fs::create_dir(&staged)?;
    let names = build::stage(&binaries, &staged)?;
    let archive = scratch.path().join("bin.tar.xz");
    let spinner = progress::spinner(format!("packing {} binaries", binaries.len()));
    pack::compress(&staged, &names, pack::QUICK, &archive)?;
    spinner.finish_and_clear();
    pack::split(&archive, &args.out, "bin", part_size)?;

    for (name, sdk) in [("sdk", sdk::RTX), ("lean", sdk::ENTERPRISE)] {
        if args.no_sdk {
            pack::remove(&args.out, name)?;
        } else {
            pack::split(&library_archive(&sdk)?, &args.out, name, part_size)?;
        }
    }
    write_script(&args.out.join("run.sh"))?;
    println!("{}", args.out.display());
    Ok(())
}

fn write_script(path: &Path) -> Result<()> {
    fs::write(path, RUN).with_context(|| format!("writing {}", path.display()))?;
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}

/// The SDK's libraries, compressed once for all bundles: the best compression takes minutes.
fn library_archive(sdk: &Sdk) -> Result<PathBuf> {
    let root = sdk.ensure()?;
    let lib = ["lib", "lib64"].map(|name| root.join(name)).into_iter().find(|lib| lib.is_dir());
    let lib = lib.with_context(|| format!("{} has no lib/", root.display()))?;
    let mut names = Vec::new();
    for entry in lib.read_dir().with_context(|| format!("listing {}", lib.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.contains(".so") {
            names.push(name);
        }
    }
    if names.is_empty() {
        bail!("no shared library in {}", lib.display());
    }
    let key = hash::named(&lib, &mut names)?;
    let archive = cache::dir()?.join("bundle").join(format!("{}.tar.xz", &key[..32]));
    if !archive.is_file() {
        let text = format!("compressing the {} libraries (minutes, once)", sdk.title);
        let spinner = progress::spinner(text);
        cache::place(&archive, |at| pack::compress(&lib, &names, pack::BEST, at))?;
        spinner.finish_and_clear();
    }
    Ok(archive)
}
