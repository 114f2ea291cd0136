//! Where the repository lies, how other programs are started, and the one feature set that the
//! commands share. No command's own logic.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Built, tested, measured and demonstrated alike, so that nothing compiles twice.
pub(crate) const FEATURES: &str = "burn,candle,ort,tract,tensorrt-rtx,tensorrt";

pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// Cargo, called in the repository's root.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root()).args(args).stdin(Stdio::null());
    command
}

/// Runs with the output going straight to the terminal.
pub(crate) fn stream(command: &mut Command) -> Result<()> {
    let line = line_of(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("starting `{line}`"))?;
    if !status.success() {
        bail!("failed ({status}): {line}");
    }
    Ok(())
}

/// Runs quietly; a failure carries what the program wrote to its error output.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    let line = line_of(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| {
        format!("`{}` could not be started", command.get_program().to_string_lossy())
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed ({}):\n{}", output.status, said.trim_end());
    }
    Ok(output)
}

/// The command as one would type it, with the variables that it sets.
pub(crate) fn line_of(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back.
pub(crate) fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Whether the main crate has integration tests, benches or examples whose name starts so.
pub(crate) fn has_target(folder: &str, prefix: &str) -> bool {
    let Ok(entries) = root().join(folder).read_dir() else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(prefix)
            && (name.ends_with(".rs") || entry.path().join("main.rs").is_file())
    })
}

/// Whether the main crate has an integration test, bench or example of just this name.
pub(crate) fn is_target(folder: &str, name: &str) -> bool {
    let folder = root().join(folder);
    folder.join(name).with_extension("rs").is_file() || folder.join(name).join("main.rs").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_command_can_be_typed_again() {
        let mut command = Command::new("cargo");
        command.env("FLAGS", "-D warnings").args(["test", "--test", "cases_*"]);
        assert_eq!(line_of(&command), "FLAGS='-D warnings' cargo test --test 'cases_*'");
    }
}
