//! `accelerant sdk`: the libraries that the backends run on, put into the cache folder, listed and removed.

use std::{fs, path::Path};

use accelerant_sdk::{ALL, Sdk, folder_in, install::progress};
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::Output;
use crate::fail::{Code, Failure, Result};
use crate::{Globals, describe};

#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Fetch libraries through this machine's pip and cargo, and check them
    #[command(after_help = "Example: accelerant sdk install tensorrt-rtx")]
    Install(Names),
    /// List the libraries, and where they are
    List,
    /// Print where a library is
    Path {
        #[arg(value_parser = names())]
        name: String,
    },
    /// Remove libraries from the cache folder
    Remove(Names),
}

#[derive(clap::Args)]
struct Names {
    /// The libraries; minilm is a trained sentence encoder, for the examples
    #[arg(required = true, value_parser = names())]
    names: Vec<String>,
}

fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(ALL.map(|sdk| sdk.name))
}

fn find(name: &str) -> Result<Sdk> {
    let found = ALL.into_iter().find(|sdk| sdk.name == name);
    found.ok_or_else(|| Failure::usage(format!("no library is called {name}")))
}

/// An error with all of its causes.
fn failed(error: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("{error:#}"))
}

pub(crate) fn run(args: &Args, globals: &Globals) -> Result<Output> {
    if globals.quiet {
        progress::quiet();
    }
    match &args.action {
        Action::Install(Names { names }) => each(names, install),
        Action::Remove(Names { names }) => each(names, remove),
        Action::List => each(&ALL.map(|sdk| sdk.name.to_owned()), list),
        Action::Path { name } => path(find(name)?),
    }
}

fn each(names: &[String], run: fn(Sdk) -> Result<(String, Value)>) -> Result<Output> {
    let (mut text, mut rows) = (String::new(), Vec::new());
    for name in names {
        let (line, row) = run(find(name)?)?;
        text += &line;
        rows.push(row);
    }
    Ok(Output::new(text, json!({ "libraries": rows })))
}

fn install(sdk: Sdk) -> Result<(String, Value)> {
    let path = sdk.install().map_err(failed)?;
    let mut text = format!("{}\n", path.display());
    // The variable wins over the cache.
    let named = folder_in(sdk.variable).filter(|named| *named != path);
    if let Some(named) = &named {
        let (variable, named) = (sdk.variable, named.display());
        text += &format!("  {variable}={named} is set, and is used in its place\n");
    }
    let row = json!({ "name": sdk.name, "version": sdk.version, "path": path, "named": named });
    Ok((text, row))
}

fn remove(sdk: Sdk) -> Result<(String, Value)> {
    let removed = sdk.remove().map_err(failed)?;
    let text = match removed {
        true => format!("{} {} is removed\n", sdk.title, sdk.version),
        false => format!("{} {} was not there\n", sdk.title, sdk.version),
    };
    Ok((text, json!({ "name": sdk.name, "removed": removed })))
}

fn list(sdk: Sdk) -> Result<(String, Value)> {
    let installed = sdk.installed().map_err(failed)?;
    let bytes = installed.as_deref().map(size);
    let (name, title, version) = (sdk.name, sdk.title, sdk.version);
    let mut text = format!("{name:<13} {title} {version}: ");
    text += &match (&installed, bytes) {
        (Some(path), Some(bytes)) => format!("{}, {}\n", path.display(), describe::bytes(bytes)),
        _ => format!("not installed; `{}` installs it\n", sdk.command()),
    };
    let named = folder_in(sdk.variable);
    if let Some(named) = &named {
        text += &format!("{:<13} {}={} is used\n", "", sdk.variable, named.display());
    }
    let row = json!({
        "name": name, "title": title, "version": version,
        "path": installed, "bytes": bytes, "variable": sdk.variable, "named": named,
    });
    Ok((text, row))
}

/// Where it is: what the variable names, else the cache. Nothing is fetched.
fn path(sdk: Sdk) -> Result<Output> {
    let named = sdk.named().map_err(failed)?;
    let found = match named {
        Some(named) => Some(named),
        None => sdk.installed().map_err(failed)?,
    };
    let Some(path) = found else {
        let text = format!("{} is not installed; `{}` installs it", sdk.title, sdk.command());
        return Err(Failure::with_code(Code::NoBackend, text));
    };
    let json = json!({ "name": sdk.name, "path": path });
    Ok(Output::new(format!("{}\n", path.display()), json))
}

/// The bytes of a folder, or of the folder that a library is in.
fn size(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else {
        return path.metadata().map_or(0, |found| found.len());
    };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}
