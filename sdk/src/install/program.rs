//! How other programs are started, and how their command lines are shown.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs quietly; a failure carries what the program wrote to its error output.
///
/// # Errors
/// When it cannot be started or ends otherwise than well.
pub fn capture(command: &mut Command) -> Result<Output> {
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
pub fn line_of(command: &Command) -> String {
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some(format!("{}={}", name.to_string_lossy(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    set.chain(words).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
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
