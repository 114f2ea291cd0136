//! How much memory a process may take that works on a model which nobody vouches for: a bound that the sizes of the files
//! give. The process gets the bound before it starts, from the shell.

use std::{env, path::Path, process::Command};

/// Each process may take this much,
const LEAST: u64 = 8 << 30;
/// so many times the bytes of the files in the model's folder, which may be weights,
const OF_FILES: u64 = 64;
/// so many times the bytes of inputs from files,
const OF_INPUTS: u64 = 256;
/// and this much besides, where the command line states sizes of inputs.
const OF_STATED: u64 = 16 << 30;
/// A folder of more files is not looked through.
const MOST_FILES: usize = 1 << 14;
/// Sets the bound where the shell can, and becomes the program.
const SCRIPT: &str = "ulimit -d \"$0\" 2>/dev/null; exec \"$@\"";

/// What the command line gives a model.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    pub(crate) inputs: Vec<&'a Path>,
    pub(crate) states_sizes: bool,
}

/// The bytes that the work on a model may take. `None` where a folder does not say, or a GPU is there.
pub(crate) fn of(model: &Path, given: &Given<'_>) -> Option<u64> {
    // CUDA maps memory that no measurement has told from memory that is taken.
    if Path::new("/dev/nvidiactl").exists() {
        return None;
    }
    let size = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = folder.unwrap_or(Path::new(".")).read_dir().ok()?;
    let mut files = size(model);
    for (i, entry) in entries.enumerate() {
        if i == MOST_FILES {
            return None;
        }
        files = files.saturating_add(entry.map_or(0, |entry| size(&entry.path())));
    }
    let inputs = given.inputs.iter().map(|path| size(path)).fold(0, u64::saturating_add);
    let bytes = LEAST.saturating_add(files.saturating_mul(OF_FILES));
    let bytes = bytes.saturating_add(inputs.saturating_mul(OF_INPUTS));
    Some(bytes.saturating_add(if given.states_sizes { OF_STATED } else { 0 }))
}

/// This very program, with a bound.
pub(crate) fn command(bytes: Option<u64>) -> std::io::Result<Command> {
    let program = env::current_exe()?;
    let Some(bytes) = bytes else { return Ok(Command::new(program)) };
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SCRIPT]).arg((bytes / 1024).to_string()).arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_give_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let [model, input] = ["m.onnx", "x.npy"].map(|name| folder.path().join(name));
        std::fs::write(&model, [0; 1000]).unwrap();
        if of(&model, &Given::default()).is_none() {
            eprintln!("skipped: a GPU is here");
            return;
        }
        let of = |given: &Given<'_>| of(&model, given).unwrap() - LEAST;
        // Of the model twice: it is one of the files of its folder too.
        assert_eq!(of(&Given::default()), 2000 * OF_FILES);
        std::fs::write(&input, [0; 10]).unwrap();
        let given = Given { inputs: vec![&input], states_sizes: true };
        assert_eq!(of(&given), 2010 * OF_FILES + 10 * OF_INPUTS + OF_STATED);
    }
}
